"""Events to what the log keeps of them and back: JSON that carries its own checksum.

The checksum covers the aggregate, the version and the topic too, so a row that was changed, moved or cut is found when
it is read. Rows of the first release have none and are taken as they are. No later release writes such a row: one that
comes behind a row with a checksum, or says what the first release had no words for, has lost its own.
"""

from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from uuid import UUID

import orjson
from eventsourcing.utils import TopicError
from pydantic import ValidationError

from domain.aggregate import DomainEvent
from domain.errors import GetiActionError
from domain.upgrades import CLASS_VERSION, upgraded, version_of

ENVELOPE = {"originator_id", "originator_version"}
_DIGEST_BYTES = 8
_MARK = b',"checksum":"'
_FOREIGN = "a column of it holds another kind of value, as only a hand writes it"
_TAIL = len(_MARK) + 2 * _DIGEST_BYTES + len(b'"}')


class Unreadable(GetiActionError):
    """A row of the log cannot be read. ``extra`` has its ``position``."""


class Damaged(Unreadable):
    """A row of the log is not what was written. ``extra`` says ``why``, too."""

    code = "log_damaged"


class UnknownTopic(Unreadable):
    """A row of the log says something that this release has no word for."""

    code = "unknown_event"


class Gap(Unreadable):
    """A row of the log is whole, but does not follow the one before it in its aggregate: those between are lost."""

    code = "log_not_whole"


def encode(event: DomainEvent) -> bytes:
    """The event's fields as JSON, but for its aggregate's id and version, which have columns of their own."""
    without = ENVELOPE | {name for name in event.PROVENANCE if getattr(event, name) is None}
    body = event.model_dump_json(exclude=without).encode()
    if version := version_of(event.TOPIC):
        body = b"%s,%s}" % (body[:-1], orjson.dumps({CLASS_VERSION: version})[1:-1])
    return sealed(event.originator_id, event.originator_version, event.TOPIC, body)


def sealed(id: UUID, version: int, topic: str, body: bytes) -> bytes:
    """A JSON object that is not empty, with its checksum as the last field."""
    return b'%s%s%s"}' % (body[:-1], _MARK, _checksum(id, version, topic, body))


def decode(position: int, id: UUID, version: int, topic: str, state: bytes) -> DomainEvent:
    """The event of a row. Raises UnknownTopic or Damaged, which name the position."""
    body = opened(position, id, version, topic, state)  # first, since a topic that a hand has changed is unknown, too
    kind = _kind(topic, position)
    try:
        if version_of(topic):
            body = orjson.dumps(upgraded(topic, orjson.loads(body)))
        # The two columns set in front: one pass over the bytes instead of parsing to a dict first.
        event = kind.model_validate_json(
            b'{"originator_id":"%s","originator_version":%d,%s' % (str(id).encode(), version, body[1:])
        )
    except ValueError as error:
        raise damaged(position, topic, _said(error)) from error
    if not has_checksum(state) and any(getattr(event, name) is not None for name in event.PROVENANCE):
        raise _without_checksum(position, topic)
    return event


def opened(position: int, id: UUID, version: int, topic: str, state: bytes) -> bytes:
    """The JSON without its checksum. Raises Damaged when that is not right, or when a column holds what is not of its
    kind, as SQLite's may."""
    if not (isinstance(state, bytes) and isinstance(version, int) and isinstance(topic, str)):
        raise damaged(position, topic, _FOREIGN)
    if not has_checksum(state):
        return state
    body = state[:-_TAIL] + b"}"
    if state[-_TAIL + len(_MARK) :] != _checksum(id, version, topic, body) + b'"}':
        raise damaged(position, topic, "its checksum differs")
    return body


def has_checksum(state: bytes) -> bool:
    return state[-_TAIL : -_TAIL + len(_MARK)] == _MARK


class Following:
    """Reads rows that come in the order in which they were written, of the log or of one aggregate."""

    def __init__(self) -> None:
        self._have_checksums = False

    def decode(self, position: int, id: UUID, version: int, topic: str, state: bytes) -> DomainEvent:
        """As ``decode``. Raises Damaged for a row without a checksum behind one that has it, too."""
        event = decode(position, id, version, topic, state)
        self._follow(position, topic, state)
        return event

    def opened(self, position: int, id: UUID, version: int, topic: str, state: bytes) -> bytes:
        """As ``opened``, in the same way."""
        body = opened(position, id, version, topic, state)
        self._follow(position, topic, state)
        return body

    def _follow(self, position: int, topic: str, state: bytes) -> None:
        if self._have_checksums and not has_checksum(state):
            raise _without_checksum(position, topic)
        self._have_checksums = self._have_checksums or has_checksum(state)


class FollowingOne(Following):
    """Reads the rows of one aggregate, from behind a version of it."""

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self._version = after

    def decode(self, position: int, id: UUID, version: int, topic: str, state: bytes) -> DomainEvent:
        """As ``Following``'s. Raises Gap for a row that does not follow the one before, too: nothing must be decided
        on what is left of an aggregate."""
        event = super().decode(position, id, version, topic, state)
        if version != self._version + 1:
            raise Gap(
                f"Events of the log are lost: the event '{topic}' at position {position} is version {version} of its "
                f"aggregate, and the one before it is {self._version or 'missing'}. Run geti-action check-log, and "
                "restore a backup.",
                position=position,
            )
        self._version = version
        return event


def damaged(position: int, topic: str, why: str) -> Damaged:
    """The error for a row that is not what was written, which says it in one line."""
    return Damaged(
        f"The event '{topic}' at position {position} is not what was written: {why}. "
        "Run geti-action check-log, and restore a backup.",
        position=position,
        why=why,
    )


def _without_checksum(position: int, topic: str) -> Damaged:
    return damaged(position, topic, "its checksum is gone")


def _said(error: ValueError) -> str:
    """What is wrong with an event's fields, and not what is in them."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    return "; ".join(f"{'.'.join(map(str, each['loc']))} {each['msg']}".strip() for each in error.errors())


def _checksum(id: UUID, version: int, topic: str, body: bytes) -> bytes:
    return (
        blake2b(b"%s %d %s " % (id.bytes, version, topic.encode()) + body, digest_size=_DIGEST_BYTES)
        .hexdigest()
        .encode()
    )


def knows(topic: str) -> bool:
    """Whether there are events of this topic."""
    try:
        return _kind(topic, 0) is not None
    except UnknownTopic:
        return False


def _kind(topic: str, position: int) -> type[DomainEvent]:
    try:
        return _resolved(topic)
    except TopicError as error:
        raise UnknownTopic(
            f"The log holds an event '{topic}' at position {position} that this release does not know. "
            "It was written by a newer release: start that one.",
            position=position,
        ) from error


@cache
def _resolved(topic: str) -> type[DomainEvent]:
    """Never by the library's way, which would import whatever module a foreign log names."""
    found = next((kind for kind in _kinds(DomainEvent) if kind.__dict__.get("TOPIC") == topic), None)
    if found is None:
        raise TopicError(topic)
    return found


def _kinds(base: type[DomainEvent]) -> Iterator[type[DomainEvent]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)
