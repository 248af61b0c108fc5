"""The log written out as JSON lines, while others append to it."""

from collections.abc import Iterator
from itertools import batched
from pathlib import Path
from typing import BinaryIO, NamedTuple

from actors import answers
from actors.answers import Kept
from actors.care import lines, losses, rows
from actors.care.sealed import whole_file
from actors.log import Log
from actors.rebuild import Told
from projections import schema, tables


class Exported(NamedTuple):
    """How many events, the position of the last, and the sha256 in the file's last line."""

    events: int
    position: int
    sha256: str


def export_log(log: Log, file: BinaryIO, told: Told = lambda _done, _total: None) -> Exported:
    """Write the events that there are now, and what was answered up to there, in memory that does not grow with them.
    Raises NotWhole when some are lost, Damaged at the first that is not what was written: whoever took it in would
    refuse it."""
    with log.failures():
        position = log.position()
        with log.engine.connect() as connection:
            losses.refuse(connection, position)
        checked = _telling(rows.read(log.engine.connect, position), position, told)
        events, sha256 = lines.write(file, rows.sound(checked), _answers(log, position), schema.HEAD)
    return Exported(events, position, sha256)


def _answers(log: Log, position: int) -> Iterator[Kept]:
    """None where their table is lost: then all the more the log must get out."""
    with log.engine.connect() as connection:
        is_lost = tables.idempotency.name in schema.unusable_tables(connection)
    return iter(()) if is_lost else answers.kept(log.engine.connect, position)


def export_to(log: Log, path: Path, told: Told = lambda _done, _total: None) -> Exported:
    """The same into a file, which is there only when it is whole, and then in the place of one of its name."""
    with whole_file(path) as file:
        return export_log(log, file, told)


def _telling(read: Iterator[rows.Stored], total: int, told: Told) -> Iterator[rows.Stored]:
    for page in batched(read, rows.BATCH):
        yield from page
        told(page[-1].position, total)
