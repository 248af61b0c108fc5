"""A start on an older release's database: a copy is kept, the tables are brought up to date, what is new is built."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, inspect, select, text

from actors.care.check import check_log
from actors.care.lines import Reader
from actors.care.opening import UpdateFailed, open_database
from actors.care.rows import continue_behind, put
from actors.log import Log
from actors.rebuild import rebuild
from domain.errors import Conflict, LogBusy, Unavailable
from projections import database, schema, tables
from settings import PROJECT
from tests.integration.care_kit import LASTING, OLDEST, opened, quiet, rows, tell
from tests.integration.log_kit import kept_from_writing

TABLES: dict[str, Any] = json.loads(OLDEST.with_suffix(".tables.json").read_text())


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = database.engine(database_url)
    yield made
    made.dispose()


def make_old(url: str, *, told: bool = True) -> None:
    """A database as the first release of 0.1.0 left it: the golden log, its claims, and views that are not built."""
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.attributes["url"] = url
    command.upgrade(config, "0001")
    if told:
        with closing(Log(url)) as log, OLDEST.open("rb") as file:
            with log.engine.begin() as connection:
                put(connection, Reader(file).events())
                continue_behind(connection, 80)
            rebuild(log, ["claims"])


def revision(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


def all_there_is(engine: Engine) -> dict[str, list[str]]:
    """Of whatever release the tables are."""
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        return {name: sorted(map(repr, connection.execute(text(f"SELECT * FROM {name}")))) for name in names}


def copies(url: str, storage: Path) -> list[Path]:
    path = database.sqlite_path(url)
    return sorted((path.parent if path else storage / "backups").glob("*before*"))


def test_an_older_database_is_copied_brought_up_to_date_and_built(
    database_url: str, engine: Engine, storage: Path
) -> None:
    make_old(database_url)
    said: list[str] = []
    open_database(database_url, storage, said.append)
    assert revision(engine) == schema.HEAD
    (copy,) = copies(database_url, storage)
    assert said == [
        f"The database is an older release's (revision 0001). A copy is kept: {copy}",
        f"The database is up to date (revision {schema.HEAD}).",
    ]
    with closing(Log(database_url)) as log:
        made = json.loads(json.dumps(rows(log, *(table for table in LASTING if table is not tables.events))))
        assert made == TABLES
        assert list(check_log(log)) == []
    open_database(database_url, storage, said.append)
    assert (len(said), copies(database_url, storage)) == (2, [copy])


def test_the_copy_of_a_file_is_the_file_as_it_was(sqlite_url: str, storage: Path) -> None:
    make_old(sqlite_url)
    open_database(sqlite_url, storage, quiet)
    (copy,) = copies(sqlite_url, storage)
    with closing(sqlite3.connect(copy)) as old:
        assert old.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        assert old.execute("SELECT count(*) FROM geti_events").fetchone() == (80,)
        assert old.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_copy_of_a_server_s_database_is_its_log(postgresql_url: str, sqlite_url: str, storage: Path) -> None:
    make_old(postgresql_url)
    open_database(postgresql_url, storage, quiet)
    (copy,) = copies(postgresql_url, storage)
    assert b'"revision":"0001"' in copy.read_bytes().splitlines()[0]
    with opened(postgresql_url) as log, opened(sqlite_url) as other:
        tell(other, copy)
        assert rows(other) == rows(log)


def test_nothing_is_kept_of_a_database_that_holds_nothing(database_url: str, engine: Engine, storage: Path) -> None:
    make_old(database_url, told=False)
    said: list[str] = []
    open_database(database_url, storage, said.append)
    assert (revision(engine), copies(database_url, storage), said) == (schema.HEAD, [], [])


FAILING = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "9999", "{head}"

def upgrade():
    op.create_table("half_made", sa.Column("id", sa.Integer(), primary_key=True))
    op.execute("DELETE FROM geti_events")
    raise ValueError("no such lens")

def downgrade():
    pass
"""


def test_a_migration_that_fails_leaves_everything_as_it_was(
    database_url: str, engine: Engine, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(database_url)
    before = all_there_is(engine)
    head = schema.HEAD
    with monkeypatch.context() as later:
        migrations = Path(shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations"))
        (migrations / "versions" / "9999.py").write_text(FAILING.format(head=head))
        later.setattr(schema, "MIGRATIONS", migrations)
        later.setattr(schema, "HEAD", "9999")
        with pytest.raises(UpdateFailed) as failed:
            open_database(database_url, storage, quiet)
    (copy,) = copies(database_url, storage)
    for part in ("no such lens", "is as it was", str(copy), "9999"):
        assert part in failed.value.detail
    assert revision(engine) == "0001"
    assert not {"half_made", "snapshots"} & set(inspect(engine).get_table_names())
    assert all_there_is(engine) == before
    open_database(database_url, storage, quiet)  # the release before it still starts
    assert revision(engine) == head


def test_without_a_copy_nothing_is_touched(database_url: str, engine: Engine, storage: Path) -> None:
    make_old(database_url)
    path = database.sqlite_path(database_url)
    if path:
        path.with_name(f"{path.name}.before-{schema.HEAD}").mkdir()  # in its way
    else:
        storage.touch()
    with pytest.raises(Unavailable, match="copy"):
        open_database(database_url, storage, quiet)
    assert revision(engine) == "0001"


def test_while_an_older_release_writes_nothing_is_touched(
    postgresql_url: str, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(postgresql_url)
    monkeypatch.setattr(database, "POSTGRESQL_OPTIONS", "-c lock_timeout=200ms")
    with kept_from_writing(postgresql_url), pytest.raises(LogBusy, match="stop the older release's servers"):
        open_database(postgresql_url, storage, quiet)
    assert copies(postgresql_url, storage) == []
    monkeypatch.undo()
    open_database(postgresql_url, storage, quiet)
    assert len(copies(postgresql_url, storage)) == 1


def test_a_newer_release_s_database_is_refused(database_url: str, engine: Engine, storage: Path) -> None:
    schema.upgrade(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '7777'"))
    with pytest.raises(Conflict, match=r"7777.*newer"):
        open_database(database_url, storage, quiet)
    with pytest.raises(Conflict):
        schema.check(database_url)
    assert revision(engine) == "7777"


@pytest.mark.slow
def test_of_two_that_start_at_once_one_makes_the_copy(sqlite_url: str, storage: Path) -> None:
    make_old(sqlite_url)
    arguments = f"{sqlite_url!r}, pathlib.Path({str(storage)!r}), print"
    code = f"import pathlib; from actors.care.opening import open_database; open_database({arguments})"
    command_line = [sys.executable, "-c", code]
    started = [
        subprocess.Popen(command_line, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert sum("A copy is kept" in out for out, _ in said) == 1
    assert len(copies(sqlite_url, storage)) == 1
    with closing(Log(sqlite_url)) as log, log.engine.connect() as connection:
        assert len(connection.execute(select(tables.events)).all()) == 80
        assert list(check_log(log)) == []
