"""Events to what the log keeps of them and back: JSON that carries its own checksum.

The checksum covers the aggregate, the version and the topic too, so a row that was changed, moved or cut is found when
it is read. Rows of the first release have none and are taken as they are.
"""

from functools import cache
from hashlib import blake2b
from typing import cast
from uuid import UUID

import orjson
from eventsourcing.utils import TopicError, resolve_topic

from domain.aggregate import DomainEvent
from domain.errors import GetiActionError
from domain.upgrades import CLASS_VERSION, upgraded, version_of

ENVELOPE = {"originator_id", "originator_version"}
_DIGEST_BYTES = 8
_MARK = b',"checksum":"'
_TAIL = len(_MARK) + 2 * _DIGEST_BYTES + len(b'"}')


class Damaged(GetiActionError):
    """A row of the log is not what was written."""

    code = "log_damaged"


class UnknownTopic(GetiActionError):
    """A row of the log says something that this release has no word for."""

    code = "unknown_event"


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
    kind = _kind(topic, position)
    body = opened(position, id, version, topic, state)
    try:
        if version_of(topic):
            body = orjson.dumps(upgraded(topic, orjson.loads(body)))
        # The two columns set in front: one pass over the bytes instead of parsing to a dict first.
        return kind.model_validate_json(
            b'{"originator_id":"%s","originator_version":%d,%s' % (str(id).encode(), version, body[1:])
        )
    except ValueError as error:
        raise Damaged(f"The event '{topic}' at position {position} cannot be read: {error}") from error


def opened(position: int, id: UUID, version: int, topic: str, state: bytes) -> bytes:
    """The JSON without its checksum. Raises Damaged when that is not right."""
    if state[-_TAIL : -_TAIL + len(_MARK)] != _MARK:
        return state
    body = state[:-_TAIL] + b"}"
    if state[-_TAIL + len(_MARK) :] != _checksum(id, version, topic, body) + b'"}':
        raise Damaged(
            f"The event '{topic}' at position {position} is not what was written: its checksum differs. "
            "Run geti-action check-log, and restore a backup."
        )
    return body


def _checksum(id: UUID, version: int, topic: str, body: bytes) -> bytes:
    return (
        blake2b(b"%s %d %s " % (id.bytes, version, topic.encode()) + body, digest_size=_DIGEST_BYTES)
        .hexdigest()
        .encode()
    )


def _kind(topic: str, position: int) -> type[DomainEvent]:
    try:
        return _resolved(topic)
    except TopicError as error:
        raise UnknownTopic(
            f"The log holds an event '{topic}' at position {position} that this release does not know. "
            "It was written by a newer release: start that one."
        ) from error


@cache
def _resolved(topic: str) -> type[DomainEvent]:
    return cast("type[DomainEvent]", resolve_topic(topic))
