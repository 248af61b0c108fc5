"""What the doors of the application say, asked in this process: no server runs, and nothing is behind them."""

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

import serve_app
from settings import Settings

CELL = f"/api/projects/{uuid4()}"
THINGS = (f"{CELL}/recordings/{uuid4()}", f"{CELL}/cameras/{uuid4()}", f"/api/jobs/{uuid4()}", "/api/dataset")


@pytest.fixture
async def http(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(serve_app, "settings", lambda: Settings(port=8123))
    transport = httpx.ASGITransport(serve_app.build())
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8123") as client:
        yield client


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("verb", ["set_source", "", "start_episode:save_episode"])
async def test_an_unknown_verb_is_an_unknown_route(http: httpx.AsyncClient, method: str, verb: str) -> None:
    for thing in THINGS:
        reply = await http.request(method, f"{thing}:{verb}", json={})
        assert (reply.status_code, reply.json()["error_code"]) == (404, "not_found"), reply.url


WITHOUT_PAST = [
    *("/api/live", "/api/health", "/api/settings", f"{CELL}/cameras/{uuid4()}/stats", f"/api/jobs/{uuid4()}/metrics"),
    *(
        f"/api/dataset/{uuid4()}/{file}"
        for file in ("download", "video/videos/top/file-000.mp4", "episodes/0/thumbnail", "versions")
    ),
]


async def test_what_has_no_past_refuses_a_position(http: httpx.AsyncClient) -> None:
    for path in WITHOUT_PAST:
        reply = await http.get(path, params={"at": 1})
        assert (reply.status_code, reply.json()["error_code"]) == (422, "no_past"), path


async def test_a_position_makes_no_route_of_what_is_none(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/spaceships?at=1")).status_code == 404
    assert (await http.get(f"{THINGS[0]}:close?at=1")).status_code == 405
    assert (await http.get("/?at=1")).status_code == 200


async def test_a_known_verb_has_its_method(http: httpx.AsyncClient) -> None:
    assert (await http.get(f"{THINGS[0]}:close")).status_code == 405


async def test_who_comes_by_a_foreign_name_is_told_the_address(http: httpx.AsyncClient) -> None:
    refused = await http.get("/api/projects", headers={"Host": "robot.lab:8123"})
    assert refused.status_code == 403
    assert "use http://localhost:8123 or" in refused.json()["detail"]
