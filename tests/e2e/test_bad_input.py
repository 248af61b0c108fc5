"""Whatever is sent: a problem document that says what to mend, no word of the server's insides, nothing half done."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text as sql

from client.demo import Cell, make_cell
from settings import PROJECT

from .conftest import Server

pytestmark = pytest.mark.slow
Json = dict[str, Any]
INSIDES = ("Traceback", 'File "', "sqlalchemy", "sqlite3", ".py", str(PROJECT))
FILM = {"driver": "file", "name": "film"}


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def cell(server: Server) -> Cell:
    return make_cell(server.api, "bad input")


@pytest.fixture(scope="module")
def elsewhere(server: Server) -> Cell:
    return make_cell(server.api, "another project")


def facts(server: Server) -> tuple[int, ...]:
    """How much the log, the claims and the answers hold (a camera of another test may come to rest meanwhile)."""
    tables = ("claims", "idempotency", "projects", "cameras", "environments", "datasets", "jobs")
    counts = ("geti_events WHERE topic NOT LIKE '%.disconnected'", *tables)
    with server.connected() as connection:
        return tuple(connection.scalar(sql(f"SELECT count(*) FROM {counted}")) or 0 for counted in counts)


@pytest.fixture
def scratch(server: Server) -> str:
    """A project in which a test may make what it likes."""
    return str(server.api.post("/projects", {"name": "scratch"})["id"])


@pytest.fixture(autouse=True)
def nothing_is_left(server: Server, cell: Cell, elsewhere: Cell, request: pytest.FixtureRequest) -> Iterator[None]:
    before = facts(server)
    yield
    assert "scratch" in request.fixturenames or facts(server) == before


def problem(server: Server, reply: httpx.Response, status: int) -> Json:
    assert reply.status_code == status, (reply.request.method, reply.request.url.path, reply.text)
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    told: Json = reply.json()
    assert (told["status"], told["http_status"]) == (status, status)
    assert told["title"]
    assert told["detail"] == told["message"]
    assert told["error_code"]
    assert unquote(told["instance"]) == reply.request.url.path
    assert not [word for word in (*INSIDES, str(server.folder)) if word in reply.text], reply.text
    return told


# Every route that the OpenAPI document has, with bodies made from it.


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    query: Json
    body: Json | None

    def at(self, ids: Json) -> str:
        return f"{self.path.format_map(ids)}?{urlencode(self.query)}"


class Unknown(dict[str, str]):
    """An id for whatever is asked for."""

    def __missing__(self, name: str) -> str:
        return str(uuid4())


def example(schema: Json, parts: Json) -> Any:
    """What the schema has for one, or the least that it lets pass."""
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return example(parts[schema["$ref"].rpartition("/")[2]], parts)
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return example(schema[choice][0], parts)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type"):
        case "object":
            return {name: example(schema["properties"][name], parts) for name in schema.get("required", ())}
        case "array":
            return [example(schema["items"], parts) for _ in range(schema.get("minItems", 0))]
        case "string":
            return str(uuid4()) if schema.get("format") == "uuid" else "x"
    return schema.get("minimum", 1)


def routes(http: httpx.Client) -> list[Route]:
    document = http.get("/openapi.json").json()
    parts = document["components"]["schemas"]
    found = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            wanted = [each for each in operation.get("parameters", ()) if each["in"] == "query" and each["required"]]
            query = {each["name"]: example(each["schema"], parts) for each in wanted}
            body = example(content["schema"], parts) if content else None
            found.append(Route(method.upper(), path, query, body))
    return found


def test_an_unknown_id_is_404_on_every_route(server: Server, http: httpx.Client) -> None:
    asked = [route for route in routes(http) if "{" in route.path]
    assert len(asked) > 30
    for route in asked:
        reply = http.request(route.method, route.at(Unknown()), json=route.body)
        assert problem(server, reply, 404)["error_code"].endswith("_not_found"), route


def test_a_child_is_404_under_another_project(server: Server, http: httpx.Client, cell: Cell, elsewhere: Cell) -> None:
    camera = http.get(f"/api/projects/{cell.project}/cameras").json()[0]["id"]
    robot = http.get(f"/api/projects/{cell.project}/robots").json()[0]["id"]
    ids = {"camera_id": camera, "robot_id": robot, "environment_id": cell.environment, "recording_id": str(uuid4())}
    asked = [route for route in routes(http) if "{project_id}" in route.path and route.path.count("{") > 1]
    assert len(asked) > 15
    for route in asked:
        reply = http.request(route.method, route.at({"project_id": elsewhere.project, **ids}), json=route.body)
        problem(server, reply, 404)


def test_a_malformed_id_is_422_and_named(server: Server, http: httpx.Client) -> None:
    for route in routes(http):
        if "_id}" not in route.path:
            continue
        for nonsense in ("nonsense", "%00", "1", "..%5C..%5Cetc", "%F0%9F%A4%96", "a" * 3000):
            names = [part.split("}")[0] for part in route.path.split("{")[1:]]
            reply = http.request(route.method, route.at(dict.fromkeys(names, nonsense)), json=route.body)
            assert names[0] in [error["loc"] for error in problem(server, reply, 422)["errors"]]


def test_an_unknown_route_is_a_problem_and_never_a_page(server: Server, http: httpx.Client) -> None:
    assert problem(server, http.get("/api/nothing"), 404)["error_code"] == "not_found"
    assert problem(server, http.get("/api"), 404)
    assert problem(server, http.patch("/api/projects"), 405)["error_code"] == "method_not_allowed"


CAMERA = {"driver": "simulated", "name": "new"}
WRONG: list[tuple[str, Json, str]] = [
    ("projects", {}, "name"),
    ("projects", {"name": 5}, "name"),
    ("projects", {"name": "   "}, "name"),
    ("projects", {"name": "x" * 201}, "name"),
    ("projects", {"name": "a\0b"}, "name"),
    ("projects", {"name": "x", "colour": 1}, "colour"),
    ("projects", {"name": "x", "\ud800": 1}, "body"),
    ("projects", {"name": "\ud800"}, "name"),
    ("projects", {"name": "x", "id": "1"}, "id"),
    ("{project}/cameras", CAMERA | {"driver": "laser"}, "driver"),
    ("{project}/cameras", {"name": "new"}, "driver"),
    ("{project}/cameras", CAMERA | {"payload": 1}, "payload"),
    ("{project}/cameras", CAMERA | {"payload": {"width": "wide"}}, "payload.width"),
    ("{project}/cameras", CAMERA | {"payload": {"width": 63}}, "payload.width"),
    ("{project}/cameras", CAMERA | {"payload": {"height": 2161}}, "payload.height"),
    ("{project}/cameras", CAMERA | {"payload": {"fps": 121}}, "payload.fps"),
    ("{project}/cameras", CAMERA | {"payload": {"fps": 10**30}}, "payload.fps"),
    ("{project}/cameras", CAMERA | {"payload": {"scene": "moon"}}, "payload.scene"),
    ("{project}/cameras", CAMERA | {"payload": {"seed": -1}}, "payload.seed"),
    ("{project}/cameras", CAMERA | {"fingerprint": "\0"}, "fingerprint"),
    ("{project}/cameras", FILM | {"payload": {}}, "payload.path"),
    ("{project}/cameras", FILM | {"payload": {"path": ""}}, "payload.path"),
    ("{project}/robots", {"name": "x", "type": "R2D2"}, "type"),
    ("{project}/robots", {"name": "x", "type": "PushT", "payload": {"seed": 0.5}}, "payload.seed"),
    ("{project}/environments", {"name": "x", "robots": [], "camera_ids": [str(uuid4())]}, "robots"),
    ("{project}/environments", {"name": "x", "robots": [{"robot_id": "1"}], "camera_ids": []}, "robots.0.robot_id"),
    ("{project}/recordings", {"environment_id": "{environment}", "fps": 0}, "fps"),
    ("{project}/recordings", {"environment_id": "{environment}", "fps": "30 fps"}, "fps"),
    ("{project}/recordings", {"environment_id": "{environment}", "idle_timeout_s": 0.5}, "idle_timeout_s"),
    ("{project}/recordings", {"environment_id": "{environment}", "codec": "vp9"}, "codec"),
    ("{project}/recordings", {"environment_id": "{environment}", "crf": 52}, "crf"),
    ("{project}/recordings", {"environment_id": "{environment}", "gop_s": 1.5}, "gop_s"),
    ("dataset", {"name": "x", "project_id": "{id}", "environment_id": 1}, "environment_id"),
    ("dataset", {"name": "x", "project_id": "{id}", "default_task": ""}, "default_task"),
    ("dataset", {"name": "x", "project_id": "{id}", "environment_id": "{environment}", "path": "../x"}, "path"),
    ("dataset", {"name": "x", "project_id": "{id}", "environment_id": "{environment}", "path": "a\\..\\x"}, "path"),
    ("jobs:train", {"max_steps": 0}, "max_steps"),
    ("jobs:train", {"max_steps": 1_000_001}, "max_steps"),
    ("jobs:train", {"batch_size": 257}, "batch_size"),
    ("jobs:train", {"val_split": 1}, "val_split"),
    ("jobs:train", {"num_workers": "many"}, "num_workers"),
    ("jobs:train", {"num_workers": -1}, "num_workers"),
    ("jobs:train", {"export": ["tflite"]}, "export.0"),
    ("jobs:train", {"checkpoint_every": 10**30}, "checkpoint_every"),
    ("jobs:train", {"resources_per_worker": {"GPU": -1}}, "resources_per_worker.GPU"),
    ("jobs:train", {"resources_per_worker": {"\ud800": 1}}, "resources_per_worker"),
    ("jobs:train", {"policy_args": 1}, "policy_args"),
    ("jobs:train", {"device": {"type": "abacus", "index": 0}}, "device.type"),
    ("jobs:train", {"device": {"type": "cuda", "index": -1}}, "device.index"),
    ("jobs:train", {"device": "cuda:0"}, "device"),
]


def training(cell: Cell, **fields: Any) -> Json:
    return {"project_id": cell.project, "dataset_id": cell.dataset, "model_name": "m", **fields}


@pytest.mark.parametrize(("path", "body", "loc"), WRONG)
def test_a_wrong_field_is_named(
    server: Server, http: httpx.Client, cell: Cell, path: str, body: Json, loc: str
) -> None:
    names = {"{project}": f"projects/{cell.project}", "{id}": cell.project, "{environment}": cell.environment}
    body = training(cell, **body) if path == "jobs:train" else body
    body = {key: names.get(value, value) if isinstance(value, str) else value for key, value in body.items()}
    path = path.replace("{project}", names["{project}"])
    reply = http.post(f"/api/{path}", content=json.dumps(body), headers={"Content-Type": "application/json"})
    told = problem(server, reply, 422)
    assert told["error_code"] == "validation_error"
    assert loc in [error["loc"] for error in told["errors"]]


def test_what_cannot_be_trained_is_told_at_submit(
    server: Server, http: httpx.Client, cell: Cell, elsewhere: Cell
) -> None:
    refusals = {
        "unknown_policy": training(cell, policy="alphago"),
        "invalid_policy_args": training(cell, policy_args={"chunk_size": 0}),
        "dataset_empty": training(cell),
        "unknown_dataset": training(cell, dataset_id=elsewhere.dataset),
        "weights_missing": training(cell, policy="smolvla", policy_args={"pretrained_name_or_path": "no/weights"}),
        "unknown_device": training(cell, device={"type": "cuda", "index": 9000}),
        "not_enough_resources": training(cell, train_workers=64, resources_per_worker={"CPU": 1000}),
    }
    told = {code: problem(server, http.post("/api/jobs:train", json=body), 422) for code, body in refusals.items()}
    assert {code: each["error_code"] for code, each in told.items()} == {code: code for code in refusals}
    for code in ("unknown_device", "not_enough_resources"):
        assert re.search(r"there is \d+ CPU.* on [\d.]+", told[code]["detail"])
    assert "hf download no/weights" in told["weights_missing"]["commands"]


def test_what_a_body_names_must_be_there(server: Server, http: httpx.Client, cell: Cell, elsewhere: Cell) -> None:
    parent, nowhere = f"/api/projects/{cell.project}", str(uuid4())
    robot = [{"robot_id": nowhere}]
    foreign = http.get(f"/api/projects/{elsewhere.project}/cameras").json()[0]["id"]
    mine = [{"robot_id": http.get(f"{parent}/robots").json()[0]["id"]}]
    asked = [
        (f"{parent}/environments", {"name": "x", "robots": robot, "camera_ids": [foreign]}, "unknown_robot"),
        (f"{parent}/environments", {"name": "x", "robots": mine, "camera_ids": [foreign]}, "unknown_camera"),
        (f"{parent}/recordings", {"environment_id": elsewhere.environment}, "unknown_environment"),
        (f"{parent}/recordings", {"environment_id": cell.environment, "dataset_id": nowhere}, "unknown_dataset"),
        ("/api/dataset", {"name": "x", "project_id": cell.project, "environment_id": nowhere}, "unknown_environment"),
    ]
    for path, body, code in asked:
        assert problem(server, http.post(path, json=body), 422)["error_code"] == code


OUTSIDE = ["/etc/passwd", "../../../etc/passwd", "a/../../x.mp4", "..", "/proc/self/environ", "x" * 1000 + "/../.."]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_film_outside_the_media_folders_is_refused(server: Server, http: httpx.Client, cell: Cell, path: str) -> None:
    cameras = f"/api/projects/{cell.project}/cameras"
    known = http.get(cameras).json()[0]["id"]
    body = FILM | {"payload": {"path": path}}
    assert "media folders" in problem(server, http.post(cameras, json=body), 422)["detail"]
    assert "media folders" in problem(server, http.put(f"{cameras}/{known}", json=body), 422)["detail"]


def test_a_taken_name_is_409_and_says_whose(server: Server, http: httpx.Client, cell: Cell) -> None:
    reply = http.post(f"/api/projects/{cell.project}/cameras", json=CAMERA | {"name": "TOP"})
    assert "camera 'top'" in problem(server, reply, 409)["detail"]


def test_what_is_used_cannot_be_deleted(server: Server, http: httpx.Client, cell: Cell) -> None:
    parent = f"/api/projects/{cell.project}"
    robot = http.get(f"{parent}/robots").json()[0]["id"]
    used = {f"robots/{robot}": "environment 'cell'", f"environments/{cell.environment}": "dataset 'pushes'"}
    for path, who in used.items():
        assert who in problem(server, http.delete(f"{parent}/{path}"), 409)["detail"]


BROKEN = [b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"name": NaN}', b'{"id": Infinity}', b"[" * 99_999, b"", b"\0"]


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: repr(body[:12]))
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_no_command(server: Server, http: httpx.Client, body: bytes, kind: str) -> None:
    reply = http.post("/api/projects", content=body, headers={"Content-Type": kind})
    if body and kind != "application/json":
        assert "application/json" in problem(server, reply, 415)["detail"]
    else:
        problem(server, reply, 400 if reply.status_code == 400 else 422)


def test_json_is_json_whether_it_is_called_so_or_not(server: Server, http: httpx.Client) -> None:
    for headers in ({}, {"Content-Type": "application/merge-patch+json; charset=utf-8"}):
        reply = http.post("/api/projects", content=b'{"name": 5}', headers=headers)
        assert [error["loc"] for error in problem(server, reply, 422)["errors"]] == ["name"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_body_is_413(server: Server, http: httpx.Client, cell: Cell, chunked: bool) -> None:
    huge = b'{"name": "' + b"x" * 3_000_000 + b'"}'
    content = (huge[at : at + 100_000] for at in range(0, len(huge), 100_000)) if chunked else huge
    json_type = {"Content-Type": "application/json"}
    reply = http.post("/api/projects", content=content, headers=json_type)
    assert problem(server, reply, 413)["error_code"] == "too_large"


def test_wrong_conditions_are_told(server: Server, http: httpx.Client, cell: Cell) -> None:
    path = f"/api/projects/{cell.project}"
    for etag in ("abc", '"1", "2"', '"-1"', "", f'"{"9" * 5000}"', '"²"'.encode(), '"1', '1"'):
        problem(server, http.put(path, json={"name": "x"}, headers={"If-Match": etag}), 422)
    problem(server, http.put(path, json={"name": "x"}, headers={"If-Match": '"77"'}), 412)
    problem(server, http.post("/api/projects", json={"name": "x"}, headers={"If-Match": "*"}), 412)
    reply = http.put(path, json={"name": "x"}, headers={"Idempotency-Key": "k" * 201})
    assert problem(server, reply, 422)["errors"][0]["loc"] == "Idempotency-Key"


def test_what_is_said_twice_is_refused(server: Server, http: httpx.Client, cell: Cell) -> None:
    """Whichever were taken, the other may have been meant."""
    path = f"/api/projects/{cell.project}"
    asked = [http.get(f"/api/{each}") for each in ("projects?limit=1&limit=2", "projects?at=1&at=2", "live?at&at=")]
    asked += [http.get("/api/live", headers=[("Last-Event-ID", "1"), ("last-event-id", "1")])]
    for name in ("Idempotency-Key", "If-Match"):
        asked += [http.put(path, json={"name": "x"}, headers=[(name, "1"), (name, "2")])]
    for reply, name in zip(asked, ("limit", "at", "at", "last-event-id", "idempotency-key", "if-match"), strict=True):
        told = problem(server, reply, 422)
        assert (told["error_code"], f"more than one {name}" in told["detail"].replace("`", "")) == ("said_twice", True)
    for body in (b'{"name": "x", "name": "y"}', b'{"name": "x", "n\\u0061me": "x"}', b'{"name": {"a": 1, "a": 1}}'):
        reply = http.post("/api/projects", content=body, headers=JSON)
        assert "twice in one object" in problem(server, reply, 400)["detail"]


def test_a_bad_offer_is_told(server: Server, http: httpx.Client, cell: Cell) -> None:
    camera = http.get(f"/api/projects/{cell.project}/cameras").json()[0]["id"]
    whep = f"/api/projects/{cell.project}/cameras/{camera}/whep"
    sdp = {"Content-Type": "application/sdp"}
    problem(server, http.post(whep, content=b"v=0", headers={"Content-Type": "text/plain"}), 415)
    problem(server, http.post(whep, content=b"\xff" * 10, headers=sdp), 400)
    problem(server, http.post(whep, content=b"v" * 70_000, headers=sdp), 413)


text = st.text(st.characters(), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
fuzz = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = {"Content-Type": "application/json"}


def spoilt(data: st.DataObject, body: Any) -> str:
    """The body with any JSON in the place of a field, or in its own place."""
    if isinstance(body, list):
        return json.dumps(data.draw(anything))
    field = data.draw(st.sampled_from([*body, "id", "payload", "fingerprint"]) | text)
    return json.dumps(data.draw(st.just({**body, field: data.draw(anything)}) | anything))


@fuzz
@given(data=st.data())
def test_no_body_makes_a_500(server: Server, http: httpx.Client, written: list[Route], data: st.DataObject) -> None:
    """The ids are unknown, so nothing is made even where a body happens to fit."""
    route = data.draw(st.sampled_from(written))
    reply = http.request(route.method, route.at(Unknown()), content=spoilt(data, route.body or {}), headers=JSON)
    problem(server, reply, reply.status_code if 400 <= reply.status_code < 500 else 422)


@pytest.fixture(scope="module")
def written(http: httpx.Client) -> list[Route]:
    return [route for route in routes(http) if route.body is not None and "{" in route.path]


@fuzz
@given(data=st.data())
def test_what_happens_to_fit_is_kept_as_it_was_sent(
    server: Server, http: httpx.Client, scratch: str, data: st.DataObject
) -> None:
    made = {"cameras": CAMERA, "robots": {"name": "x", "type": "PushT"}, "": {"name": "x"}}
    kind = data.draw(st.sampled_from(list(made)))
    path = f"/api/projects/{scratch}/{kind}" if kind else "/api/projects"
    body = spoilt(data, made[kind])
    reply = http.post(path, content=body, headers=JSON)
    if reply.is_success:
        sent, kept = json.loads(body), http.get(f"{path}/{reply.json()['id']}").json()
        assert kept["name"] == sent["name"].strip()
    else:
        problem(server, reply, reply.status_code if reply.status_code in (409, 422) else 422)
