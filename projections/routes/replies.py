"""How every GET answers: one SELECT or two on this thread, and the JSON as it is.

The SELECTs run inside ``async def`` on purpose: they take a fraction of a millisecond, less than any way of waiting for
them elsewhere. The answer is a finished Response, so that nothing validates and copies it again.
"""

from typing import Annotated, Any, cast

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import Connection, Engine

from domain.errors import Invalid
from projections.kinds import Found
from projections.paging import MAX_CURSOR, MAX_LIMIT, Page, Rows

SHOWS_PAST = "shows_past"
"""Noted in the request's state by a route whose answer is of the position that was asked for; a refusal is of now."""


def reading(request: Request) -> Connection:
    """A connection, for one ``with``, to the tables; as they were, when the request asks for a position (`?at=`)."""
    past = _past(request)
    if past is not None:
        request.scope["state"][SHOWS_PAST] = True
    return (past or cast("Engine", request.app.state.engine)).connect()


def is_past(request: Request) -> bool:
    """Whether it asks how things were."""
    return _past(request) is not None


def _past(request: Request) -> Engine | None:
    engine: Engine | None = request.scope.get("state", {}).get("engine")
    return engine


def one(thing: Found) -> Response:
    return _json(thing, {"ETag": f'"{thing.version}"'})


class _Asked(BaseModel):
    """What the query string of a list may say; other parameters are the route's own."""

    limit: Annotated[int | None, Field(ge=1, le=MAX_LIMIT, description="rows of a page; whole without it")] = None
    cursor: Annotated[str | None, Field(max_length=MAX_CURSOR, description="from the Link of the page before")] = None


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def header(description: str, type: str = "string") -> dict[str, Any]:
    """How the OpenAPI document describes one."""
    return {"description": description, "schema": {"type": type}}


ETAG = {"ETag": header("version of the thing, for If-Match")}
_OF_LISTS = {
    "X-Total-Count": header("rows of the whole list", "integer"),
    "Link": header('`rel="next"`: the page that follows, where there is one'),
}
_AT = _parameter("at", {"type": "integer", "minimum": 0, "description": "as it was at this position of the log"})
AS_OF: dict[str, Any] = {"parameters": [_AT]}
"""``openapi_extra`` of a GET whose tables can be read as they were."""
ONE: dict[str, Any] = AS_OF | {"responses": {"200": {"headers": ETAG}}}
"""That of one thing."""
COUNTED: dict[str, Any] = {"responses": {"200": {"headers": _OF_LISTS}}}
"""That of a list which comes whole, or says in its own way which part of it is wanted."""
PAGED: dict[str, Any] = COUNTED | {
    "parameters": [
        _AT,
        *(_parameter(name, schema) for name, schema in _Asked.model_json_schema()["properties"].items()),
    ]
}
"""That of a list: FastAPI's own way of declaring these costs every GET nearly as much as its query."""


def has_past(openapi_extra: dict[str, Any] | None) -> bool:
    """Whether a GET with this ``openapi_extra`` can be asked how things were."""
    return _AT in (openapi_extra or {}).get("parameters", ())


def page(request: Request) -> Page | None:
    """Which page the request asks for; None for the whole list. Raises what the other validations raise."""
    if not request.scope["query_string"]:
        return None
    try:
        asked = _Asked.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("query", *each["loc"])} for each in error.errors()]) from None
    if asked.limit is None and asked.cursor is not None:
        raise Invalid("A cursor continues a list that has a limit: send both, as the Link header does.")
    return None if asked.limit is None else Page(asked.limit, asked.cursor)


def many(request: Request, rows: Rows, cursor: str = "cursor") -> Response:
    headers = {"X-Total-Count": str(rows.total)}
    if rows.cursor is not None:
        url = request.url.include_query_params(**{cursor: rows.cursor})
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return _json(rows, headers)


def plain(content: Any) -> Response:
    return _json(content, {})


def _json(content: Any, headers: dict[str, str]) -> Response:
    return Response(
        orjson.dumps(content), media_type="application/json", headers={"Cache-Control": "no-store"} | headers
    )
