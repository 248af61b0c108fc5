"""The log as a file of JSON lines: what ``export-log`` writes and ``import-log`` reads.

    {"format":"geti-action-log/1","release":"0.1.0","revision":"0002"}
    {"position":1,"aggregate_id":"…","version":1,"topic":"project.created","state":{…,"checksum":"…"}}
    …
    {"events":1234,"sha256":"…"}

One event a line, in the order of their positions, which keep their gaps. ``state`` is byte for byte what the log holds,
so that an event's own checksum still holds.
"""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import BinaryIO
from uuid import UUID

from actors.care import sealed
from actors.care.rows import Stored

FORMAT, COUNTED = "geti-action-log/1", "events"
_EVENT = re.compile(
    rb'\{"position":(\d{1,18}),"aggregate_id":"([0-9a-f-]{36})","version":(\d{1,18}),"topic":"([\w.-]{1,200})",'
    rb'"state":(\{.*\})\}\n'
)


def release() -> str:
    """This one."""
    return version("geti-action-backend")


def write(file: BinaryIO, rows: Iterable[Stored], revision: str | None) -> tuple[int, str]:
    """Write a whole file, as the rows come. ``revision`` is that of the tables they were read from. Returns the number
    of events, and the last line's sha256."""
    header = {"format": FORMAT, "release": release(), "revision": revision}
    return sealed.write(file, header, map(_line, rows), COUNTED)


def _line(row: Stored) -> bytes:
    return b'{"position":%d,"aggregate_id":"%s","version":%d,"topic":"%s","state":%s}\n' % (
        row.position,
        str(row.aggregate_id).encode(),
        row.version,
        row.topic.encode(),
        row.state,
    )


class Reader:
    """Reads such a file to its end, once. ``done_bytes`` is how far it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = sealed.Reader(file, FORMAT, COUNTED)

    @property
    def done_bytes(self) -> int:
        return self._lines.done_bytes

    def __iter__(self) -> Iterator[Stored]:
        """The events. Raises Malformed, with the number of the line, for a file that is not such a one or is not whole:
        so nothing read may be trusted before the end."""
        position = 0
        for line in self._lines:
            row = self._stored(line)
            if row.position <= position:
                raise self._lines.wrong(f"comes after position {position} and says {row.position}")
            position = row.position
            yield row

    def _stored(self, line: bytes) -> Stored:
        found = _EVENT.fullmatch(line)
        if found is None:
            raise self._lines.wrong("is not an event as export-log writes it")
        position, id, number, topic, state = found.groups()
        try:
            return Stored(int(position), UUID(id.decode()), int(number), topic.decode(), state)
        except ValueError as error:
            raise self._lines.wrong(f"cannot be read: {error}") from error
