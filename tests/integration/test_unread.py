"""A row of the log that was edited by hand: whoever meets it says the same, and the system says so until it is mended.
On SQLite the hand leaves text where bytes were, as its ``replace`` does."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy import select, text, update

from actors import gateway, unread
from actors.as_of import Past
from actors.care.backup import back_up
from actors.care.check import check_log
from actors.care.exporting import export_to
from actors.codec import Damaged, Gap
from actors.entity import OwnerLost
from actors.gateway import Gateway
from actors.log import Log
from actors.rebuild import rebuild
from actors.routes import audit, problems, projects, system
from actors.routes.as_of import AsOf
from domain.camera import Camera
from domain.project import Project, UpdateProject
from projections import routes as reading
from projections import schema, tables
from settings import Settings
from tests.integration.care_kit import quiet
from tests.integration.log_kit import AT, new_camera, new_project

WHAT = "The event 'project.renamed' at position 3 is not what was written"
EVENTS = tables.events
THIRD = EVENTS.c.id == 3


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[Log]:
    """Three names of a project, and another project."""
    schema.upgrade(database_url)
    made = Log(database_url)
    project = new_project("A0")
    for name in ("B0", "A1"):
        project.update(UpdateProject(name=name), AT)
    await made.append(project)
    await made.append(new_project("other"))
    yield made
    made.close()


@pytest.fixture
async def http(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncClient]:
    async def nobody() -> list[dict[str, str]]:
        return []

    monkeypatch.setattr(system, "roll_call", nobody)
    monkeypatch.setattr("actors.disk.settings", lambda: Settings(storage_dir=tmp_path))
    app = FastAPI()
    app.state.engine, app.state.gateway, app.state.past = log.engine, Gateway(log), Past(log)
    problems.install(app)
    app.add_middleware(AsOf)
    for router in (*reading.routers, projects.router, audit.router, system.router):
        app.include_router(router)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://localhost/api") as client:
        yield client


def state(log: Log) -> bytes:
    """That of the third row."""
    with log.engine.connect() as connection:
        found: bytes = connection.execute(select(EVENTS.c.state).where(THIRD)).scalar_one()
        return found


def write(log: Log, written: bytes, *, by_hand: bool = False) -> None:
    with log.engine.begin() as connection:
        if by_hand and connection.dialect.name == "sqlite":
            connection.execute(text("UPDATE geti_events SET state = :state WHERE id = 3"), {"state": written.decode()})
        else:
            connection.execute(update(EVENTS).where(THIRD).values(state=written))


def edit(log: Log) -> None:
    write(log, state(log).replace(b"A1", b"ZZ"), by_hand=True)


def empty(log: Log) -> None:
    write(log, b"", by_hand=True)


def cut(log: Log) -> None:
    """Another name, and no checksum that could tell."""
    body, _, _ = state(log).replace(b"A1", b"ZZ").rpartition(b',"checksum"')
    write(log, body + b"}")


DAMAGE = pytest.mark.parametrize("damage", [edit, empty, cut])


@DAMAGE
def test_every_tool_says_which_event_it_is(damage: Callable[[Log], None], log: Log, tmp_path: Path) -> None:
    damage(log)
    first, *_ = check_log(log)
    assert first.what.startswith(WHAT)
    for tool in (
        lambda: rebuild(log),
        lambda: export_to(log, tmp_path / "log.jsonl"),
        lambda: back_up(log, tmp_path / "storage", tmp_path / "backup", quiet, with_files=False),
    ):
        with pytest.raises(Damaged, match=WHAT):
            tool()


@DAMAGE
async def test_every_answer_and_then_health_name_it_until_it_is_mended(
    damage: Callable[[Log], None], log: Log, http: AsyncClient
) -> None:
    whole, (_, born) = state(log), next(log.read())
    damage(log)
    assert (await http.get("/health")).json()["problems"] == []  # nobody has met it
    path = f"/projects/{born.originator_id}"
    for reply in (
        await http.get("/events"),
        await http.get(f"{path}/history"),
        await http.get("/projects", params={"at": 4}),
        await http.put(path, json={"name": "new"}),
    ):
        assert (reply.status_code, reply.json()["error_code"]) == (500, "log_damaged"), reply.url
        assert reply.json()["detail"].startswith(WHAT)
        assert reply.json()["position"] == 3
    for _ in range(2):
        health = (await http.get("/health")).json()
        assert health["status"] == "degraded"
        (problem,) = health["problems"]
        assert (problem["what"], problem["since"][-1]) == ("event 3", "Z")
        assert problem["detail"].startswith(WHAT)
    write(log, whole)
    assert (await http.get("/health")).json()["problems"] == []
    project = log.load(Project, born.originator_id)
    assert project.name == "A1"


async def test_nothing_is_decided_on_what_a_lost_event_left_until_it_is_back(log: Log, http: AsyncClient) -> None:
    second = EVENTS.c.id == 2
    with log.engine.begin() as connection:
        row = connection.execute(select(EVENTS).where(second)).one()
        connection.execute(EVENTS.delete().where(second))
    path = f"/projects/{row.originator_id}"
    for reply in (await http.put(path, json={"name": "new"}), await http.delete(path)):
        assert (reply.status_code, reply.json()["error_code"], reply.json()["position"]) == (500, "log_not_whole", 3)
        assert "version 3 of its aggregate, and the one before it is 1. Run geti-action check-log" in reply.text
    for _ in range(2):
        (problem,) = (await http.get("/health")).json()["problems"]
        assert problem["what"] == "event 3"
    with log.engine.begin() as connection:
        connection.execute(EVENTS.insert().values(row._asdict()))
    assert (await http.get("/health")).json()["problems"] == []
    assert (await http.put(path, json={"name": "new"})).status_code == 200


async def test_a_thing_whose_first_event_is_lost_is_no_other_thing(log: Log) -> None:
    with log.engine.begin() as connection:
        born = connection.execute(select(EVENTS.c.originator_id).where(EVENTS.c.id == 1)).scalar_one()
        connection.execute(EVENTS.delete().where(EVENTS.c.id == 1))
    with pytest.raises(Gap, match="position 2 is version 2 of its aggregate, and the one before it is missing"):
        log.load(Project, born)


async def test_an_owner_that_cannot_load_it_is_not_called_lost(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process ends while it starts, which looks like any end of a process to who has asked it."""
    project = new_project("with cameras")
    camera, whole = new_camera(project, "top"), new_camera(project, "side")
    await log.append(project, camera, whole)

    async def ask(*words: Any, **how: Any) -> None:
        raise OwnerLost("gone")

    monkeypatch.setattr(gateway, "ask", ask)
    with log.engine.begin() as connection:
        connection.execute(update(EVENTS).where(EVENTS.c.originator_id == camera.id).values(state=b"{}"))
    with pytest.raises(Damaged):
        await Gateway(log).ask(Camera, camera.id, "connect")
    with pytest.raises(OwnerLost):
        await Gateway(log).ask(Camera, whole.id, "connect")


async def test_what_is_gone_is_forgotten_and_so_many_are_enough(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def met() -> Any:
        return sorted(log.unread.still())

    edit(log)
    with pytest.raises(Damaged) as caught:
        log.page(0)
    monkeypatch.setattr(unread, "MOST", 1)
    log.unread.note(caught.value)
    log.unread.note(Damaged("another", position=4))
    assert met() == [3]
    with log.engine.begin() as connection:
        connection.execute(EVENTS.delete().where(THIRD))
    assert met() == []


async def test_health_names_it_where_a_view_stopped_before_it(log: Log, http: AsyncClient) -> None:
    edit(log)
    with log.engine.begin() as connection:
        stopped = tables.positions.update().where(tables.positions.c.view == "projects")
        connection.execute(stopped.values(position=2, parked_reason="a lens"))
    reply = await http.get("/health")
    assert (reply.status_code, reply.json()["status"]) == (200, "degraded")
    assert {"view projects", "event 3"} <= {problem["what"] for problem in reply.json()["problems"]}
