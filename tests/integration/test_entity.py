"""Two processes that believe they own one thing: exactly one append wins, and the one that was overtaken stops itself.
Ray's handle of the process is the only stand-in here."""

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from ray.exceptions import ActorUnavailableError

from actors import entity
from actors.entity import RETRY_S, Entity
from actors.log import Log
from actors.provenance import Provenance, event_id
from domain.camera import Camera
from domain.errors import StaleVersion, Unavailable
from domain.project import Project
from projections import schema
from tests.integration.log_kit import AT, new_camera, new_project


class Handle:
    """An owner's handle of its own process. Each call of it stays without an answer until the test gives one."""

    def __init__(self) -> None:
        self.calls: list[Future[None]] = []
        self.retire = SimpleNamespace(remote=self._call)

    def _call(self) -> SimpleNamespace:
        self.calls.append(Future())
        return SimpleNamespace(future=lambda call=self.calls[-1]: call)


class Owner(Entity[Camera]):
    """A camera's owner without a device."""

    aggregate_type: ClassVar = Camera
    is_awake = False

    async def wake(self) -> None:
        await super().wake()
        self.is_awake = True

    async def take(self) -> None:
        await self.decide(lambda camera: camera.connect(self.run, "node", AT))

    async def see(self) -> None:
        await self.decide(lambda camera: camera.stream(640, 480, 30.0, "node", AT))


@pytest.fixture
def camera(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Camera:
    schema.upgrade(database_url)
    log = Log(database_url)
    project: Project = new_project()
    made = new_camera(project)
    asyncio.run(log.append(project, made))
    log.close()
    monkeypatch.setattr(entity.ray, "get_runtime_context", lambda: SimpleNamespace(current_actor=Handle()))
    monkeypatch.setattr(entity, "settings", lambda: SimpleNamespace(database_url=database_url, log_level="INFO"))
    return made


def topics(owner: Owner) -> list[str]:
    return [event.TOPIC for event in owner.log.stream(owner.id)]


async def test_the_one_that_was_overtaken_stops_itself(camera: Camera) -> None:
    first, second = Owner(str(camera.id)), Owner(str(camera.id))
    await first.take()
    await second.take()
    with pytest.raises(Unavailable, match="new owner"):
        await first.see()
    assert len(first.myself.calls) == 1
    await second.see()
    assert (second.is_awake, second.myself.calls) == (True, [])
    assert topics(second) == ["camera.created", "camera.connecting", "camera.connecting", "camera.streaming"]
    for owner in (first, second):
        owner.log.close()


async def test_an_owner_that_leaves_asks_again_when_its_call_is_dropped(camera: Camera) -> None:
    owner = Owner(str(camera.id))
    owner.leave()
    owner.leave()
    (call,) = owner.myself.calls
    call.set_exception(ActorUnavailableError("it restarts", None))
    await asyncio.sleep(2 * RETRY_S)
    _, again = owner.myself.calls
    with pytest.raises(TypeError, match="exit_actor API"):  # there is no process of an actor here
        await owner.retire()
    again.set_exception(ActorUnavailableError("it has exited", None))
    await asyncio.sleep(2 * RETRY_S)
    assert len(owner.myself.calls) == 2
    owner.log.close()


async def test_of_many_decisions_at_once_each_is_made_on_what_is_so(camera: Camera) -> None:
    """Both say that pictures come; one of them is first, and for the other it is no news any more."""
    first, second = Owner(str(camera.id)), Owner(str(camera.id))
    await first.take()
    second.run = first.run
    await second.refresh()
    await asyncio.gather(first.see(), second.see(), first.see(), second.see())
    assert topics(first).count("camera.streaming") == 1
    assert first.log.load(Camera, camera.id).version == 3
    for owner in (first, second):
        owner.log.close()


async def test_what_an_owner_does_of_its_own_accord_follows_from_the_log(camera: Camera) -> None:
    owner = Owner(str(camera.id))
    await owner.take()
    (happened,) = owner.log.stream(camera.id, after=1)
    cause = event_id(camera.id, 1)
    assert (happened.by, happened.correlation_id, happened.causation_id) == ("system", cause, cause)
    owner.log.close()


async def test_what_an_owner_is_asked_to_do_is_the_askers(camera: Camera) -> None:
    owner = Owner(str(camera.id))
    await owner.obey(Provenance("ann", "order", "request"), None, "take")
    (happened,) = owner.log.stream(camera.id, after=1)
    assert (happened.by, happened.correlation_id, happened.causation_id) == ("ann", "order", "request")
    owner.log.close()


async def test_a_decision_that_is_not_durable_changes_nothing(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(str(camera.id))
    before = dict(owner.aggregate.__dict__)

    async def broken(*_: Any) -> None:
        raise Unavailable("the database is gone")

    monkeypatch.setattr(owner.log, "append", broken)
    with pytest.raises(Unavailable):
        await owner.take()
    assert owner.aggregate.__dict__ == before
    owner.log.close()


async def test_an_owner_refuses_who_has_seen_another_version(camera: Camera) -> None:
    owner = Owner(str(camera.id))
    with pytest.raises(StaleVersion, match="version 1 now, not 2"):
        await owner.obey(None, 2, "take")
    await owner.obey(None, 1, "take")
    with pytest.raises(StaleVersion, match="version 2 now, not 1"):
        await owner.obey(None, 1, "see")
    assert topics(owner) == ["camera.created", "camera.connecting"]
    await owner.obey(None, None, "see")  # nothing is left of an earlier caller's condition
    assert topics(owner)[2:] == ["camera.streaming"]
    owner.log.close()
