"""Bring a database to the newest schema; used by ``init-db`` and at every start."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from domain.errors import Conflict, NotFound
from projections import database

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
HEAD = "0005"
"""The newest revision. One that changes what a view keeps sets its row in ``positions`` to 0: the view is then built
anew from the log before the server serves."""

Before = Callable[[Connection, str], object]


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


def _revision(url: str) -> str | None:
    """Which revision the database is at; None before the first."""
    engine = database.engine(url)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
            return revision
    finally:
        engine.dispose()


def _set_wal(url: str) -> None:
    """SQLite's write-ahead log, in which readers never wait for the writer. The file remembers it."""
    path = database.sqlite_path(url)
    if path is None:
        return
    with database.exclusive(url), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
