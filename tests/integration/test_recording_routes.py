"""Whom a session's commands wake, on a real log. No Ray runs here: who is woken or asked is noted in its place."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from actors.gateway import Gateway
from actors.log import Log
from actors.routes import recordings
from actors.routes.write import Repeated, Write
from domain.aggregate import Aggregate
from domain.errors import Conflict, DeviceLocked, RecordingFailed, StaleVersion, Unavailable
from domain.recording import DiscardEpisode, KeepEpisode, OpenRecording, Recording, SaveEpisode, StartEpisode
from projections import schema
from tests.integration.log_kit import AT, Cell, new_session


class Noting(Gateway):
    """Notes in order whose owner is woken, and what is asked of whom."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self.noted = list[tuple[str, UUID]]()
        self.conditions = list[int | None]()
        self.fail_with = list[Exception]()

    def wake(self, kind: type[Aggregate], id: UUID) -> None:
        self.noted.append((f"wake {kind.kind}", id))

    async def ask(self, kind: type[Aggregate], id: UUID, method: str, *args: Any, **options: Any) -> Any:
        self.noted.append((f"ask {kind.kind} {method}", id))
        self.conditions.append(options.get("if_match"))
        if self.fail_with:
            raise self.fail_with.pop(0)


@pytest.fixture
def gateway(database_url: str) -> Iterator[Noting]:
    schema.upgrade(database_url)
    log = Log(database_url)
    yield Noting(log)
    log.close()


def writing(gateway: Gateway, if_match: int | None = None, key: str | None = None) -> Write:
    return Write(gateway, "POST", "", key, if_match, if_match is not None)


async def test_opening_a_session_wakes_its_devices_before_its_owner_is_up(gateway: Noting) -> None:
    cell, id = Cell(), uuid4()
    await gateway.log.append(*cell.things)
    command = OpenRecording(id=id, environment_id=cell.environment.id, dataset_id=cell.dataset.id)
    reply = await recordings.open_recording(cell.project.id, command, writing(gateway))
    assert reply.status_code == 201
    devices = [("wake robot", cell.robot.id), ("wake camera", cell.camera.id)]
    assert gateway.noted == [*devices, ("ask recording opened", id)]
    gateway.noted.clear()
    with pytest.raises(DeviceLocked):
        await recordings.open_recording(cell.project.id, command.model_copy(update={"id": uuid4()}), writing(gateway))
    assert gateway.noted == []


async def test_a_session_that_has_ended_refuses_without_being_woken(gateway: Noting) -> None:
    cell, episode = Cell(), uuid4()
    session = new_session(cell.environment)
    await gateway.log.append(*cell.things, session)
    at = (cell.project.id, session.id)
    await recordings.start_episode(*at, writing(gateway), StartEpisode())
    assert gateway.noted == [("ask recording start_episode", session.id)]
    session.close("closed on request", AT)
    await gateway.log.append(session)
    gateway.noted.clear()
    for command in (
        recordings.start_episode(*at, writing(gateway), StartEpisode()),
        recordings.save_episode(*at, SaveEpisode(episode_id=episode), writing(gateway)),
        recordings.discard_episode(*at, DiscardEpisode(episode_id=episode), writing(gateway)),
        recordings.keep_episode(*at, KeepEpisode(episode_id=episode), writing(gateway)),
    ):
        with pytest.raises(Conflict, match="closed on request"):
            await command
    assert (await recordings.close_recording(*at, writing(gateway))).status_code == 200
    assert gateway.noted == []


async def test_commands_want_the_version_that_their_caller_has_seen(gateway: Noting) -> None:
    cell, episode = Cell(), uuid4()
    session = new_session(cell.environment)
    await gateway.log.append(*cell.things, session)
    at, stale, right = (cell.project.id, session.id), session.version + 1, session.version
    commands = (
        lambda write: recordings.start_episode(*at, write, StartEpisode()),
        lambda write: recordings.save_episode(*at, SaveEpisode(episode_id=episode), write),
        lambda write: recordings.discard_episode(*at, DiscardEpisode(episode_id=episode), write),
        lambda write: recordings.keep_episode(*at, KeepEpisode(episode_id=episode), write),
        lambda write: recordings.close_recording(*at, write),
    )
    for command in commands:
        with pytest.raises(StaleVersion, match=f"version {right} now, not {stale}"):
            await command(writing(gateway, stale))
    assert gateway.noted == []
    for command in commands:
        await command(writing(gateway, right))
    assert gateway.conditions == [right] * len(commands)  # the owner, where it counts, is told


async def test_what_is_new_has_no_version_to_be_matched(gateway: Noting) -> None:
    cell = Cell()
    await gateway.log.append(*cell.things)
    position = gateway.log.position()
    with pytest.raises(StaleVersion, match="leave it out"):
        await recordings.open_recording(
            cell.project.id, OpenRecording(environment_id=cell.environment.id), writing(gateway, 1)
        )
    assert gateway.noted == []
    assert gateway.log.position() == position


async def test_a_repeated_opening_is_the_same_session_until_that_has_failed(gateway: Noting) -> None:
    """Whoever cannot say whether a session opened asks again for the same one; one that failed stays failed, and its
    key may be used for the next try."""
    cell = Cell()
    await gateway.log.append(*cell.things)
    command = OpenRecording(environment_id=cell.environment.id, dataset_id=cell.dataset.id)

    async def open_it() -> UUID:
        reply = await recordings.open_recording(cell.project.id, command, writing(gateway, key="once"))
        return UUID(orjson.loads(reply.body)["id"])

    gateway.fail_with = [Unavailable("the owner is silent"), RecordingFailed("The session could not open: no light")]
    with pytest.raises(Unavailable, match="silent"):
        await open_it()
    with pytest.raises(RecordingFailed):
        await open_it()
    asked = [id for what, id in gateway.noted if what == "ask recording opened"]
    assert asked[0] == asked[1]
    failed = gateway.log.load(Recording, asked[0])
    failed.fail("no light", AT)
    await gateway.log.append(failed)
    opened = await open_it()
    assert opened != failed.id
    with pytest.raises(Repeated):
        await open_it()
    assert [id for what, id in gateway.noted if what == "ask recording opened"] == [*asked, opened]
