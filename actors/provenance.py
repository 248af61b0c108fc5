"""Who wants what is being done, and what led to it: noted in every event, passed on from process to process.

A request starts it: its caller, an id for the request, one for everything that follows from it. What an owner does of
its own accord is the system's, and follows from the newest event of its aggregate.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from uuid import UUID, uuid4

from domain.aggregate import DomainEvent

ANONYMOUS, SYSTEM = "anonymous", "system"
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Provenance:
    """``by`` is a token's name, "anonymous" or "system"; ids are at most 128 printable characters; ``traceparent`` is
    W3C Trace Context's header."""

    by: str = ANONYMOUS
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


_current: ContextVar[Provenance | None] = ContextVar("provenance", default=None)


def current() -> Provenance | None:
    """That of the request or command that is being carried out in this task; None where nothing is."""
    return _current.get()


def begin(provenance: Provenance) -> None:
    """For the rest of this task, and for the tasks it starts."""
    _current.set(provenance)


@contextmanager
def acting(provenance: Provenance | None) -> Iterator[None]:
    """For one ``with``."""
    token = _current.set(provenance)
    try:
        yield
    finally:
        _current.reset(token)


def of_request(headers: Mapping[str, str], by: str = ANONYMOUS) -> Provenance:
    """X-Request-ID and X-Correlation-ID where they are usable, else new ones; a traceparent that cannot be read is
    dropped, as Trace Context asks."""
    traceparent = headers.get("traceparent", "")
    traced = _TRACEPARENT.fullmatch(traceparent)
    request = _usable(headers.get("x-request-id")) or uuid4().hex
    correlation = _usable(headers.get("x-correlation-id")) or (traced[1] if traced else request)
    return Provenance(by, correlation, request, traceparent if traced else None)


def following(event: DomainEvent) -> Provenance:
    """That of what the system does because of an event."""
    cause = event_id(event.originator_id, event.originator_version)
    return Provenance(SYSTEM, event.correlation_id or cause, cause, event.traceparent)


def event_id(aggregate: UUID, version: int) -> str:
    """Names an event for ever: its aggregate and its version in it."""
    return f"{aggregate}:{version}"


def stamped(event: DomainEvent) -> DomainEvent:
    """The event with the provenance of what is being done now."""
    provenance = _current.get()
    return event if provenance is None else event.model_copy(update=asdict(provenance))


def _usable(id: str | None) -> str | None:
    return id if id is not None and _ID.fullmatch(id) else None
