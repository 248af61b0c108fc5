"""DATABASE_URL=embedded-postgres: a real server for as long as a command runs, and the same data the next time."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest
from alembic import command
from alembic.config import Config

from actors.log import Log
from projections import database, schema
from projections.embedded import embedded
from settings import settings
from tests.integration.log_kit import new_project


@pytest.fixture
def folder() -> Iterator[Path]:
    """Outside pytest's own: the server may run as another user, who must be able to enter."""
    made = Path(mkdtemp(prefix="geti-embedded-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DATABASE_URL", "embedded-postgres")
    settings.cache_clear()
    yield
    settings.cache_clear()


async def test_what_was_written_is_there_the_next_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 2):
        monkeypatch.setenv("DATABASE_URL", "embedded-postgres")
        settings.cache_clear()
        with embedded(folder):
            url = settings().database_url
            schema.upgrade(url)
            log = Log(url)
            await log.append(new_project())
            assert log.position() == count
            log.close()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(database.engine(url).url.set(drivername="postgresql").render_as_string(False))


def test_another_database_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:///./other.db")
    settings.cache_clear()
    with embedded(folder):
        assert settings().database_url == "sqlite:///./other.db"
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_alembic_s_own_words_work_with_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.embedded.FOLDER", folder)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    for word in (partial(command.upgrade, revision="head"), command.check, partial(command.downgrade, revision="base")):
        monkeypatch.setenv("DATABASE_URL", "embedded-postgres")
        settings.cache_clear()
        word(config)
