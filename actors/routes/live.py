"""Live updates as server-sent events, resumable at any position of the log."""

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from actors.live.stream import Live
from actors.live.topics import chosen
from actors.log import Log
from actors.routes.answers import POSITION, fails
from actors.routes.sending import Streamed
from domain.errors import Invalid, Unavailable

MAX_DIGITS = 18

router = APIRouter(prefix="/api", tags=["live"])


class EventStream(Streamed):
    media_type = "text/event-stream"

    def __init__(self, stream: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        super().__init__(stream, {"Cache-Control": "no-store", "X-Accel-Buffering": "no"} | headers)


@router.get(
    "/live",
    status_code=200,
    response_class=EventStream,
    summary="Watch every change",
    responses=fails(Unavailable) | {200: {"headers": POSITION}},
)
async def watch(
    request: Request,
    topics: Annotated[
        str | None, Query(max_length=1000, description="such as `camera,job.completed`; all without")
    ] = None,
    last_event_id: Annotated[str | None, Query(description="for clients that cannot set the header")] = None,
    resumed: Annotated[str | None, Header(alias="Last-Event-ID", description="goes before the parameter")] = None,
) -> Response:
    """Server-sent events: one message a change, its `id` is the log position, its data is JSON: `position`, `type` (the
    topic), `aggregate`, `aggregate_id`, `version`, `at`, `by` and `data`, the event's own fields.

    Messages `telemetry` ride along: `recording.rows`, `camera.fps` and `job.metrics`, once a second while such a thing
    goes on. They are no changes, so they have no `id` and are never said again.

    Begins with a message `hello` that carries the position it starts from: the present, or the `Last-Event-ID`; from
    there nothing is left out or said twice. A connection ends with a message `end` that says why (after 1 MiB, when
    the client is slow, when the server stops); a browser's EventSource then goes on by itself.
    """
    streams: Live = request.app.state.live
    log: Log = request.app.state.gateway.log
    wanted = frozenset[str]() if topics is None else chosen(topics)
    newest = log.position()
    start = _start(last_event_id if resumed is None else resumed, newest)
    streams.check_open()
    return EventStream(streams.stream(start, newest, wanted), {"X-Log-Position": str(newest)})


def _start(id: str | None, newest: int) -> int:
    """The position behind which the stream begins. Raises Invalid."""
    if id is None:
        return newest
    if not (id.isascii() and id.isdecimal() and len(id) <= MAX_DIGITS):
        raise Invalid("Last-Event-ID takes the id of a message of this stream, such as 42.", code="invalid_event_id")
    if int(id) > newest:
        raise Invalid(
            f"The log ends at position {newest}, so {id} is another log's. Read what you need anew and connect without "
            "Last-Event-ID.",
            code="unknown_position",
        )
    return int(id)
