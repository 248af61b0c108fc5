"""The audit trail over HTTP, in process, on both databases: what happened, to whom, by whom, and how things stood."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from actors.as_of import Past
from actors.gateway import Gateway
from actors.log import Log
from actors.routes import audit, problems, projects
from actors.routes.as_of import AsOf
from domain.project import UpdateProject
from projections import queries, schema
from projections import routes as reading
from tests.integration.log_kit import AT, new_project, told
from tests.story import everything, named

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[Log]:
    schema.upgrade(database_url)
    made = Log(database_url)
    yield made
    made.close()


@pytest.fixture
def app(log: Log) -> FastAPI:
    made = FastAPI()
    made.state.engine, made.state.gateway, made.state.past = log.engine, Gateway(log), Past(log)
    problems.install(made)
    made.add_middleware(AsOf)
    for router in (*reading.routers, projects.router, audit.router):
        made.include_router(router)
    return made


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost/api") as client:
        yield client


async def get(http: httpx.AsyncClient, path: str, **parameters: Any) -> Any:
    reply = await http.get(path, params=parameters)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def tell_the_story(log: Log) -> None:
    for _, event in everything():
        await log.append(told(event))


async def test_a_request_is_found_again_in_what_it_did(http: httpx.AsyncClient) -> None:
    headers = {"X-Request-ID": "r-1", "X-Correlation-ID": "order-66", "traceparent": TRACEPARENT}
    made = await http.post("/projects", json={"name": "lab"}, headers=headers)
    (event,) = await get(http, "/events")
    assert event.pop("at").endswith("Z")
    assert event == {
        "position": 1,
        "type": "project.created",
        "aggregate": "project",
        "aggregate_id": made.json()["id"],
        "version": 1,
        "by": "anonymous",
        "correlation_id": "order-66",
        "causation_id": "r-1",
        "traceparent": TRACEPARENT,
        "data": {"name": "lab"},
    }


async def test_events_are_found_by_whose_they_are_and_by_what_they_say(log: Log, http: httpx.AsyncClient) -> None:
    await tell_the_story(log)
    story = everything()
    for wanted in ("camera", "camera.lost", "job", "recording.episode-saved"):
        expected = [p for p, event in story if f"{event.TOPIC}.".startswith(f"{wanted}.")]
        assert [each["position"] for each in await get(http, "/events", type=wanted)] == expected
        assert expected
    camera = str(named("top"))
    expected = [p for p, event in story if str(event.originator_id) == camera]
    assert [each["position"] for each in await get(http, "/events", aggregate=camera)] == expected
    assert [each["position"] for each in await get(http, f"/cameras/{camera}/history")] == expected


async def test_the_trail_comes_a_page_at_a_time(log: Log, http: httpx.AsyncClient) -> None:
    await tell_the_story(log)
    seen, url = [], "/api/events?limit=7&type=camera"
    while url:
        reply = await http.get(f"http://localhost{url}")
        seen += reply.json()
        assert len(reply.json()) <= 7
        url = reply.links["next"]["url"] if "next" in reply.links else ""
    assert int(reply.headers["X-Total-Count"]) == len(seen)
    assert [each["position"] for each in seen] == [p for p, e in everything() if e.TOPIC.startswith("camera.")]


async def test_what_was_deleted_still_has_a_history(http: httpx.AsyncClient) -> None:
    id = (await http.post("/projects", json={"name": "lab"})).json()["id"]
    await http.delete(f"/projects/{id}")
    assert [each["type"] for each in await get(http, f"/projects/{id}/history")] == [
        "project.created",
        "project.deleted",
    ]


async def test_every_list_and_every_thing_can_be_seen_as_it_was(log: Log, http: httpx.AsyncClient) -> None:
    """Noted now and then in the story, asked for afterwards, forwards and backwards."""
    lab = named("lab")
    paths = (
        "/projects",
        f"/projects/{lab}",
        f"/projects/{lab}/cameras/{named('top')}",
        f"/projects/{lab}/robots",
        f"/projects/{lab}/environments/{named('cell')}",
        f"/dataset/{named('pushes')}/episodes",
        "/jobs",
        f"/models/{named('model')}",
    )
    noted: dict[int, list[tuple[int, Any]]] = {}
    for number, event in everything():
        await log.append(told(event))
        if number % 8:
            continue
        noted[log.position()] = [(reply.status_code, reply.json()) for reply in [await http.get(p) for p in paths]]
    for position in (*noted, *reversed(noted)):
        replies = [await http.get(path, params={"at": position}) for path in paths]
        assert [(reply.status_code, reply.json()) for reply in replies] == noted[position], position
    assert await get(http, "/projects", at=0) == []


async def test_the_present_is_not_touched(log: Log, http: httpx.AsyncClient) -> None:
    await tell_the_story(log)
    before = await get(http, "/projects")
    assert await get(http, "/projects", at=1) != before
    assert await get(http, "/projects") == before


async def test_who_takes_the_past_slowly_keeps_nobody_waiting(log: Log, app: FastAPI, http: httpx.AsyncClient) -> None:
    await tell_the_story(log)
    sent, taken = asyncio.Event(), asyncio.Event()

    async def send(message: Any) -> None:
        sent.set()
        await taken.wait()

    about = {"type": "http", "method": "GET", "path": "/api/projects", "query_string": b"at=1", "headers": []}
    slow = asyncio.create_task(app(about, taken.wait, send))
    await sent.wait()
    async with asyncio.timeout(5):
        assert len(await get(http, "/projects", at=1)) == 1
    taken.set()
    await slow


async def test_the_events_of_the_past_end_there(log: Log, http: httpx.AsyncClient) -> None:
    await tell_the_story(log)
    whole = await get(http, "/events", limit=1000)
    assert await get(http, "/events", limit=1000, at=7) == whole[:7]
    assert (await http.get("/events?limit=2&at=7")).headers["X-Total-Count"] == "7"
    project = whole[0]["aggregate_id"]
    assert await get(http, f"/projects/{project}/history", at=1) == whole[:1]


BAD = {
    "/projects?at=x": "invalid_position",
    "/projects?at=": "invalid_position",
    "/projects?at=-1": "invalid_position",
    "/projects?at=٣": "invalid_position",
    "/projects?at=999999999999999999999": "invalid_position",
    "/projects?at=2": "unknown_position",
    "/events?aggregate=x": "invalid_id",
    "/events?type=spaceship": "unknown_event_type",
    "/events?type=project.nope": "unknown_event_type",
    "/events?type=antigravity": "unknown_event_type",
    "/events?from=-1": "validation_error",
    "/events?from=99999999999999999999": "validation_error",
    "/events?limit=0": "validation_error",
    "/events?limit=1001": "validation_error",
    "/cameras/x/history": "validation_error",
}


@pytest.mark.parametrize("path", BAD)
async def test_what_makes_no_sense_is_refused(http: httpx.AsyncClient, path: str) -> None:
    await http.post("/projects", json={"name": "lab"})
    reply = await http.get(path)
    assert (reply.status_code, reply.json()["error_code"]) == (422, BAD[path])
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", [f"/cameras/{UUID(int=7)}/history", f"/spaceships/{UUID(int=7)}/history"])
async def test_what_never_was_has_no_history(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


async def test_another_kinds_id_has_no_history(http: httpx.AsyncClient) -> None:
    id = (await http.post("/projects", json={"name": "lab"})).json()["id"]
    assert (await http.get(f"/cameras/{id}/history")).status_code == 404


async def test_who_hangs_up_leaves_the_past_as_it_was(log: Log) -> None:
    """Folding on after its caller is gone, beside the next caller, would show each of them something that never was."""
    past, names = Past(log), [f"project {number}" for number in range(30)]
    for name in names:
        project = new_project(name)
        for number in range(49):
            project.update(UpdateProject(name=f"{name} {number}"), AT)
        await log.append(project)

    async def seen(position: int) -> int:
        async with past.at(position) as engine:
            with engine.connect() as connection:
                return len(queries.projects(connection))

    newest = log.position()
    for number in range(10):
        impatient = asyncio.create_task(seen(newest))
        await asyncio.sleep(number * 0.004)
        impatient.cancel()
        for position in (100, 50, 1000):
            assert await seen(position) == position // 50
    assert await seen(newest) == len(names)
