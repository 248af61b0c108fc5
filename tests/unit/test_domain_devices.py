"""Cameras, robots and the environments they make, under any sequence of commands."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from pydantic import TypeAdapter, ValidationError

from domain.aggregate import Hold
from domain.camera import Camera, CameraStatus, CreateCamera, CreateSimulatedCamera, SimulatedCamera, SimulatedPayload
from domain.environment import CreateEnvironment, Environment, UpdateEnvironment
from domain.robot import CreateRobot, PushTPayload, Robot, RobotStatus, UpdateRobot
from tests.unit.test_domain_kit import (
    BEGINNING,
    BRIEF,
    OTHERS,
    PROJECT,
    THING,
    AggregateMachine,
    ids,
    names,
    reasons,
)


class CameraMachine(AggregateMachine[Camera]):
    def begin(self) -> Camera:
        return Camera.create(THING, PROJECT, CreateSimulatedCamera(driver="simulated", name="a"), self.at)

    @rule(name=names, seed=st.integers(0, 1))
    def update(self, name: str, seed: int) -> None:
        command = SimulatedCamera(driver="simulated", name=name, payload=SimulatedPayload(seed=seed))
        self.tell(lambda camera: camera.update(command, self.at))

    @rule()
    def delete(self) -> None:
        self.tell(lambda camera: camera.delete(self.at))

    @rule(run=ids)
    def connect(self, run: UUID) -> None:
        self.tell(lambda camera: camera.connect(run, "node", self.at))

    @rule()
    def stream(self) -> None:
        self.tell(lambda camera: camera.stream(640, 480, 29.97, "node", self.at))

    @rule(reason=reasons)
    def lose(self, reason: str) -> None:
        self.tell(lambda camera: camera.lose(reason, self.at))

    @rule(reason=reasons)
    def disconnect(self, reason: str) -> None:
        self.tell(lambda camera: camera.disconnect(reason, self.at))

    @invariant()
    def it_streams_only_after_it_was_connected(self) -> None:
        last = next((event for event in reversed(self.events) if hasattr(event, "node")), None)
        if self.aggregate.status is CameraStatus.STREAMING:
            assert isinstance(last, Camera.Streaming)
            assert self.aggregate.run is not None

    @invariant()
    def trouble_has_a_reason(self) -> None:
        if self.aggregate.status in (CameraStatus.LOST, CameraStatus.ERROR):
            assert self.aggregate.reason

    @invariant()
    def nothing_happens_after_the_deletion(self) -> None:
        assert not any(isinstance(event, Camera.Deleted) for event in self.events[:-1])


class RobotMachine(AggregateMachine[Robot]):
    def begin(self) -> Robot:
        return Robot.create(THING, PROJECT, CreateRobot(name="a", type="PushT"), self.at)

    @rule(name=names, seed=st.integers(0, 1))
    def update(self, name: str, seed: int) -> None:
        command = UpdateRobot(name=name, type="PushT", payload=PushTPayload(seed=seed))
        self.tell(lambda robot: robot.update(command, self.at))

    @rule()
    def delete(self) -> None:
        self.tell(lambda robot: robot.delete(self.at))

    @rule(run=ids)
    def connect(self, run: UUID) -> None:
        self.tell(lambda robot: robot.connect(run, "node", self.at))

    @rule(reason=reasons)
    def fail(self, reason: str) -> None:
        self.tell(lambda robot: robot.fail(reason, self.at))

    @rule(reason=reasons)
    def disconnect(self, reason: str) -> None:
        self.tell(lambda robot: robot.disconnect(reason, self.at))

    @invariant()
    def it_is_online_only_while_an_owner_has_it(self) -> None:
        said = [
            event for event in self.events if isinstance(event, Robot.Connected | Robot.Failed | Robot.Disconnected)
        ]
        online = bool(said) and isinstance(said[-1], Robot.Connected) and not self.aggregate.deleted
        assert (self.aggregate.status is RobotStatus.ONLINE) == online

    @invariant()
    def nothing_happens_after_the_deletion(self) -> None:
        assert not any(isinstance(event, Robot.Deleted) for event in self.events[:-1])


class EnvironmentMachine(AggregateMachine[Environment]):
    def begin(self) -> Environment:
        command = CreateEnvironment(name="a", robots=[{"robot_id": OTHERS[0]}], camera_ids=[OTHERS[1]])
        return Environment.create(THING, PROJECT, command, self.at)

    @rule(name=names, robot=ids, cameras=st.lists(ids, min_size=1, unique=True))
    def update(self, name: str, robot: UUID, cameras: list[UUID]) -> None:
        command = UpdateEnvironment(name=name, robots=[{"robot_id": robot}], camera_ids=cameras)
        self.tell(lambda environment: environment.update(command, self.at))

    @rule()
    def delete(self) -> None:
        self.tell(lambda environment: environment.delete(self.at))

    @invariant()
    def every_device_is_said_to_be_in_use(self) -> None:
        if isinstance(last := self.events[-1], Environment.Composed):
            used = {claim.key for claim in last.claims() if isinstance(claim, Hold) and claim.slot == "devices"}
            things = [self.aggregate.robots[0].robot_id, *self.aggregate.camera_ids]
            assert used == {f"use:{thing}" for thing in things}

    @invariant()
    def nothing_happens_after_the_deletion(self) -> None:
        assert not any(isinstance(event, Environment.Deleted) for event in self.events[:-1])


TestCamera, TestRobot, TestEnvironment = CameraMachine.TestCase, RobotMachine.TestCase, EnvironmentMachine.TestCase
TestCamera.settings = TestRobot.settings = TestEnvironment.settings = BRIEF


def test_an_update_that_says_nothing_new_is_no_event() -> None:
    camera = CameraMachine().aggregate
    camera.update(SimulatedCamera(driver="simulated", name=" a "), BEGINNING)
    assert not camera.pending_events


def test_names_differ_in_more_than_case() -> None:
    def key(name: str) -> str:
        command = CreateSimulatedCamera(driver="simulated", name=name)
        created = Camera.create(THING, PROJECT, command, BEGINNING).collect_events()[0]
        return next(claim.key for claim in created.claims() if isinstance(claim, Hold) and claim.slot == "name")

    assert key("Top") == key("tOP") != key("Top 2")


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"driver": "usb", "name": "a"}, ()),
        ({"driver": "simulated", "name": " "}, ("simulated", "name")),
        ({"driver": "simulated", "name": "a", "payload": {"width": 63}}, ("simulated", "payload", "width")),
        ({"driver": "simulated", "name": "a", "payload": {"colour": 1}}, ("simulated", "payload", "colour")),
        ({"driver": "file", "name": "a"}, ("file", "payload")),
    ],
)
def test_a_body_that_is_wrong_is_told_where(body: dict[str, Any], loc: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(CreateCamera).validate_python(body)
    assert [error["loc"] for error in refused.value.errors()] == [loc]


def test_a_camera_is_named_once_in_an_environment() -> None:
    with pytest.raises(ValueError, match="named twice"):
        CreateEnvironment(name="a", robots=[{"robot_id": THING}], camera_ids=[THING, THING])
