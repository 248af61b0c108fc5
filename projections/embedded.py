"""A PostgreSQL server of our own, for those who want one and have none: its binaries come as a Python package."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domain.errors import Unavailable
from settings import EMBEDDED_POSTGRES, PROJECT, settings

FOLDER = PROJECT / "data" / "postgres"


@contextmanager
def embedded(folder: Path | None = None) -> Iterator[None]:
    """While this lasts the DATABASE_URL ``embedded-postgres`` is that of a real server, which ends with the last
    process that uses it; its data is in ``folder`` (else ``FOLDER``). Does nothing for another DATABASE_URL. Raises
    Unavailable."""
    if settings().database_url != EMBEDDED_POSTGRES:
        yield
        return
    folder = folder or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")  # a server has no login session
            from embedded_postgres import get_server

            server = get_server(folder, cleanup_mode="stop")
    except Exception as error:
        raise Unavailable(f"PostgreSQL does not start in {folder}: {error} Its own log is there, too.") from error
    os.environ["DATABASE_URL"] = server.get_uri()
    settings.cache_clear()
    try:
        yield
    finally:
        server.cleanup()
