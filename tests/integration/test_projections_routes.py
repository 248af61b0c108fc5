"""The plain GETs over HTTP."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from httpx import ASGITransport, AsyncClient
from pydantic import TypeAdapter
from sqlalchemy import select

from domain.errors import GetiActionError
from projections import database, queries, schema, shapes, tables
from projections.fold import fold
from projections.routes import routers
from tests.story import everything, named

STORY = everything()
LAB = f"/api/projects/{named('lab')}"
CELL = named("cell")
LISTS = {
    "/api/projects": 1,
    f"{LAB}/cameras": 2,
    f"{LAB}/robots": 1,
    f"{LAB}/robots/online": 1,
    f"{LAB}/environments": 1,
    f"{LAB}/datasets": 1,
    f"{LAB}/models": 1,
    f"{LAB}/jobs": 4,
    "/api/jobs": 4,
    f"/api/dataset/{named('pushes')}/episodes": 2,
    f"/api/dataset/{named('pushes')}/trash": 0,
}
SINGLES = {
    LAB: "lab",
    f"{LAB}/cameras/{named('top')}": "top",
    f"{LAB}/robots/{named('arm')}": "arm",
    f"{LAB}/environments/{named('cell')}": "cell",
    f"/api/dataset/{named('pushes')}": "pushes",
    f"/api/jobs/{named('training')}": "training",
    f"/api/models/{named('model')}": "model",
}


def _problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GetiActionError)
    return JSONResponse({"error_code": error.error_code}, error.status)


@pytest.fixture
def app(tmp_path: Path) -> Any:
    url = f"sqlite:///{tmp_path / 'geti_action.db'}"
    schema.upgrade(url)
    made = FastAPI()
    for router in routers:
        made.include_router(router)
    made.add_exception_handler(GetiActionError, _problem)
    made.state.engine = database.engine(url)
    with made.state.engine.connect() as connection, database.begin_immediate(connection):
        fold(connection, STORY)
    yield made
    made.state.engine.dispose()


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as made:
        yield made


async def test_a_list_says_how_long_it_is(client: AsyncClient) -> None:
    for path, length in LISTS.items():
        reply = await client.get(path)
        assert (reply.status_code, reply.headers["Cache-Control"]) == (200, "no-store"), path
        assert (len(reply.json()), reply.headers["X-Total-Count"]) == (length, str(length)), path


async def pages(client: AsyncClient, path: str, limit: int) -> list[list[Any]]:
    """The list a page at a time, as the Link headers lead."""
    found, following = [], f"{path}{'&' if '?' in path else '?'}limit={limit}"
    while following:
        reply = await client.get(following)
        assert reply.status_code == 200, reply.text
        found.append(reply.json())
        following = reply.links.get("next", {}).get("url", "")
        assert reply.headers["X-Total-Count"] == str(LISTS[path])
    return found


async def test_a_list_comes_a_page_at_a_time(client: AsyncClient) -> None:
    for path in LISTS:
        whole = (await client.get(path)).json()
        for limit in (1, 2, 3, 1000):
            shown = await pages(client, path, limit)
            assert [thing for page in shown for thing in page] == whole, (path, limit)
            assert all(len(page) == limit for page in shown[:-1]), (path, limit)


async def test_a_page_goes_on_behind_what_was_deleted_and_shows_what_came(app: FastAPI, client: AsyncClient) -> None:
    first = await client.get("/api/jobs?limit=2")
    whole = (await client.get("/api/jobs")).json()
    with app.state.engine.begin() as connection:
        gone = tables.jobs.c.id == first.json()[-1]["id"]
        row = connection.execute(select(tables.jobs).where(gone)).mappings().one()
        connection.execute(tables.jobs.delete().where(gone))
        connection.execute(tables.jobs.insert(), dict(row) | {"id": "new", "created_at": "2999-01-01T00:00:00.000000Z"})
    after = await client.get(first.links["next"]["url"])
    assert [job["id"] for job in after.json()] == [whole[2]["id"], whole[3]["id"]]
    assert [job["id"] for job in (await client.get(after.links["next"]["url"])).json()] == ["new"]


FORGED = [
    "nonsense",
    "!",
    "",
    "bnVsbA",  # null
    "W10",  # []
    "WzEsMl0",  # [1,2]
    "WyJhIiwidHJ1ZSJd~",
    "WyJhIiwiXHUwMDAwIl0",  # ["a","\u0000"]
    "WyJhIiwiYiJd",  # ["a","b"]
    "WyJhIiwiYiIsImMiXQ",  # ["a","b","c"]
    "x" * 501,
]


@pytest.mark.parametrize("cursor", FORGED)
async def test_a_forged_cursor_is_refused(client: AsyncClient, cursor: str) -> None:
    for path in LISTS:
        assert (await client.get(path, params={"limit": 2, "cursor": cursor})).status_code == 422, path


async def test_a_cursor_of_another_kind_of_list_is_refused(client: AsyncClient) -> None:
    episodes = f"/api/dataset/{named('pushes')}/episodes"
    cursor = (await client.get("/api/jobs?limit=1")).links["next"]["url"].partition("cursor=")[2]
    for path in (episodes, f"/api/projects/{named('lab')}/cameras"):
        assert (await client.get(f"{path}?limit=1&cursor={cursor}")).status_code == 422, path
    for index in (2**63, -(2**63) - 1, 10**30, 1.5, True):
        forged = base64.urlsafe_b64encode(json.dumps([index]).encode()).decode().rstrip("=")
        assert (await client.get(f"{episodes}?limit=1&cursor={forged}")).status_code == 422, index


async def test_a_cursor_of_another_things_list_is_refused(app: FastAPI, client: AsyncClient) -> None:
    other = str(uuid4())
    with app.state.engine.begin() as connection:
        row = connection.execute(select(tables.projects)).mappings().first()
        assert row is not None
        connection.execute(tables.projects.insert(), dict(row) | {"id": other, "name": "other"})
    cursor = (await client.get(f"{LAB}/cameras?limit=1")).links["next"]["url"].partition("cursor=")[2]
    assert (await client.get(f"{LAB}/cameras?limit=1&cursor={cursor}")).status_code == 200
    assert (await client.get(f"/api/projects/{other}/cameras?limit=1")).status_code == 200
    assert (await client.get(f"/api/projects/{other}/cameras?limit=1&cursor={cursor}")).status_code == 422


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=1001", "limit=many", "limit=", "cursor=WyJhIiwiYiJd"])
async def test_a_page_that_cannot_be_is_refused(client: AsyncClient, query: str) -> None:
    for path in LISTS:
        assert (await client.get(f"{path}?{query}")).status_code == 422, path


async def test_one_thing_carries_its_version(client: AsyncClient) -> None:
    versions = {event.originator_id: event.originator_version for _, event in STORY}
    for path, name in SINGLES.items():
        reply = await client.get(path)
        assert (reply.status_code, reply.headers["Cache-Control"]) == (200, "no-store"), path
        assert reply.headers["ETag"] == f'"{versions[named(name)]}"', path
        assert reply.json()["id"] == str(named(name))


async def test_tasks_come_by_dataset(client: AsyncClient) -> None:
    assert (await client.get(f"{LAB}/tasks")).json() == {"Pushes": ["Again.", "Push the T."]}


async def test_an_unknown_id_is_404_and_a_malformed_one_422(client: AsyncClient) -> None:
    for path, name in SINGLES.items():
        assert (await client.get(path.replace(str(named(name)), str(uuid4())))).status_code == 404, path
        assert (await client.get(path.replace(str(named(name)), "nonsense"))).status_code == 422, path


async def test_the_openapi_document_says_what_comes_back(app: FastAPI, client: AsyncClient) -> None:
    documented = app.openapi()["paths"]
    assert len(documented) == len(LISTS) + len(SINGLES) + len(["tasks"])
    for path, operations in documented.items():
        assert operations["get"]["responses"]["200"]["content"]["application/json"]["schema"], path
    TypeAdapter(list[shapes.Project]).validate_json((await client.get("/api/projects")).content)
    TypeAdapter(shapes.EnvironmentWithDevices).validate_json((await client.get(f"{LAB}/environments/{CELL}")).content)


async def test_it_shows_at_once_what_was_committed(app: FastAPI, client: AsyncClient) -> None:
    with app.state.engine.connect() as connection, database.begin_immediate(connection):
        fold(connection, [(1000, STORY[0][1].model_copy(update={"originator_id": uuid4()}))])
        assert len(queries.projects(connection)) == 2
    assert len((await client.get("/api/projects")).json()) == 2


async def test_connections_go_back_to_the_pool(app: FastAPI, client: AsyncClient) -> None:
    for _ in range(50):
        await client.get(f"{LAB}/cameras/{uuid4()}")
        await client.get("/api/projects")
    assert app.state.engine.pool.checkedout() == 0
