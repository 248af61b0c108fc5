"""The OpenAPI document: FastAPI's, with what holds for every operation. Made once, when somebody asks for it."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from actors.routes.problems import Problem
from domain import errors
from projections.routes.replies import header

type Json = dict[str, Any]

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
KEY = "Idempotency-Key"
OF_PATHS = (errors.NotFound,)
OF_PARAMETERS = (errors.Invalid,)
OF_BODIES = (errors.Malformed, errors.TooLarge)
OF_WRITES = (
    *(errors.Conflict, errors.StaleVersion, errors.UnsupportedMedia),
    *(errors.Invalid, errors.Unavailable, errors.StorageFull),
)
REST = "Any other failure, such as a foreign Host or Origin (403)"


RETRY = {"Retry-After": header("Seconds after which to try again", "integer")}


def install(app: FastAPI) -> None:
    plain = app.openapi

    def openapi() -> Json:
        document = plain()
        if "Problem" not in document["components"]["schemas"]:
            _complete(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: Json) -> None:
    schemas = document["components"]["schemas"]
    for fastapis in ("HTTPValidationError", "ValidationError"):
        schemas.pop(fastapis, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"Problem": problem}
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _describe(path, operation)


def _describe(path: str, operation: Json) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    for error in _met(path, operation):
        responses.setdefault(str(error.status), {"description": error.title})
    responses["default"] = {"description": REST}
    for status, response in responses.items():
        if status[0] not in "23":
            response["content"] = PROBLEM
    if "503" in responses:
        responses["503"]["headers"] = RETRY
    operation["responses"] = dict(sorted(responses.items()))


def _met(path: str, operation: Json) -> Iterator[type[errors.GetiActionError]]:
    """What any operation of this form may meet."""
    if "{" in path:
        yield from OF_PATHS
    if operation.get("parameters"):
        yield from OF_PARAMETERS
    if "requestBody" in operation:
        yield from OF_BODIES
    if KEY in _parameters(operation):
        yield from OF_WRITES


def _parameters(operation: Json) -> set[str]:
    """The names of what may be asked for, but for what the path says."""
    return {each["name"] for each in operation.get("parameters", ()) if each["in"] != "path"}
