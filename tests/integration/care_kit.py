"""What the tests of the care for a system share: a database that holds the golden log, and all that follows from it."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Table

from actors.care.importing import import_log
from actors.log import Log
from projections import schema, tables

GOLDEN = Path(__file__).parents[1] / "golden"
OLDEST = GOLDEN / "0.1.0.jsonl"
LASTING = [table for table in tables.metadata.sorted_tables if table.name not in ("idempotency", "snapshots")]
"""The tables that hold what the log says."""


@contextmanager
def opened(url: str) -> Iterator[Log]:
    """The log of a database, at the newest schema."""
    schema.upgrade(url)
    with closing(Log(url)) as log:
        yield log


def tell(log: Log, golden: Path = OLDEST) -> None:
    """Bring a golden log into an empty one."""
    with golden.open("rb") as file:
        import_log(log, file)


def rows(log: Log, *of: Table) -> dict[str, list[dict[str, Any]]]:
    """What lasts (or these tables), in the order of the primary keys: equal on both databases."""
    with log.engine.connect() as connection:
        return {
            table.name: sorted(map(Row._asdict, connection.execute(table.select())), key=_key(table))
            for table in of or LASTING
        }


def _key(table: Table) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    return lambda row: tuple(row[column.name] for column in table.primary_key)
