"""How every GET answers: one SELECT or two on this thread, and the JSON as it is.

The SELECTs run inside ``async def`` on purpose: they take a fraction of a millisecond, less than any way of waiting for
them elsewhere. The answer is a finished Response, so that nothing validates and copies it again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
from fastapi import Request, Response
from sqlalchemy import Connection, Engine

from projections.kinds import Found


def reading(request: Request) -> Connection:
    """A connection of the application's engine, for one ``with``."""
    return cast("Engine", request.app.state.engine).connect()


def one(thing: Found) -> Response:
    return _json(thing, {"ETag": f'"{thing.version}"'})


def many(things: Sequence[Mapping[str, Any]]) -> Response:
    return _json(things, {"X-Total-Count": str(len(things))})


def plain(content: Any) -> Response:
    return _json(content, {})


def _json(content: Any, headers: dict[str, str]) -> Response:
    return Response(
        orjson.dumps(content), media_type="application/json", headers={"Cache-Control": "no-store"} | headers
    )
