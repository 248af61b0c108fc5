"""Every error of the application as a problem document (RFC 9457). No path, no stack trace in a body."""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import psycopg
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy.exc import DatabaseError
from starlette.exceptions import HTTPException

from actors.codec import Unreadable
from actors.problem import AGAIN, problem
from actors.routes.write import Repeated, render
from domain.errors import DatabaseDamaged, GetiActionError, Malformed, NotFound, TooLarge, Unavailable, UnsupportedMedia
from projections import database, fold

KNOWN = {error.status: (error.code, error.title) for error in (Malformed, NotFound, TooLarge, UnsupportedMedia)}
KNOWN[405] = ("method_not_allowed", "Method not allowed")

logger = logging.getLogger(__name__)


class Mistake(BaseModel):
    """Where in the request, such as `payload.width`, and what is wrong there."""

    loc: str
    message: str
    type: str


class Holder(BaseModel):
    """The session that has a device; `who` opened it."""

    recording_id: UUID
    who: str
    since: AwareDatetime
    node: str | None


class Problem(BaseModel):
    """RFC 9457. `error_code` is stable, `detail` says what to do next; `error_code`, `message` and `http_status` are
    for older clients too."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`urn:geti-action:` and the error_code")
    title: str
    status: int
    detail: str
    instance: str = Field(description="path of the request")
    error_code: str
    message: str = Field(description="the detail again")
    http_status: int
    errors: list[Mistake] = Field([], description="what did not pass validation (422)")
    held_by: Holder | str = Field("", description="who has it (409, 423)")
    used_by: str = Field("", description="kind and id of what refers to it, or runs in it (409)")


def install(app: FastAPI) -> None:
    app.add_exception_handler(Repeated, _repeated)
    app.add_exception_handler(GetiActionError, _domain)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DatabaseError, _database)
    app.add_exception_handler(sqlite3.DatabaseError, _database)  # statements that pass SQLAlchemy by
    app.add_exception_handler(psycopg.DatabaseError, _database)
    app.add_exception_handler(Exception, _unexpected)


async def _repeated(request: Request, repeated: Exception) -> Response:
    assert isinstance(repeated, Repeated)
    return render(repeated.answer)


async def _domain(request: Request, error: Exception) -> Response:
    assert isinstance(error, GetiActionError)
    return render_error(request, error)


def render_error(request: Request, error: GetiActionError) -> Response:
    """One of ours, as a problem document."""
    headers = AGAIN if isinstance(error, Unavailable) and error.passes else None
    if error.status >= 500:
        cause = error if error.status == 500 and not isinstance(error, DatabaseDamaged) else None
        logger.warning("%s %s: %s", request.method, request.url.path, error.detail, exc_info=cause)
    if isinstance(error, Unreadable):
        request.app.state.gateway.log.unread.note(error)
    detail = error.detail
    if isinstance(error, NotFound) and request.method == "GET":
        with request.app.state.engine.connect() as connection:
            if hint := fold.hint(connection):
                detail = f"{detail} But {hint}"
    return problem(request.url.path, error.status, error.error_code, error.title, detail, headers, **error.extra)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = [(_location(item, error.body), item["msg"], item["type"]) for item in error.errors()]
    # Of what may be one of several types, each says what it misses: often the same.
    errors = [{"loc": loc, "message": message, "type": type} for loc, message, type in dict.fromkeys(said)]
    detail = "; ".join(f"{item['loc']}: {item['message']}" for item in errors[:5])
    return problem(request.url.path, 422, "validation_error", "Validation failed", detail, errors=errors)


def _location(item: dict[str, Any], body: Any) -> str:
    """``payload.width`` rather than ``body.simulated.payload.width``: where it is for whoever wrote the body."""
    where, *steps = item["loc"]
    found = [*_steps(steps, body, missing=item["type"] == "missing")] if where == "body" else [*map(str, steps)]
    if item["type"].startswith("union_tag"):
        found.append(item["ctx"]["discriminator"].strip("'"))
    return ".".join(found) or where


def _steps(steps: Sequence[int | str], value: Any, *, missing: bool) -> Iterator[str]:
    """The steps that lead through the body; those between are names of the types that were tried."""
    for index, step in enumerate(steps):
        inside = step in value if isinstance(value, dict) else isinstance(value, list) and isinstance(step, int)
        if inside:
            value = value[step]
            yield str(step)
        elif missing and index == len(steps) - 1:
            yield str(step)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, title = KNOWN.get(error.status_code, ("request_failed", "Request failed"))
    headers = dict(error.headers) if error.headers else None
    return problem(request.url.path, error.status_code, code, title, str(error.detail), headers)


async def _database(request: Request, error: Exception) -> Response:
    """A GET's: commands are told by the log's writer."""
    if (damage := database.damage(error)) is not None:  # which says why
        return render_error(request, damage)
    if (trouble := database.trouble(error)) is None:
        raise error
    logger.warning("the database failed: %s", error)
    return render_error(request, trouble)


async def _unexpected(request: Request, error: Exception) -> Response:
    logger.exception("%s %s failed", request.method, request.url.path, exc_info=error)
    detail = "Something failed that should not have; the server's log says what."
    return problem(request.url.path, 500, "internal_error", "Internal error", detail)
