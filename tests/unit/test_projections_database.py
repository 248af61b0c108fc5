"""Which database a DATABASE_URL names."""

import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from domain.errors import GetiActionError, Invalid, StorageFull, Unavailable
from projections.database import engine, sqlite_path, trouble
from settings import PROJECT


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite", "sqlite+pysqlite"])
def test_a_relative_file_counts_from_the_project_and_an_absolute_one_stays(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite_path(f"{scheme}:///./a/b.db") == PROJECT / "a" / "b.db"
    assert sqlite_path(f"{scheme}:////var/b.db") == Path("/var/b.db")


def test_the_folder_of_the_file_is_made(tmp_path: Path) -> None:
    engine(f"sqlite+aiosqlite:///{tmp_path}/new/folder/b.db").dispose()
    assert (tmp_path / "new" / "folder").is_dir()


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgres"])
def test_every_name_of_postgresql_gives_the_synchronous_driver(scheme: str) -> None:
    made = engine(f"{scheme}://ann:secret@db:5433/geti?ssl=require")
    assert (made.dialect.name, made.dialect.driver) == ("postgresql", "psycopg")
    assert (made.url.host, made.url.port, made.url.query["sslmode"]) == ("db", 5433, "require")
    assert sqlite_path(f"{scheme}://ann:secret@db/geti") is None


@pytest.mark.parametrize(
    "url",
    ["mysql://ann:secret@db/geti", "sqlite://", "sqlite:///:memory:", "ann:secret@db", "postgresql://a:secret@h:x/"],
)
def test_anything_else_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(Invalid, match="DATABASE_URL") as refused:
        engine(url)
    assert "secret" not in refused.value.detail


def test_the_server_of_ones_own_is_among_what_may_be_written() -> None:
    with pytest.raises(Invalid, match="embedded-postgres"):
        engine("what?")


def of_sqlite(code: int, words: str) -> sqlite3.OperationalError:
    made = sqlite3.OperationalError(words)
    made.sqlite_errorcode = code
    return made


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (of_sqlite(sqlite3.SQLITE_FULL, "database or disk is full"), StorageFull),
        (psycopg.errors.DiskFull("could not extend file: No space left on device"), StorageFull),
        (of_sqlite(sqlite3.SQLITE_BUSY, "database is locked"), Unavailable),
        (of_sqlite(sqlite3.SQLITE_IOERR_READ, "disk I/O error"), Unavailable),
        (psycopg.OperationalError("the connection is lost"), Unavailable),
        (of_sqlite(sqlite3.SQLITE_ERROR, "no such table: projects"), None),
        (psycopg.ProgrammingError("relation does not exist"), None),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_reader_is_told_what_may_pass_and_no_mistake_of_ours_is_taken_for_it(
    error: Exception, told: type[GetiActionError] | None, wrapped: bool
) -> None:
    found = trouble(DBAPIError("SELECT 1", {}, error) if wrapped else error)
    assert (None if found is None else type(found)) == told
