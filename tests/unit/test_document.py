"""The OpenAPI document describes every operation as its clients meet it."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from openapi_spec_validator import validate

import serve_app
from actors.problem import problem
from actors.routes.answers import CameraStats
from actors.routes.problems import Problem

type Json = dict[str, Any]

DOCUMENT = serve_app.build().openapi()
SCHEMAS = DOCUMENT["components"]["schemas"]
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
WRITES = [name for name in OPERATIONS if not name.startswith("GET") and "whep" not in name]
EMPTY = {"DELETE /api/whep/{session}"}


def responses(name: str, *, good: bool) -> Iterator[tuple[str, Json]]:
    for status, response in OPERATIONS[name]["responses"].items():
        if status[0] != "3" and (status[0] == "2") is good:
            yield status, response


def headers(name: str, status: str) -> set[str]:
    return set(OPERATIONS[name]["responses"][status].get("headers", ()))


def asked(name: str) -> set[str]:
    return {parameter["name"] for parameter in OPERATIONS[name]["parameters"]}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_says_in_words_what_it_does(name: str) -> None:
    operation = OPERATIONS[name]
    assert len(operation["summary"].split()) > 1
    assert not operation["operationId"].startswith(operation["summary"].lower().replace(" ", "_") + "_api")


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_says_what_it_answers(name: str) -> None:
    for status, response in responses(name, good=True):
        if status == "204" or name in EMPTY:
            assert "content" not in response
            continue
        for content in response["content"].values():
            assert content["schema"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_failure_is_a_problem(name: str) -> None:
    failures = dict(responses(name, good=False))
    assert [response["content"] for response in failures.values()] == [PROBLEM] * len(failures)
    assert "default" in failures
    assert ("404" in failures) is ("{" in name)
    if "503" in failures:
        assert "Retry-After" in headers(name, "503")


@pytest.mark.parametrize("name", WRITES)
def test_a_write_has_its_conditions_and_says_its_position(name: str) -> None:
    assert {"If-Match", "Idempotency-Key"} <= asked(name)
    assert {"409", "412", "415", "422", "503", "507"} <= {*OPERATIONS[name]["responses"]}
    for status, _ in responses(name, good=True):
        assert "X-Log-Position" in headers(name, status)
        assert ("ETag" in headers(name, status)) is not ("_episode" in name or name.endswith((":keep", "trash:purge")))


def test_gets_say_their_headers() -> None:
    assert headers("GET /api/projects", "200") == {"X-Total-Count", "Link"}
    assert headers("GET /api/projects/{project_id}", "200") == {"ETag"}
    assert headers("GET /api/projects/{project_id}/tasks", "200") == set()


def test_media_are_what_they_are() -> None:
    whep = OPERATIONS["POST /api/projects/{project_id}/cameras/{camera_id}/whep"]
    answer = whep["responses"]["201"]
    assert [*whep["requestBody"]["content"]] == [*answer["content"]] == ["application/sdp"]
    assert {*answer["headers"]} == {"Location", "Link", "ETag"}
    assert {"400", "404", "406", "413", "415", "503"} <= {*whep["responses"]}
    snapshot = OPERATIONS["GET /api/projects/{project_id}/cameras/{camera_id}/snapshot"]
    assert [*snapshot["responses"]["200"]["content"]] == ["image/jpeg"]


def test_a_problem_is_as_documented() -> None:
    assert "HTTPValidationError" not in SCHEMAS
    told = orjson.loads(problem("/api/x", 409, "in_use", "Conflict", "It is used.", used_by="job:1").body)
    assert {*told} <= {*SCHEMAS["Problem"]["properties"]}
    assert {*SCHEMAS["Problem"]["required"]} <= {*told}
    Problem.model_validate(told)


def test_a_resting_cameras_numbers_are_as_documented() -> None:
    CameraStats.model_validate({"fps_measured": 0.0, "frames": 0, "viewers": 0})


def test_the_document_is_openapi() -> None:
    validate(DOCUMENT)
