"""A poison event parks the one view that cannot take it in; everything else goes on. On both databases."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy import text, update

import actors.routes
import projections.routes
from actors import gateway
from actors.log import Log
from actors.rebuild import rebuild
from actors.routes import problems, system
from actors.routes.position import LogPosition
from domain.aggregate import DomainEvent
from domain.camera import Camera, SimulatedCamera
from domain.project import Project
from projections import schema, tables
from projections.changes import Change, Drop, Put, View
from projections.fold import Standing
from projections.views import VIEWS
from settings import Settings
from tests.integration.log_kit import AT, contents, new_camera, new_project

Poisoned = Callable[[int, DomainEvent], Iterable[Change]]


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    schema.upgrade(database_url)
    made = Log(database_url)
    yield made
    made.close()


def _raises(position: int, event: DomainEvent) -> Iterable[Change]:
    raise KeyError("lens")


def _half_a_row(position: int, event: DomainEvent) -> Iterable[Change]:
    """The row that is there is gone before its successor is refused."""
    yield Drop(tables.cameras, {"id": str(event.originator_id)})
    yield Put(tables.cameras, dict.fromkeys(tables.cameras.c.keys()) | {"id": "half"})


def _not_a_value(position: int, event: DomainEvent) -> Iterable[Change]:
    yield Put(tables.cameras, dict.fromkeys(tables.cameras.c.keys(), object()))


def _no_such_column(position: int, event: DomainEvent) -> Iterable[Change]:
    no_table = tables.cameras.to_metadata(tables.MetaData(), name="a_table_of_a_later_release")
    yield Put(no_table, dict.fromkeys(tables.cameras.c.keys(), "x"))


REAL = dict(VIEWS)
POISONS: dict[str, tuple[Poisoned, str]] = {
    "code that raises": (_raises, "KeyError: 'lens'"),
    "a row that is refused": (_half_a_row, "cameras"),
    "a value that no driver takes": (_not_a_value, "object"),
    "a table that is not there": (_no_such_column, "a_table_of_a_later_release"),
}


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[[Poisoned], None]:
    """Makes the cameras' view fail at what is named "poison"."""

    def poison(fails: Poisoned) -> None:
        real = REAL["cameras"]

        def changes(position: int, event: DomainEvent) -> Iterable[Change]:
            is_poison = getattr(event, "name", "") == "poison"
            return fails(position, event) if is_poison else real.changes(position, event)

        monkeypatch.setitem(VIEWS, "cameras", View(real.tables, real.listens_to, changes))

    return poison


