"""What a replica does when it starts, on a real database. No Ray runs here, and nothing is going on that needs one."""

from pathlib import Path

import pytest
from fastapi import FastAPI

import serve_app
from actors.log import Log, now
from actors.sample import sample, sample_id
from domain.dataset import Dataset
from settings import Settings
from tests.integration.log_kit import Rows, contents


async def after_a_start(config: Settings, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """All that the database holds then."""
    monkeypatch.setattr(serve_app, "settings", lambda: config)
    async with serve_app.lifespan(FastAPI()):
        pass
    log = Log(config.database_url)
    found = contents(log)
    log.close()
    return found


async def test_seed_db_makes_the_sample_cell_once(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Settings(database_url=database_url, storage_dir=tmp_path, seed_db=False)
    seeding = plain.model_copy(update={"seed_db": True})
    assert (await after_a_start(plain, monkeypatch))["geti_events"] == []
    seeded = await after_a_start(seeding, monkeypatch)
    assert len(seeded["geti_events"]) == len(sample())
    assert "Sample cell" in str(seeded["projects"])
    assert await after_a_start(seeding, monkeypatch) == seeded


async def test_seed_db_leaves_deleted_what_was_deleted_since(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeding = Settings(database_url=database_url, storage_dir=tmp_path, seed_db=True)
    await after_a_start(seeding, monkeypatch)
    log = Log(database_url)
    dataset = log.load(Dataset, sample_id("dataset"))
    dataset.delete(now())
    await log.append(dataset)
    before = contents(log)
    assert before["datasets"] == []
    assert await after_a_start(seeding, monkeypatch) == before
    log.close()
