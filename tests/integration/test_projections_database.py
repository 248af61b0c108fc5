"""The connections as the log and the GETs use them."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from actors.log import Log
from domain.errors import LogBusy
from projections import database, schema
from projections.tables import positions
from settings import PROJECT
from tests.integration.log_kit import new_project


def test_sqlite_is_durable_and_its_readers_never_wait(sqlite_url: str) -> None:
    schema.upgrade(sqlite_url)
    engine = database.engine(sqlite_url)
    with engine.connect() as connection:
        said = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")}
        assert said == {"journal_mode": "wal", "synchronous": 2}
    with engine.connect() as writer, engine.connect() as reader:
        database.begin_immediate(writer)
        writer.execute(positions.update().values(position=7))
        assert set(reader.scalars(positions.select().with_only_columns(positions.c.position))) == {0}
    engine.dispose()


def test_a_reader_sees_one_state_in_all_its_selects(sqlite_url: str) -> None:
    schema.upgrade(sqlite_url)
    engine = database.engine(sqlite_url)
    count = positions.select().with_only_columns(positions.c.position).limit(1)
    with engine.connect() as reader:
        before = reader.scalar(count)
        with engine.connect() as writer, database.begin_immediate(writer):
            writer.execute(positions.update().values(position=7))
        assert reader.scalar(count) == before
        reader.rollback()
        assert reader.scalar(count) == 7
    engine.dispose()


def test_the_writer_has_the_lock_from_the_beginning(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 1)
    schema.upgrade(sqlite_url)
    engine = database.engine(sqlite_url)
    with engine.connect() as first, engine.connect() as second:
        database.begin_immediate(first)
        with pytest.raises(OperationalError, match="locked"):
            database.begin_immediate(second)
        first.rollback()
        database.begin_immediate(second)
    engine.dispose()


def test_postgresql_lets_no_holder_stop_the_others(postgresql_url: str) -> None:
    engine = database.engine(postgresql_url)
    with engine.connect() as connection:
        names = ("lock_timeout", "idle_in_transaction_session_timeout")
        waits = {name: connection.scalar(text(f"SHOW {name}")) for name in names}
    assert waits == {"lock_timeout": "5s", "idle_in_transaction_session_timeout": "4s"}
    engine.dispose()


def test_who_is_not_asked_by_many_keeps_no_connection_but_the_writers(postgresql_url: str) -> None:
    schema.upgrade(postgresql_url)
    mine = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
    watcher = database.engine(postgresql_url)
    for pooled, kept in ((False, 1), (True, 2)):
        log = Log(postgresql_url, pooled=pooled)
        asyncio.run(log.append(new_project("pooled" if pooled else "not pooled")))
        log.position()
        with watcher.connect() as connection:
            assert connection.scalar(mine) == kept
        log.close()


def test_the_file_of_a_process_that_was_killed_is_made_whole(sqlite_url: str, tmp_path: Path) -> None:
    schema.upgrade(sqlite_url)
    words = (
        "import os; from projections import database; from projections.tables import positions;"
        f"connection = database.engine({sqlite_url!r}).connect(); transaction = connection.begin();"
        "connection.execute(positions.update().values(position=7)); transaction.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", words], cwd=PROJECT, check=True)
    path, copy = tmp_path / "geti_action.db", tmp_path / "copy.db"

    def held_by_the_file_alone() -> set[int]:
        shutil.copy(path, copy)
        with closing(sqlite3.connect(copy)) as connection:
            return {row[0] for row in connection.execute("SELECT position FROM positions")}

    assert held_by_the_file_alone() == {0}
    database.make_whole(sqlite_url)
    assert held_by_the_file_alone() == {7}
    database.make_whole(f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()


def test_one_process_at_a_time_is_let_in(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.05)
    with database.exclusive(sqlite_url), pytest.raises(LogBusy), database.exclusive(sqlite_url):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["geti_action.db.lockfile"]
    with database.exclusive(sqlite_url):
        pass


def test_who_waits_is_let_in_when_the_other_is_done(sqlite_url: str) -> None:
    order: list[str] = []

    def second() -> None:
        with database.exclusive(sqlite_url):
            order.append("second")

    with database.exclusive(sqlite_url):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.1)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
