"""A database whose file is broken, or is none: every command and the server say so in words, and what to do."""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import psycopg.errors
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy.exc import DatabaseError, OperationalError

from actors.care.check import check_log
from actors.care.exporting import export_to
from actors.gateway import Gateway
from actors.routes import problems, projects
from projections import database
from projections import routes as reading
from tests.integration.care_kit import opened, tell
from tests.integration.test_care_cli import Run, run

__all__ = ["run"]
PAGE = 4096
MALFORMED = "The database is damaged (database disk image is malformed). "
NO_DATABASE = "The file that DATABASE_URL names is no database. "


@pytest.fixture
def file(sqlite_url: str) -> Path:
    """A whole one, with nothing of it beside it."""
    path = database.sqlite_path(sqlite_url)
    assert path is not None
    with opened(sqlite_url) as log:
        tell(log)
    database.make_whole(sqlite_url)
    return path


def overwrite(path: Path) -> None:
    with path.open("r+b") as opened_file:
        opened_file.seek(5 * PAGE)
        opened_file.write(os.urandom(20 * PAGE))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("These are my notes.\n" * 100), NO_DATABASE),
    "cut to half": (lambda path: os.truncate(path, path.stat().st_size // 2), MALFORMED),
    "pages overwritten": (overwrite, MALFORMED),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_command_says_so_in_a_line(run: Run, file: Path, tmp_path: Path, name: str) -> None:
    damage, told = BROKEN[name]
    damage(file)
    before = file.read_bytes()
    for words in (
        ("check-log",),
        ("init-db",),
        ("rebuild",),
        ("backup", tmp_path / "backup"),
        ("restore", tmp_path),
        ("export-log", tmp_path / "log.jsonl"),
    ):
        said = run(*words)
        last = said.out.splitlines()[-1] if said.out else ""
        assert said.code == 1, words
        assert last.startswith(f"{file}: {told}") or "no backup" in last, (words, said)
        assert "Traceback" not in said.out + said.err
    assert file.read_bytes() == before


@pytest.fixture
async def http(file: Path, sqlite_url: str) -> AsyncIterator[AsyncClient]:
    with opened(sqlite_url) as log:
        app = FastAPI()
        app.state.engine, app.state.gateway = log.engine, Gateway(log)
        problems.install(app)
        for router in (*reading.routers, projects.router):
            app.include_router(router)
        overwrite(file)
        async with AsyncClient(transport=ASGITransport(app), base_url="http://localhost/api") as client:
            yield client


async def test_it_is_told_by_http_without_a_path(http: AsyncClient, file: Path) -> None:
    for answer in (await http.get("/projects"), await http.post("/projects", json={"name": "lab"})):
        assert (answer.status_code, answer.json()["error_code"]) == (500, "database_damaged")
        assert answer.json()["detail"].startswith(MALFORMED)
        assert str(file) not in answer.text


def test_a_page_that_no_query_reads_is_found_and_the_log_gets_out(file: Path, sqlite_url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'evaluations'").fetchone()
    with file.open("r+b") as opened_file:
        opened_file.seek((root - 1) * PAGE)
        opened_file.write(b"\xff" * PAGE)
    with opened(sqlite_url) as log:
        finding = next(check_log(log))
        assert finding.what.startswith("The database file is damaged: *** in database main ***")
        assert finding.todo == "export the log, and import it into a new database; or restore a backup"
        assert export_to(log, tmp_path / "log.jsonl").events == 80


def test_damage_is_told_from_other_errors_on_both_databases() -> None:
    for raw in (psycopg.errors.DataCorrupted("invalid page"), psycopg.errors.IndexCorrupted("invalid page")):
        for error in (raw, DatabaseError("SELECT", {}, raw)):
            assert "invalid page" in str(database.damage(error))
    busy = sqlite3.OperationalError("database is locked")
    for error in (busy, OperationalError("SELECT", {}, busy), psycopg.errors.LockNotAvailable(), ValueError()):
        assert database.damage(error) is None
