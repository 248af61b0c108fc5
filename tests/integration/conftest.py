"""Real databases: a SQLite file always, and a PostgreSQL server of our own, started once and stopped."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.integration.dataset_kit import ids, log, storage
from tests.integration.operation_kit import client
from tests.postgresql import new_database, postgresql

__all__ = ["client", "ids", "log", "storage"]

NewDatabase = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a running PostgreSQL server."""
    with postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def new_postgresql(postgresql_server: str) -> NewDatabase:
    """Makes a new, empty PostgreSQL database for one ``with``."""
    return partial(new_database, postgresql_server)


@pytest.fixture
def postgresql_url(new_postgresql: NewDatabase) -> Iterator[str]:
    """The URL of a new, empty PostgreSQL database."""
    with new_postgresql() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite database that is not there yet."""
    return f"sqlite+aiosqlite:///{tmp_path / 'geti_action.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Each test that asks for this runs on both databases."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
