"""HTTP as its clients rely on it: fresh lists, conditions and keys, documentation, and doors that stay shut."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psutil
import pytest

from client.demo import make_cell
from settings import LOOPBACK, PROJECT

from .conftest import Server
from .kit import open_session

pytestmark = pytest.mark.slow
PINNED = PROJECT / "docs" / "openapi.json"
RENEW = "the API has changed; if that was meant: .venv/bin/python -m cli openapi > docs/openapi.json"
OURS = "http://localhost:3000"


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def new_project(http: httpx.Client, name: str = "lab", **headers: str) -> httpx.Response:
    return http.post("/api/projects", json={"name": name}, headers=headers)


async def test_a_list_shows_what_was_just_made(server: Server) -> None:
    """100 of 100, 16 at once."""
    turns = asyncio.Semaphore(16)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:

        async def made_and_listed(number: int) -> bool:
            async with turns:
                made = await client.post("/api/projects", json={"name": f"fresh {number}"})
                listed = await client.get("/api/projects")
            return made.json()["id"] in {project["id"] for project in listed.json()}

        assert all(await asyncio.gather(*(made_and_listed(number) for number in range(100))))


def test_writes_say_their_version_and_position(http: httpx.Client) -> None:
    made = new_project(http)
    path = f"/api/projects/{made.json()['id']}"
    assert (made.status_code, made.headers["ETag"], made.headers["Cache-Control"]) == (201, '"1"', "no-store")
    changed = http.put(path, json={"name": "changed"})
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    assert int(changed.headers["X-Log-Position"]) > int(made.headers["X-Log-Position"])
    again = http.put(path, json={"name": "changed"})
    assert again.headers["ETag"] == '"2"'
    assert int(again.headers["X-Log-Position"]) >= int(changed.headers["X-Log-Position"])
    one = http.get(path)
    assert (one.headers["ETag"], one.headers["Cache-Control"]) == ('"2"', "no-store")
    deleted = http.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert int(deleted.headers["X-Log-Position"]) > int(changed.headers["X-Log-Position"])
    gone = http.get(path)
    assert gone.status_code == 404
    assert int(gone.headers["X-Log-Position"]) >= int(deleted.headers["X-Log-Position"])


def test_every_answer_says_how_far_it_knows_the_log(http: httpx.Client) -> None:
    made = int(new_project(http).headers["X-Log-Position"])
    for path in ("/projects", "/health", "/events?limit=1", "/nowhere", "/projects?limit=0"):
        assert int(http.get(f"/api{path}").headers["X-Log-Position"]) >= made, path
    assert int(http.post("/api/projects", json={"name": 5}).headers["X-Log-Position"]) >= made
    assert http.get(f"/api/projects?at={made - 1}").headers["X-Log-Position"] == str(made - 1)


def test_a_list_says_how_many(http: httpx.Client) -> None:
    new_project(http)
    listed = http.get("/api/projects")
    assert int(listed.headers["X-Total-Count"]) == len(listed.json()) > 0


def test_a_condition_that_no_longer_holds_is_412(http: httpx.Client) -> None:
    path = f"/api/projects/{new_project(http).json()['id']}"
    assert http.put(path, json={"name": "a"}, headers={"If-Match": '"1"'}).status_code == 200
    for stale in ('"1"', 'W/"1"', '"99"'):
        refused = http.put(path, json={"name": "b"}, headers={"If-Match": stale})
        assert (refused.status_code, refused.json()["error_code"]) == (412, "stale_version")
        assert http.delete(path, headers={"If-Match": stale}).status_code == 412
    assert http.get(path).json()["name"] == "a"
    assert http.put(path, json={"name": "c"}, headers={"If-Match": "*"}).status_code == 200
    assert http.delete(path, headers={"If-Match": '"3"'}).status_code == 204


async def test_of_two_commands_to_one_owner_the_later_has_seen_too_little(server: Server) -> None:
    cell = make_cell(server.api, "conditional")
    session = f"/api{open_session(server.api, cell)}"
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        seen = {"If-Match": (await client.get(session)).headers["ETag"]}
        start = [client.post(f"{session}:start_episode", json={}, headers=seen) for _ in range(4)]
        replies = sorted(await asyncio.gather(*start), key=lambda reply: reply.status_code)
        assert [reply.status_code for reply in replies] == [201, 412, 412, 412]
        episode = replies[0].json()["episode_id"]
        assert replies[0].headers["ETag"] == (await client.get(session)).headers["ETag"]
        assert (await client.get(session)).json()["episode"]["episode_id"] == episode
        assert (await client.post(f"{session}:close", headers=seen)).status_code == 412
        assert (await client.get(session)).json()["episode"]["episode_id"] == episode  # and records on
        seen = {"If-Match": (await client.get(session)).headers["ETag"]}
        assert (await client.post(f"{session}:close", headers=seen)).status_code == 200
        (camera,) = (await client.get(f"/api/projects/{cell.project}/cameras")).json()
        path = f"/api/projects/{cell.project}/cameras/{camera['id']}"
        for verb in ("connect", "disconnect"):
            assert (await client.post(f"{path}:{verb}", headers={"If-Match": '"1"'})).status_code == 412
            now = {"If-Match": (await client.get(path)).headers["ETag"]}
            assert (await client.post(f"{path}:{verb}", headers=now)).status_code == 200


def test_the_same_id_makes_it_once(http: httpx.Client) -> None:
    body = {"id": str(uuid4()), "name": "mine"}
    first, second = (http.post("/api/projects", json=body) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert http.post("/api/projects", json=body | {"name": "other"}).status_code == 409


def same(one: httpx.Response, other: httpx.Response) -> bool:
    names = ("ETag", "X-Log-Position", "Content-Type")
    said = [(each.status_code, each.content, [each.headers.get(name) for name in names]) for each in (one, other)]
    return said[0] == said[1]


def test_the_same_key_repeats_the_first_answer(http: httpx.Client) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    first = new_project(http, **key)
    path = f"/api/projects/{first.json()['id']}"
    put = key | {"If-Match": '"1"'}
    changed = http.put(path, json={"name": "changed"}, headers=put)
    http.put(path, json={"name": "changed since"})
    assert same(new_project(http, **key), first)
    assert same(http.put(path, json={"name": "changed"}, headers=put), changed)
    refused = http.put(path, json={"name": "another body"}, headers=put)
    assert (refused.status_code, refused.json()["error_code"]) == (422, "idempotency_key_reused")
    deleted = http.delete(path, headers=key)
    assert same(http.delete(path, headers=key), deleted)
    assert http.delete(path).status_code == 404
    assert same(http.put(path, json={"name": "changed"}, headers=put), changed)


async def test_one_key_many_times_at_once_makes_one(server: Server) -> None:
    key, body = {"Idempotency-Key": str(uuid4())}, {"name": f"once {uuid4()}"}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        replies = await asyncio.gather(*(client.post("/api/projects", json=body, headers=key) for _ in range(10)))
        listed = (await client.get("/api/projects")).json()
    assert {reply.text for reply in replies} == {replies[0].text}
    assert [project["name"] for project in listed].count(body["name"]) == 1


def test_a_key_is_remembered_by_commands_of_owners_too(server: Server, http: httpx.Client) -> None:
    cell = make_cell(server.api, "remembered")
    camera = http.get(f"/api/projects/{cell.project}/cameras").json()[0]["id"]
    path, key = f"/api/projects/{cell.project}/cameras/{camera}", {"Idempotency-Key": str(uuid4())}
    connected = http.post(f"{path}:connect", headers=key)
    assert (connected.status_code, connected.json()["state"]["status"]) == (200, "streaming")
    assert connected.headers["ETag"] == http.get(path).headers["ETag"]
    assert int(connected.headers["X-Log-Position"]) > 0
    assert http.post(f"{path}:disconnect").json()["state"]["status"] == "offline"
    assert same(http.post(f"{path}:connect", headers=key), connected)
    assert http.get(path).json()["state"]["status"] == "offline"


def test_a_client_that_hangs_up_does_not_half_run_a_command(server: Server, http: httpx.Client) -> None:
    cell = make_cell(server.api, "hung up")
    sessions, body = f"/api/projects/{cell.project}/recordings", {"environment_id": cell.environment}
    key = {"Idempotency-Key": str(uuid4())}
    with pytest.raises(httpx.ReadTimeout):
        http.post(sessions, json=body, headers=key, timeout=0.3)
    deadline = time.monotonic() + 60
    while not (found := http.get(sessions).json()) or found[0]["state"] == "opening":
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    assert [session["state"] for session in found] == ["ready"]
    again = http.post(sessions, json=body, headers=key)  # says that it happened
    assert (again.status_code, again.json()["id"]) == (201, found[0]["id"])
    assert [session["id"] for session in http.get(sessions).json()] == [again.json()["id"]]
    server.api.post(f"/projects/{cell.project}/recordings/{found[0]['id']}:close")


async def test_whoever_hangs_up_at_any_moment_is_told_by_the_retry(server: Server) -> None:
    """A fresh connection each time, cut off between its first byte and its answer."""
    bodies, hung_up = [{"name": f"cut off {uuid4()}"} for _ in range(20)], 0
    for number, body in enumerate(bodies):
        key = {"Idempotency-Key": body["name"]}
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            await client.get("/api/ready")
            try:
                await client.post("/api/projects", json=body, headers=key, timeout=number / 1000 + 0.001)
            except httpx.TimeoutException:
                hung_up += 1
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            retry = await client.post("/api/projects", json=body, headers=key)
            assert (retry.status_code, retry.json()["name"]) == (201, body["name"])
            found = [project for project in (await client.get("/api/projects")).json() if project["name"] in str(body)]
            assert [project["id"] for project in found] == [retry.json()["id"]]
    assert hung_up >= 3  # else nothing was tried


PAGES = ("/docs", "/redoc", "/")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_without_the_internet(http: httpx.Client, page: str) -> None:
    reply = http.get(page)
    assert reply.headers["content-type"].startswith("text/html")
    assert not re.findall(r"""(?:src|href|url)\s*[=:]\s*["'](?:https?:)?//[^"']*""", reply.text)
    assets = re.findall(r"""(?:src|href)\s*=\s*["']([^"'#]+)["']""", reply.text)
    assert assets
    for asset in (asset for asset in assets if not asset.startswith("data:")):
        assert http.get(str(reply.url.join(asset))).status_code == 200, asset


def test_redoc_may_not_fetch_the_logo_of_its_makers(http: httpx.Client) -> None:
    assert "img-src 'self'" in http.get("/redoc").headers["Content-Security-Policy"]


def test_the_openapi_document_is_the_pinned_one(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert document == http.get("/api/openapi.json").json()
    assert document == json.loads(PINNED.read_text()), RENEW


def test_health_says_how_things_stand(http: httpx.Client) -> None:
    health = http.get("/api/health").json()
    assert health["log"]["position"] > 0
    assert set(health["views"].values()) == {health["log"]["position"]}
    assert health["status"] == ("degraded" if health["problems"] else "ok")
    assert http.get("/api/ready").status_code == 204
    now = http.get("/api/health?at=1")  # has no past, and does not say that it shows one
    assert (now.status_code, now.json()["error_code"]) == (422, "no_past")
    assert int(now.headers["X-Log-Position"]) >= health["log"]["position"]
    assert http.get("/api/projects?at=1").headers["X-Log-Position"] == "1"


def test_settings_tell_no_secret_and_no_path(server: Server, http: httpx.Client) -> None:
    said = http.get("/api/settings").text
    assert str(server.folder) not in said
    assert "sqlite" not in said


def test_what_others_could_reach_is_not_ours(server: Server, http: httpx.Client) -> None:
    """HTTP and the dashboard listen on loopback only; Ray's own ports want a token."""
    ports = {server.port, int(server.environment["DASHBOARD_PORT"])}
    addresses = {at for process in server.processes() for at in _listening(process) if at[1] in ports}
    assert {port for _, port in addresses} == ports
    assert {address for address, _ in addresses} <= set(LOOPBACK)


def _listening(process: psutil.Process) -> set[tuple[str, int]]:
    try:
        open_ones = process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return set()
    return {(each.laddr.ip, each.laddr.port) for each in open_ones if each.status == psutil.CONN_LISTEN}


FOREIGN = ["http://evil.example", "https://localhost:3000", "null", "http://localhost", "http://[", "x"]


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_page_cannot_write(http: httpx.Client, origin: str) -> None:
    count = http.get("/api/projects").headers["X-Total-Count"]
    refused = new_project(http, Origin=origin)
    assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
    assert refused.json()["error_code"] == "forbidden"
    assert http.delete(f"/api/projects/{uuid4()}", headers={"Origin": origin}).status_code == 403
    read = http.get("/api/projects", headers={"Origin": origin})
    assert (read.status_code, read.headers["X-Total-Count"]) == (200, count)
    assert "access-control-allow-origin" not in read.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", ""])
def test_an_unknown_host_is_refused(http: httpx.Client, host: str) -> None:
    for refused in (http.get("/api/projects", headers={"Host": host}), new_project(http, Host=host)):
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")


def test_our_own_pages_may_call(server: Server, http: httpx.Client) -> None:
    for origin in (OURS, server.url):
        assert new_project(http, Origin=origin).status_code == 201
    for host in (f"127.0.0.1:{server.port}", f"[::1]:{server.port}", "localhost"):
        assert http.get("/api/projects", headers={"Host": host}).status_code == 200
    exposed = http.get("/api/projects", headers={"Origin": OURS}).headers["access-control-expose-headers"]
    assert {"ETag", "X-Log-Position", "X-Total-Count", "Location"} <= set(exposed.split(", "))


def test_a_preflight_is_answered_for_our_origins_only(http: httpx.Client) -> None:
    asks = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "if-match, idempotency-key"}
    allowed = http.options(f"/api/projects/{uuid4()}", headers=asks | {"Origin": OURS})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == OURS
    assert allowed.headers["access-control-allow-credentials"] == "true"
    assert "PUT" in allowed.headers["access-control-allow-methods"]
    assert {"if-match", "idempotency-key"} <= set(allowed.headers["access-control-allow-headers"].lower().split(", "))
    refused = http.options("/api/projects", headers=asks | {"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in refused.headers


def test_a_dataset_never_lands_where_a_client_says(server: Server, http: httpx.Client) -> None:
    cell = make_cell(server.api, "paths")
    for path in ("/", "/etc", "my/data"):  # one that leads out is refused (test_bad_input)
        body = {"name": path, "project_id": cell.project, "environment_id": cell.environment, "path": path}
        made: dict[str, Any] = http.post("/api/dataset", json=body).json()
        assert Path(made["path"]) == Path("datasets") / str(UUID(made["id"]))


def test_a_request_whose_process_is_killed_is_told_so_and_its_repeat_says_how_it_ended(
    server: Server, http: httpx.Client
) -> None:
    cell = make_cell(server.api, "amid a loss")
    sessions = f"/api/projects/{cell.project}/recordings"
    body, key = {"environment_id": cell.environment}, {"Idempotency-Key": str(uuid4())}
    (replica,) = server.processes("ray::ServeReplica")
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(http.post, sessions, json=body, headers=key)
        while not http.get(sessions).json():
            time.sleep(0.01)
        replica.kill()
        reply = lost = asked.result()
    assert (lost.status_code, lost.headers["content-type"]) == (503, "application/problem+json")
    assert (lost.json()["error_code"], lost.json()["instance"]) == ("server_lost", sessions)
    deadline = time.monotonic() + 60
    while reply.status_code == 503 and time.monotonic() < deadline:
        time.sleep(float(reply.headers["retry-after"]))
        reply = http.post(sessions, json=body, headers=key)
    assert reply.status_code == 201
    (opened,) = http.get(sessions).json()
    assert (opened["id"], opened["state"]) == (reply.json()["id"], "ready")
    http.post(f"{sessions}/{opened['id']}:close")
