"""Files of JSON lines that know whether they are whole: the first line names the format, the last one counts what is
between and holds the sha256 of all that is before it. So a file that was cut, or changed by an editor, is found."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from actors.capture.durable import fsync_path
from domain.errors import Malformed

LONGEST = 64 * 1024 * 1024
_LAST = re.compile(rb'\{"(\w+)":(\d{1,18}),"sha256":"([0-9a-f]{64})"\}\n')


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that is there only once it is whole and on the disk, in the place of one of its name."""
    beside = path.with_name(f".{path.name}.partial")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    fsync_path(path.parent)


def write(file: BinaryIO, header: dict[str, Any], lines: Iterable[bytes], counted: str) -> tuple[int, str]:
    """Write a whole file, as the lines come. ``header`` has a ``format``; ``counted`` is what the lines are. Returns
    their number and the sha256."""
    first = orjson.dumps(header) + b"\n"
    digest, count = hashlib.sha256(first), 0
    file.write(first)
    for line in lines:
        digest.update(line)
        file.write(line)
        count += 1
    file.write(orjson.dumps({counted: count, "sha256": digest.hexdigest()}) + b"\n")
    return count, digest.hexdigest()


class Reader:
    """Reads such a file to its end, once. ``done_bytes`` is how far it is; ``sha256`` is there at the end."""

    def __init__(self, file: BinaryIO, formats: Mapping[str, str]) -> None:
        """``formats`` are those that are understood, the newest first, with what the lines of each are."""
        self._file, self._formats = file, formats
        self._counted = next(iter(formats.values()))
        self._digest = hashlib.sha256()
        self._number = 0
        self.done_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """The lines between. Raises Malformed for a file that is not such a one or is not whole, the latter at its end
        only: so nothing read may be trusted before."""
        self._read_header()
        count = 0
        while (last := _LAST.fullmatch(line := self._next())) is None:
            self._digest.update(line)
            count += 1
            yield line
        named, counted, self.sha256 = (part.decode() for part in last.groups())
        if (named, int(counted), self.sha256) != (self._counted, count, self._digest.hexdigest()):
            raise self.wrong("does not fit the lines before it: the file was changed after it was written")
        if self._file.read(1):
            raise Malformed(f"There is more behind the last line, which is line {self._number}. {self._again}")

    def wrong(self, what: str) -> Malformed:
        """The error that says what is wrong with the line that was read last."""
        return Malformed(f"Line {self._number}{self._where} {what}. {self._again}")

    def _read_header(self) -> None:
        line = self._next()
        try:
            header = orjson.loads(line)
        except orjson.JSONDecodeError:
            header = None
        named = header.get("format") if isinstance(header, dict) else None
        if not isinstance(named, str) or named not in self._formats:
            wanted = " or ".join(self._formats)
            raise Malformed(f"This is not what is wanted, or a newer release's: a first line must name {wanted}.")
        self._counted = self._formats[named]
        self._digest.update(line)

    def _next(self) -> bytes:
        line = self._file.readline(LONGEST)
        self._number += 1
        self.done_bytes += len(line)
        if not line.endswith(b"\n"):
            raise self.wrong("is cut off" if line or self._number > 1 else "is missing: the file is empty")
        return line

    @property
    def _where(self) -> str:
        """Which file it is, where it has a name."""
        name = getattr(self._file, "name", None)
        return f" of {name}" if isinstance(name, str) else ""

    @property
    def _again(self) -> str:
        return f"Nothing was taken in; write the {self._counted} out again."
