"""A log of rows that survives kill -9: one line of JSON a row, written at once, readable however it ends.

Not Arrow: its first conversion imports pandas, which would stop a camera's process for a second in mid-take.
"""

import errno
import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class RowLog:
    """Appends rows. No row that was appended is lost when the process dies."""

    def __init__(self, path: Path) -> None:
        """Raises FileExistsError if there is such a log already."""
        self._file = path.open("xb", buffering=0)

    def append(self, row: Row) -> None:
        """``row`` has its number under ``row``. Raises OSError."""
        line = json.dumps(row).encode() + b"\n"
        if self._file.write(line) < len(line):
            raise OSError(errno.ENOSPC, "the disk took only a part of a row")

    def close(self) -> None:
        self._file.close()


def read_rows(path: Path) -> list[Row]:
    """All whole rows of a log from row 0 on, in order; none if there is no such log."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last line's end is torn, or nothing
    except FileNotFoundError:
        return []
    rows: list[Row] = []
    for line in lines:
        row = json.loads(line)
        if row["row"] != len(rows):
            break
        rows.append(row)
    return rows
