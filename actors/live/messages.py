"""What is said on the stream of live updates, as server-sent events."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from actors.history import shown
from domain.aggregate import DomainEvent
from projections.tables import rfc3339

RETRY_MS = 1000


class End(StrEnum):
    """Why a stream ends before its reader leaves."""

    FULL = "full"
    SLOW = "slow"
    FAILED = "failed"
    STOPPING = "stopping"


# How soon a browser's EventSource comes back.
_RETRY_MS = {End.FULL: 50, End.FAILED: 10_000}
_DETAILS = {
    End.FULL: "This connection was sent all that one may be. A slow reader is dropped here and a fast one moves on: "
    "connect again with the last id, nothing is lost.",
    End.SLOW: "You read more slowly than the log grows. Connect again with the last id: nothing is lost.",
    End.FAILED: "The log cannot be read on; the server's log says why. Connect again with the last id.",
    End.STOPPING: "The server stops. Connect again with the last id when it is back.",
}


def change(position: int, event: DomainEvent) -> bytes:
    """An event, as the audit trail shows it."""
    return b"id: %d\ndata: %s\n\n" % (position, orjson.dumps(shown(position, event)))


def telemetry(topic: str, id: UUID, at: datetime, data: dict[str, Any]) -> bytes:
    """A number that moved: no change, so nothing to resume at."""
    kind = topic.partition(".")[0]
    said = {"type": topic, "aggregate": kind, "aggregate_id": str(id), "at": rfc3339(at), "data": data}
    return b"event: telemetry\ndata: %s\n\n" % orjson.dumps(said)


def hello(position: int, newest: int) -> bytes:
    """The first message: what comes is behind ``position``; ``newest`` is where the log ends now."""
    said = orjson.dumps({"position": position, "newest": newest})
    return b"retry: %d\nevent: hello\nid: %d\ndata: %s\n\n" % (RETRY_MS, position, said)


def still_here(position: int) -> bytes:
    """For proxies that close what is silent. The id makes a reader of few topics resume from here."""
    return b": nothing new\nid: %d\n\n" % position


def end(reason: End, detail: str | None = None) -> bytes:
    """The last message. ``detail`` is for who knows more than the reason says."""
    said = orjson.dumps({"reason": reason, "detail": detail or _DETAILS[reason]})
    return b"retry: %d\nevent: end\ndata: %s\n\n" % (_RETRY_MS.get(reason, RETRY_MS), said)
