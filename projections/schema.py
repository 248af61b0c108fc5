"""Bring a database to the newest schema, as ``init-db`` and every start do, and tell what of it is wrong."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Column, Connection, Inspector, Numeric, inspect, text
from sqlalchemy_utils import UUIDType

from domain.errors import Conflict, NotFound
from projections import database, tables

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
HEAD = "0005"
"""The newest revision. One that changes what a view keeps sets its row in ``positions`` to 0: the view is then built
anew from the log before the server serves."""

Before = Callable[[Connection, str], object]


_TRIGGERS = {
    "sqlite": text("SELECT name FROM sqlite_master WHERE type = 'trigger'"),
    "postgresql": text(
        "SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
        "WHERE NOT tgisinternal AND relnamespace = current_schema()::regnamespace"
    ),
}
_RULES = text("SELECT rulename, tablename FROM pg_rules WHERE schemaname = current_schema()")
_SEQUENCE = text(f"SELECT pg_get_serial_sequence('{tables.events.name}', 'id')")


def _nothing_before(connection: Connection, revision: str) -> None:
    """For who has made a copy himself, or has nothing to lose."""


def upgrade(url: str, before: Before = _nothing_before) -> None:
    """Apply the revisions that are missing, all or none. Safe when several processes do it at once: the first does the
    work, the others wait and find nothing to do.

    ``before`` is called when a database of an older release is about to be changed: with the connection, in whose
    transaction nobody else writes, and its revision. What it raises leaves the database as it is. Raises LogBusy when
    the wait is too long, Conflict when the database is a newer release's."""
    revision = _revision(url)
    if revision == HEAD:
        return
    # Takes longer to import than to do its work, so who finds nothing to do should not pay for it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes |= {"url": url, "before": before}
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise Conflict(
            f"The database is at revision {revision}, which this release does not know: a newer one has used it. Start "
            "that one, or restore a backup from before."
        )
    _set_wal(url)
    command.upgrade(config, "head")


def check(url: str) -> None:
    """Raises NotFound when there is no database, and makes none; Conflict when it is not at the newest schema."""
    path = database.sqlite_path(url)
    if path is not None and not path.exists():
        raise NotFound(f"There is no database at {path}. Check DATABASE_URL; geti-action init-db makes a new one.")
    if _revision(url) != HEAD:
        raise Conflict("The tables are not this release's: start its server once, or run geti-action init-db, first.")


def unusable_tables(connection: Connection) -> list[str]:
    """Those that this database lacks, or of which it lacks a column."""
    found = inspect(connection)
    there = set(found.get_table_names())
    return sorted(name for name in tables.metadata.tables if name not in there or _lacks_a_column(found, name))


def _lacks_a_column(found: Inspector, name: str) -> bool:
    return not {column["name"] for column in found.get_columns(name)} >= set(tables.metadata.tables[name].c.keys())


def differences(connection: Connection) -> list[str]:
    """What is not as the revisions have made it, in words. Rules that only an index keeps, that one version of a thing
    is there once for example, hold no longer where it is gone."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"compare_type": differs})
    found = [_words(difference) for difference in compare_metadata(context, tables.metadata)]
    return [*found, *_constraints(inspect(connection)), *_of_others(connection)]


def _constraints(found: Inspector) -> Iterator[str]:
    """Alembic compares neither of these."""
    for name in sorted(set(tables.metadata.tables) & set(found.get_table_names())):
        key = [column.name for column in tables.metadata.tables[name].primary_key]
        if found.get_pk_constraint(name)["constrained_columns"] != key:
            yield f"primary key of {name} is not what it should be"
        for check in found.get_check_constraints(name):
            yield f"check constraint {check['name']} of {name} is none of ours"


def _of_others(connection: Connection) -> Iterator[str]:
    """What would run, or keep things from happening, unseen."""
    yield from (f"trigger {name} is none of ours" for name in connection.scalars(_TRIGGERS[connection.dialect.name]))
    if connection.scalar(text("SELECT count(*) FROM alembic_version")) != 1:
        yield "table alembic_version has not one row"
    if connection.dialect.name != "postgresql":
        return
    for rule, table in connection.execute(_RULES):
        yield f"rule {rule} of {table} is none of ours"
    events = tables.events.name
    if events in inspect(connection).get_table_names() and connection.scalar(_SEQUENCE) is None:
        yield f"column id of {events} has no sequence of its own, which gives positions"


def _words(difference: Any) -> str:
    """One of Alembic's: what would have to be done, (verb, thing) or (verb, schema, table, column), or a list of what
    is to be changed of a column."""
    if isinstance(difference, list):
        _, _, table, column, *_ = difference[0]
        return f"column {column} of {table} is not what it should be"
    verb, *_, thing = difference
    what, _, kind = verb.partition("_")
    of = f" of {difference[2]}" if kind == "column" else ""
    return f"{kind} {thing.name}{of} is {'missing' if what == 'add' else 'none of ours'}"


def differs(_context: Any, inspected: Column[Any], declared: Column[Any], *_types: Any) -> Literal[False] | None:
    """Alembic's ``compare_type``. SQLite reads the recorder's BINARY(16) back as a number; None leaves the comparison
    to Alembic."""
    lost = isinstance(declared.type, UUIDType) and isinstance(inspected.type, Numeric)
    return False if lost else None


def _revision(url: str) -> str | None:
    """Which revision the database is at; None before the first. Raises Conflict when it does not say."""
    engine = database.engine(url)
    try:
        with engine.connect() as connection:
            inspector = inspect(connection)
            found: str | None = None
            if inspector.has_table("alembic_version"):
                found = connection.scalar(text("SELECT version_num FROM alembic_version"))
            if found is None and inspector.has_table(tables.events.name):
                raise Conflict(
                    "The database has a log, but does not say of which release it is: alembic_version is empty. If it "
                    "is this one's: .venv/bin/alembic stamp head, and geti-action check-log tells what else is wrong."
                )
            return found
    finally:
        engine.dispose()


def _set_wal(url: str) -> None:
    """SQLite's write-ahead log, in which readers never wait for the writer. The file remembers it."""
    path = database.sqlite_path(url)
    if path is None:
        return
    with database.exclusive(url), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