@pytest.fixture
def client(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncClient:
    """The HTTP interface on this log. No Ray runs here, so no owner is ever awake."""

    async def nobody() -> list[dict[str, str]]:
        return []

    monkeypatch.setattr(gateway, "living", lambda kind, id: None)
    monkeypatch.setattr(system, "roll_call", nobody)
    monkeypatch.setattr("actors.disk.settings", lambda: Settings(storage_dir=tmp_path))
    app = FastAPI()
    problems.install(app)
    app.add_middleware(LogPosition)
    for router in (*projections.routes.routers, *actors.routes.routers):
        app.include_router(router)
    app.state.engine, app.state.gateway = log.engine, gateway.Gateway(log)
    return AsyncClient(transport=ASGITransport(app), base_url="http://test")


def _renamed(camera: Camera, name: str) -> Camera:
    camera.update(SimulatedCamera(driver="simulated", name=name), AT)
    return camera


def _names(log: Log, table: str) -> set[str]:
    with log.engine.connect() as connection:
        return set(connection.scalars(text(f"SELECT name FROM {table}")))


@pytest.mark.parametrize("how", POISONS)
async def test_only_the_view_that_fails_is_parked_and_a_rebuild_heals_it(
    log: Log, poisoned: Callable[[Poisoned], None], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    fails, said = POISONS[how]
    poisoned(fails)
    project = new_project("lab")
    camera = new_camera(project, "top")
    whole = (await log.append(project, camera)).position

    ack = await log.append(new_project("with it"), _renamed(camera, "poison"), new_project("behind it"))
    assert ack.position == log.position()
    _, poison, _ = [position for position, _ in log.page(whole)]
    assert log.load(Camera, camera.id).name == "poison"
    assert _names(log, "projects") == {"lab", "with it", "behind it"}
    assert _names(log, "cameras") == {"top"}
    parked = log.views()["cameras"]
    assert (parked.position, parked.is_behind) == (poison - 1, True)
    assert parked.parked_reason is not None
    assert parked.parked_reason.startswith(f"event 'camera.changed' at position {poison}: ")
    assert said in parked.parked_reason
    others = {name: view for name, view in log.views().items() if name != "cameras"}
    assert set(others.values()) == {Standing(ack.position, None, is_behind=False)}

    after = await log.append(_renamed(camera, "later"), new_project("later"))
    assert log.views()["cameras"] == parked
    assert _names(log, "cameras") == {"top"}
    assert log.views()["projects"].position == after.position
    assert log.moment_behind(parked.position) == AT

    monkeypatch.setitem(VIEWS, "cameras", REAL["cameras"])
    assert rebuild(log, ["cameras"]).replaced == 1
    assert log.views()["cameras"] == Standing(after.position, None, is_behind=False)
    assert _names(log, "cameras") == {"later"}
    await log.append(_renamed(camera, "last"))
    assert _names(log, "cameras") == {"last"}


async def test_the_claims_of_a_poison_event_are_made_all_the_same(
    log: Log, poisoned: Callable[[Poisoned], None]
) -> None:
    poisoned(_raises)
    project = new_project()
    camera = new_camera(project, "poison")
    await log.append(project, camera)
    assert log.holders(f"name:camera:{project.id}:poison") == [(Camera, camera.id)]


async def test_a_view_that_is_behind_is_not_moved_on(log: Log) -> None:
    """As it would be that is new in this release, or whose table was brought back from a backup."""
    await log.append(new_project("first"), new_project("second"))
    with log.engine.begin() as connection:
        connection.execute(tables.positions.delete().where(tables.positions.c.view == "jobs"))
        connection.execute(update(tables.positions).where(tables.positions.c.view == "projects").values(position=1))
    await log.append(new_project("third"))
    assert _names(log, "projects") == {"first", "second"}
    assert log.views()["projects"] == Standing(1, None, is_behind=True)
    assert log.views()["jobs"] == Standing(0, None, is_behind=True)
    assert log.views()["cameras"] == Standing(3, None, is_behind=False)


async def test_a_gap_in_the_positions_leaves_nobody_behind(log: Log, database_url: str) -> None:
    """PostgreSQL leaves one where a transaction was rolled back."""
    await log.append(new_project("first"))
    with log.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT nextval('geti_events_id_seq')"))
    ack = await log.append(new_project("second"))
    assert {view.position for view in log.views().values()} == {ack.position}


async def test_a_failure_of_the_whole_transaction_parks_nothing(
    log: Log, monkeypatch: pytest.MonkeyPatch, poisoned: Callable[[Poisoned], None]
) -> None:
    def no_memory(position: int, event: DomainEvent) -> Any:
        raise MemoryError

    poisoned(no_memory)
    project = new_project()
    await log.append(project)
    before = contents(log)
    with pytest.raises(MemoryError):
        await log.append(new_camera(project, "poison"))
    assert contents(log) == before
    assert isinstance(log.load(Project, project.id), Project)


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "once"}], ids=["without a key", "with a key"])
async def test_what_a_client_is_told_while_a_view_is_parked(
    log: Log, client: AsyncClient, poisoned: Callable[[Poisoned], None], key: dict[str, str]
) -> None:
    poisoned(_raises)
    lab = (await client.post("/api/projects", json={"name": "lab"})).json()["id"]
    assert (await client.get("/api/health")).json()["problems"] == []

    cameras = f"/api/projects/{lab}/cameras"
    old = (await client.post(cameras, json={"name": "old", "driver": "simulated"})).json()
    at = log.position()
    body = {"name": "poison", "driver": "simulated"}
    made = await client.post(cameras, json=body, headers=key)
    assert (made.status_code, made.headers["ETag"], made.headers["X-Log-Position"]) == (201, '"1"', str(log.position()))
    ((poison, _),) = log.page(at)
    assert made.json()["detail"].startswith("It is done, but it cannot be shown: the tables lack")
    id = UUID(made.json()["id"])
    assert isinstance(log.load(Camera, id), Camera)
    repeated = await client.post(cameras, json=body if key else body | {"id": str(id)}, headers=key)
    assert repeated.status_code == (201 if key else 200)
    assert repeated.json() == made.json()

    renamed = {"name": "new", "driver": "simulated"}
    for _ in range(2):  # the second time as the first, with a key
        changed = await client.put(
            f"{cameras}/{old['id']}", json=renamed, headers=key | {"If-Match": '"1"'} if key else {}
        )
        assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
        assert changed.json()["detail"].startswith("It is done, but it cannot be shown: the tables lack")

    listed = await client.get(cameras)
    assert listed.json() == [old]
    assert listed.headers["X-Log-Position"] == str(poison - 1)  # as far as it is shown
    missed = await client.get(f"{cameras}/{id}")
    assert (missed.status_code, missed.json()["error_code"]) == (404, "camera_not_found")
    assert "(cameras); /api/health says why" in missed.json()["detail"]
    assert (await client.get(f"/api/projects/{lab}")).status_code == 200

    health = (await client.get("/api/health")).json()
    assert health["status"] == "degraded"
    (problem,) = health["problems"]
    assert problem["what"] == "view cameras"
    assert problem["since"] == made_at(log, at)
    for said in ("'camera.created'", f"at position {poison}", "KeyError: 'lens'", "geti-action rebuild cameras"):
        assert said in problem["detail"]


def made_at(log: Log, after: int) -> str:
    """When the first event behind a position happened, as the interface shows it."""
    return tables.rfc3339(next(log.read(after))[1].timestamp)
