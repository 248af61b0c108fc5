"""Tables that are not as the revisions have made them are told, and the log can be got out all the same."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy import text

from actors.answers import Once
from actors.care import lines
from actors.care.check import check_log
from actors.care.check_files import check_files
from actors.care.exporting import export_to
from actors.gateway import Gateway
from actors.log import Log
from actors.rebuild import rebuild
from actors.routes import problems, projects
from domain.errors import Conflict
from projections import schema
from tests.integration.care_kit import opened, quiet, tell
from tests.integration.log_kit import new_project


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    with opened(database_url) as made:
        tell(made)
        yield made


def found(log: Log) -> list[str]:
    return [str(finding) for finding in check_log(log)]


def change(log: Log, *statements: str) -> None:
    with log.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


TRIGGER = {
    "sqlite": ["CREATE TRIGGER foreign_one AFTER INSERT ON geti_events BEGIN SELECT 1; END"],
    "postgresql": [
        "CREATE FUNCTION nothing() RETURNS trigger AS 'BEGIN RETURN NEW; END' LANGUAGE plpgsql",
        "CREATE TRIGGER foreign_one AFTER INSERT ON geti_events FOR EACH ROW EXECUTE FUNCTION nothing()",
    ],
}


def test_what_the_revisions_have_made_differs_in_nothing(log: Log) -> None:
    with log.engine.connect() as connection:
        assert schema.differences(connection) == []
    assert found(log) == []


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DROP INDEX claims_exclusive_idx", "index claims_exclusive_idx is missing"),
        ("DROP INDEX geti_events_aggregate_idx", "index geti_events_aggregate_idx is missing"),
        ("ALTER TABLE cameras ADD COLUMN more TEXT", "column more of cameras is none of ours"),
    ],
)
def test_an_index_that_is_gone_and_what_is_none_of_ours_are_told(log: Log, statement: str, told: str) -> None:
    change(log, statement)
    finding = f"The tables are not what they should be: {told} -> export the log, and import it into a new database"
    assert finding in found(log)


ON_POSTGRESQL = {
    "ALTER TABLE geti_events DROP CONSTRAINT geti_events_pkey": "primary key of geti_events is not what it should be",
    "ALTER TABLE idempotency DROP CONSTRAINT idempotency_pkey": "primary key of idempotency is not what it should be",
    "ALTER TABLE jobs ADD CONSTRAINT named CHECK (type <> '')": "check constraint named of jobs is none of ours",
    "CREATE RULE nothing AS ON INSERT TO projects DO INSTEAD NOTHING": "rule nothing of projects is none of ours",
    "INSERT INTO alembic_version VALUES ('0001')": "table alembic_version has not one row",
    "ALTER SEQUENCE geti_events_id_seq OWNED BY NONE": "column id of geti_events has no sequence of its own",
    "DROP SEQUENCE geti_events_id_seq CASCADE": "column id of geti_events has no sequence of its own",
}


@pytest.mark.parametrize("statement", ON_POSTGRESQL)
def test_a_rule_that_is_gone_or_none_of_ours_is_told(postgresql_url: str, statement: str) -> None:
    """SQLite has no words to change these."""
    with opened(postgresql_url) as log:
        tell(log)
        change(log, statement)
        assert any(ON_POSTGRESQL[statement] in each for each in found(log))


@pytest.mark.parametrize("table", ["projects", "jobs", "claims"])
def test_a_column_that_is_gone_is_told_and_nothing_is_rebuilt(log: Log, tmp_path: Path, table: str) -> None:
    column = {"projects": "name", "jobs": "reason", "claims": "label"}[table]
    cascade = "CASCADE" if log.engine.dialect.name == "postgresql" else ""
    change(log, f"ALTER TABLE {table} DROP COLUMN {column} {cascade}")
    assert any(f"column {column} of {table} is missing" in each for each in found(log))
    with pytest.raises(Conflict, match=f"The table {table} is missing, or a column of it"):
        rebuild(log)
    assert str(*check_files(log, tmp_path)).startswith("Files were not compared with the log")
    assert export_to(log, tmp_path / "log.jsonl", quiet).events == log.position()


def test_a_foreign_trigger_is_told(log: Log) -> None:
    change(log, *TRIGGER[log.engine.dialect.name])
    assert any("trigger foreign_one is none of ours" in each for each in found(log))


@pytest.mark.parametrize("table", ["jobs", "claims", "idempotency", "snapshots", "positions"])
def test_a_table_that_is_gone_is_told_and_the_log_gets_out(log: Log, tmp_path: Path, table: str) -> None:
    change(log, f"DROP TABLE {table}")
    *findings, compared = found(log)
    (finding,) = (each for each in findings if f"table {table} " in each)
    assert compared.startswith("Claims and views were not compared -> export the log")
    assert finding.startswith(f"The tables are not what they should be: table {table} is missing -> export the log")
    written = export_to(log, tmp_path / "log.jsonl", quiet)
    assert written.events == log.position()


def test_without_the_log_nothing_else_is_told(log: Log) -> None:
    change(log, "DROP TABLE geti_events")
    *others, last = found(log)
    assert any("table geti_events is missing" in each for each in others)
    assert last == "There is no log in this database -> restore a backup"


def test_a_database_that_does_not_say_its_release_is_told(log: Log, database_url: str) -> None:
    change(log, "DELETE FROM alembic_version")
    for look in (schema.check, schema.upgrade):
        with pytest.raises(Conflict, match="alembic_version is empty"):
            look(database_url)


@pytest.mark.parametrize("damage", ["answer = '{{{'", "answer = '[]'", "status = NULL, held_until = NULL"])
async def test_a_damaged_answer_is_told_to_who_repeats_and_by_the_check(log: Log, damage: str) -> None:
    if log.engine.dialect.name == "postgresql":
        damage = damage.replace("'{{{'", "'{}'")  # it lets no text into the column that is no JSON
    app = FastAPI()
    app.state.engine, app.state.gateway = log.engine, Gateway(log)
    problems.install(app)
    app.include_router(projects.router)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://localhost") as client:
        body, key = {"name": "kept"}, {"Idempotency-Key": "once"}
        assert (await client.post("/api/projects", json=body, headers=key)).status_code == 201
        change(log, f"UPDATE idempotency SET {damage}")
        again = await client.post("/api/projects", json=body, headers=key)
        assert (again.status_code, again.json()["error_code"]) == (500, "database_damaged")
        assert "use a new key" in again.json()["detail"]
    assert any("The answers to 1 Idempotency-Keys are damaged" in each for each in await asyncio.to_thread(found, log))


@pytest.mark.parametrize(
    "damage", ["created_at = 'yesterday'", "position = -1", 'answer = \'{"version": "1", "body": null}\'']
)
def test_a_damaged_answer_is_told_and_left_out_of_what_is_written(log: Log, tmp_path: Path, damage: str) -> None:
    once = [Once("POST /api/projects", key, "0" * 64, 201, lambda *_: {}) for key in ("a", "b")]
    for each in once:
        asyncio.run(log.append(new_project(each.key), once=each))
    change(log, f"UPDATE idempotency SET {damage} WHERE key = 'a'")
    assert any("The answers to 1 Idempotency-Keys are damaged" in each for each in found(log))
    export_to(log, tmp_path / "log.jsonl", quiet)
    with (tmp_path / "log.jsonl").open("rb") as file:
        reader = lines.Reader(file)
        assert len(list(reader.events())) == log.position()
        assert [answer.key for answer in reader.answers()] == ["b"]
