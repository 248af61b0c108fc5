"""The schema: made, unmade and checked by Alembic, the same as the tables say and as the recorder needs."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from eventsourcing.persistence import StoredEvent  # noqa: TID251 - compares with the recorder itself
from eventsourcing_sqlalchemy.datastore import SQLAlchemyDatastore
from eventsourcing_sqlalchemy.recorders import SQLAlchemyApplicationRecorder
from sqlalchemy import Engine, MetaData, Table, inspect
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import sessionmaker
from sqlalchemy.schema import CreateIndex, CreateTable

from actors.log import Log
from projections import database, schema, tables
from projections.views import VIEWS
from settings import PROJECT
from tests.integration.log_kit import contents, new_project
from tests.story import named

ALEMBIC = (sys.executable, "-m", "alembic", "-c", str(PROJECT / "alembic.ini"))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = database.engine(database_url)
    yield made
    made.dispose()


def _alembic(url: str, folder: Path, *words: str) -> None:
    done = _ran(url, folder, *words)
    assert done.returncode == 0, done.stderr


def _ran(url: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE_URL": url, "PYTHONPATH": str(PROJECT)}
    return subprocess.run((*ALEMBIC, *words), cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def _ddl(table: Table, engine: Engine) -> str:
    statements = [CreateTable(table), *(CreateIndex(index) for index in table.indexes)]
    return "\n".join(str(statement.compile(engine)) for statement in statements)


@pytest.mark.slow
def test_alembic_works_from_any_folder(database_url: str, engine: Engine, tmp_path: Path) -> None:
    _alembic(database_url, tmp_path, "upgrade", "head")
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.attributes["url"] = database_url
    command.check(config)  # raises where the tables of the code are others
    command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    schema.upgrade(database_url)
    assert set(inspect(engine).get_table_names()) == {*tables.metadata.tables, "alembic_version"}


@pytest.mark.slow
async def test_a_log_is_deleted_only_by_who_says_so(database_url: str, engine: Engine, tmp_path: Path) -> None:
    schema.upgrade(database_url)
    with closing(Log(database_url)) as log:
        await log.append(new_project())
        before = contents(log)
        refused = _ran(database_url, tmp_path, "downgrade", "base")
        assert refused.returncode != 0
        assert "the whole log, 1 events, for good" in refused.stdout + refused.stderr
        assert "Traceback" not in refused.stdout + refused.stderr
        assert contents(log) == before  # nor is any other revision undone
    _alembic(database_url, tmp_path, "-x", "drop_log=yes", "downgrade", "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]


@pytest.mark.slow
def test_a_changed_table_gives_a_revision_that_stands_by_itself(sqlite_url: str, tmp_path: Path) -> None:
    """Into a folder of its own: the real one is not written to."""
    versions = tmp_path / "versions"
    versions.mkdir()
    ini = tmp_path / "alembic.ini"
    text = (PROJECT / "alembic.ini").read_text().replace("%(here)s", str(PROJECT))
    ini.write_text(text.replace("[alembic]", f"[alembic]\nversion_locations = {versions}"))
    words = ("-c", str(ini), "revision", "--autogenerate", "-m", "all anew")
    environment = os.environ | {"DATABASE_URL": sqlite_url, "PYTHONPATH": str(PROJECT)}
    subprocess.run((sys.executable, "-m", "alembic", *words), cwd=tmp_path, env=environment, check=True, timeout=120)
    (revision,) = versions.glob("*.py")
    assert "projections" not in revision.read_text()
    compile(revision.read_text(), str(revision), "exec")


def test_the_recorder_finds_the_table_it_would_have_made(database_url: str, engine: Engine) -> None:
    made = SQLAlchemyApplicationRecorder(SQLAlchemyDatastore(url=str(engine.url)), events_table_name="geti_events")
    assert _ddl(made.tables[0], engine) == _ddl(tables.events, engine)
    schema.upgrade(database_url)
    reflected = Table("geti_events", MetaData(), autoload_with=engine)
    columns = {column.name: (repr(column.type), column.nullable) for column in reflected.c}
    tables.events.drop(engine)
    made.tables[0].create(engine)
    theirs = Table("geti_events", MetaData(), autoload_with=engine)
    assert columns == {column.name: (repr(column.type), column.nullable) for column in theirs.c}
    assert [index.name for index in reflected.indexes] == [index.name for index in theirs.indexes]


def test_the_recorder_writes_and_our_table_reads(database_url: str, engine: Engine) -> None:
    schema.upgrade(database_url)
    recorder = SQLAlchemyApplicationRecorder(
        SQLAlchemyDatastore(session_maker=sessionmaker(engine)), events_table_name="geti_events"
    )
    assert recorder.insert_events([StoredEvent(named("a"), 1, "topic", b"state")]) == [1]
    with engine.connect() as connection:
        (row,) = connection.execute(tables.events.select().where(tables.events.c.originator_id == named("a")))
    assert (row.id, row.originator_id, row.originator_version, bytes(row.state)) == (1, named("a"), 1, b"state")


def test_an_upgrade_makes_every_table_and_says_where_the_views_are(database_url: str, engine: Engine) -> None:
    schema.upgrade(database_url)
    with engine.connect() as connection:
        known = {row.view: row.position for row in connection.execute(tables.positions.select())}
    assert known == dict.fromkeys(VIEWS, 0)


def test_an_upgrade_leaves_the_logging_alone(sqlite_url: str) -> None:
    before = (logging.root.level, list(logging.root.handlers), logging.getLogger("alembic").level)
    schema.upgrade(sqlite_url)
    assert before == (logging.root.level, list(logging.root.handlers), logging.getLogger("alembic").level)


@pytest.mark.slow
def test_two_processes_may_upgrade_at_once(database_url: str, engine: Engine) -> None:
    code = f"from projections import schema; schema.upgrade({database_url!r})"
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT) for _ in range(2)]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    assert set(inspect(engine).get_table_names()) == {*tables.metadata.tables, "alembic_version"}


def test_a_claim_has_one_exclusive_holder_and_any_number_of_shared_ones(database_url: str, engine: Engine) -> None:
    schema.upgrade(database_url)
    claim = {"key": "k", "slot": "s", "label": "", "since": "2026-11-01T00:00:00.000000Z", "position": 1}
    with engine.begin() as connection:
        for owner in ("a:1", "b:2"):
            connection.execute(tables.claims.insert(), {**claim, "owner": owner, "shared": True})
        connection.execute(tables.claims.insert(), {**claim, "owner": "c:3", "shared": False})
    with engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(tables.claims.insert(), {**claim, "owner": "d:4", "shared": False})


def test_the_head_that_is_known_without_alembic_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]
