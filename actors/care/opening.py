"""Opening a database at a start, of whatever release it is: what an older one left is copied first, then brought up to
date, and what is new in this release is built from the log. A failure leaves the database as it was.

The copy of a SQLite database lies beside it (``<file>.before-<revision>``; put it in the file's place to go back). That
of a PostgreSQL database is its log, in ``backups/`` of the storage root (``geti-action import-log`` takes it in; all
else follows from it).
"""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing, nullcontext
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from actors.capture.durable import fsync_path, storage_errors
from actors.care import lines, rows
from actors.care.files import BACKUPS
from actors.care.sealed import whole_file
from actors.log import Log, now
from actors.rebuild import build_missing
from domain.errors import GetiActionError, LogBusy, Unavailable
from projections import database, schema

logger = logging.getLogger(__name__)


class UpdateFailed(GetiActionError):
    """The database could not be brought up to date. It is as it was."""

    code = "update_failed"


def open_database(url: str, storage: Path, say: Callable[[str], object] = logger.info) -> None:
    """Make the tables of ``url`` this release's and whole. Every start may call it; mostly there is nothing to do.

    Raises UpdateFailed, which names the copy; Conflict for a database of a newer release; LogBusy while an older one
    writes; Unavailable or StorageFull when no copy can be made."""
    kept: list[Path] = []

    def keep(connection: Connection, revision: str) -> None:
        if rows.newest(connection):
            kept.append(_copy(url, storage, connection, revision))
            say(f"The database is an older release's (revision {revision}). A copy is kept: {kept[0]}")

    try:
        schema.upgrade(url, keep)
    except GetiActionError:
        raise
    except Exception as error:
        if kept:
            raise _failed(error, kept[0]) from error
        if "lock timeout" in str(error):
            raise LogBusy(
                "Others keep the log: stop the older release's servers, then start this one again."
            ) from error
        raise
    if kept:
        say(f"The database is up to date (revision {schema.HEAD}).")
    with closing(Log(url)) as log:
        build_missing(log)


def _failed(error: Exception, copy: Path) -> UpdateFailed:
    why = " ".join(str(getattr(error, "orig", error)).split())
    return UpdateFailed(
        f"The database could not be brought to revision {schema.HEAD}: {why}. It is as it was, and a copy of it "
        f"is at {copy}. Start the release before this one, and report this."
    )


def _copy(url: str, storage: Path, connection: Connection, revision: str) -> Path:
    path = database.sqlite_path(url)
    if path is not None:
        return _copy_file(path, path.with_name(f"{path.name}.before-{schema.HEAD}"))
    with storage_errors("keep a copy of the log"):
        return _write_log(storage / BACKUPS / f"log-before-{schema.HEAD}-{_stamp(now())}.jsonl", connection, revision)


def _copy_file(source: Path, target: Path) -> Path:
    """In the place of an older one: whoever starts from an older revision again has more to keep now."""
    beside = target.with_name(f".{target.name}.partial")
    try:
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(beside)) as other:
            one.backup(other)
        fsync_path(beside)
        beside.replace(target)
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(
            f"Before the database is updated a copy of it is made, which failed: {error}. Nothing was changed. See to "
            f"it that {target} can be written, then start again."
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    fsync_path(target.parent)
    return target


def _write_log(target: Path, connection: Connection, revision: str) -> Path:
    """As it is: whether it is whole is not looked at, since nothing is taken away."""
    target.parent.mkdir(parents=True, exist_ok=True)
    stored = rows.read(lambda: nullcontext(connection), rows.newest(connection))
    with whole_file(target) as file:
        lines.write(file, stored, (), revision)  # an older release's answers may be of another shape
    return target


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")
