"""A dataset with files, on a real log: what the tests of what can be done with one begin with."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from actors import operation
from actors.log import Log
from actors.routes import datasets, episodes, operations
from settings import Settings
from tests.integration.care_kit import adopted, opened


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "storage"
    for module in (operation, operations, episodes, datasets):
        monkeypatch.setattr(module, "settings", lambda: Settings(storage_dir=folder))
    return folder


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[Log]:
    with opened(database_url) as made:
        yield made


@pytest.fixture
async def ids(log: Log, storage: Path, tmp_path: Path) -> list[UUID]:
    """Three episodes of 5, 6 and 7 rows, in version 3 of the dataset."""
    return await asyncio.to_thread(adopted, log, storage, tmp_path / "lost")
