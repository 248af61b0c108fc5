"""The log as a file of JSON lines: what ``export-log`` writes and ``import-log`` reads.

    {"format":"geti-action-log/2","release":"0.1.0","revision":"0002"}
    {"position":1,"aggregate_id":"…","version":1,"topic":"project.created","state":{…,"checksum":"…"}}
    …
    {"scope":"…","key":"…","body_sha256":"…","status":201,"answer":{…},"created_at":"…","position":1}
    …
    {"lines":1234,"sha256":"…"}

One event a line, in the order of their positions, which keep their gaps. ``state`` is byte for byte what the log holds,
so that an event's own checksum still holds. Behind them the answers to Idempotency-Keys, so that what is repeated is
not done twice wherever the log has gone. A ``/1`` had no answers.
"""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import chain, count
from typing import BinaryIO
from uuid import UUID

import orjson
from pydantic import ValidationError

from actors.answers import Kept
from actors.care import sealed
from actors.care.rows import Stored

FORMAT, COUNTED = "geti-action-log/2", "lines"
READ = {FORMAT: COUNTED, "geti-action-log/1": "events"}
"""The formats that are understood, and what their last line counts."""
_ANSWER = b'{"scope":'
_EVENT = re.compile(
    rb'\{"position":(\d{1,18}),"aggregate_id":"([0-9a-f-]{36})","version":(\d{1,18}),"topic":"([\w.-]{1,200})",'
    rb'"state":(\{.*\})\}\n'
)


def release() -> str:
    """This one."""
    return version("geti-action-backend")


def write(file: BinaryIO, rows: Iterable[Stored], answers: Iterable[Kept], revision: str | None) -> tuple[int, str]:
    """Write a whole file, as the rows come. ``revision`` is that of the tables they were read from. Returns the number
    of events, and the last line's sha256."""
    header = {"format": FORMAT, "release": release(), "revision": revision}
    events = count()
    body = (_line(row) for row, _ in zip(rows, events, strict=False))
    _, sha256 = sealed.write(file, header, chain(body, map(_answer_line, answers)), COUNTED)
    return next(events), sha256


def _line(row: Stored) -> bytes:
    return b'{"position":%d,"aggregate_id":"%s","version":%d,"topic":"%s","state":%s}\n' % (
        row.position,
        str(row.aggregate_id).encode(),
        row.version,
        row.topic.encode(),
        row.state,
    )


def _answer_line(answer: Kept) -> bytes:
    return orjson.dumps(answer.model_dump(mode="json")) + b"\n"


class Reader:
    """Reads such a file to its end, once: its events, then its answers. ``done_bytes`` is how far it is.

    Both raise Malformed, with the number of the line, for a file that is not such a one or is not whole: so nothing
    read may be trusted before the end of both."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = sealed.Reader(file, READ)
        self._rest = iter(self._lines)

    @property
    def done_bytes(self) -> int:
        return self._lines.done_bytes

    def events(self) -> Iterator[Stored]:
        position = 0
        for line in self._rest:
            if line.startswith(_ANSWER):
                self._rest = chain((line,), self._rest)
                return
            row = self._stored(line)
            if row.position <= position:
                raise self._lines.wrong(f"comes after position {position} and says {row.position}")
            position = row.position
            yield row

    def answers(self) -> Iterator[Kept]:
        return map(self._kept, self._rest)

    def _kept(self, line: bytes) -> Kept:
        try:
            return Kept.model_validate_json(line)
        except ValidationError as error:
            raise self._lines.wrong("is not an answer as export-log writes it") from error

    def _stored(self, line: bytes) -> Stored:
        found = _EVENT.fullmatch(line)
        if found is None:
            raise self._lines.wrong("is not an event as export-log writes it")
        position, id, number, topic, state = found.groups()
        try:
            return Stored(int(position), UUID(id.decode()), int(number), topic.decode(), state)
        except ValueError as error:
            raise self._lines.wrong(f"cannot be read: {error}") from error
