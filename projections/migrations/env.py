"""Alembic's entry. The database is the one of the settings, unless the caller names another (``attributes["url"]``)."""

from logging.config import fileConfig
from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy_utils import UUIDType

from projections import database, schema
from projections.embedded import embedded
from projections.tables import Timestamp, events, metadata
from settings import settings

ADVISORY_LOCK = 7_310_250_214_880_511_233
"""Any number, the same in every process: PostgreSQL lets one migration run at a time."""


def migrate(url: str) -> None:
    engine = database.engine(url)
    try:
        with database.exclusive(url), engine.connect() as connection, database.begin_immediate(connection):
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            _prepare(connection)
            _run(connection)
    finally:
        engine.dispose()


def _prepare(connection: Connection) -> None:
    """Whoever upgrades an older release's database may look at it first, while nobody writes (alembic's own commands
    have nothing to do before)."""
    before = context.config.attributes.get("before")
    revision = MigrationContext.configure(connection).get_current_revision()
    if before is None or revision is None or revision == context.get_head_revision():
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {events.name} IN EXCLUSIVE MODE"))
    before(connection, revision)


def _run(connection: Connection) -> None:
    """All pending revisions in one transaction: a migration that is killed leaves nothing behind."""
    sqlite = connection.dialect.name == "sqlite"
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=sqlite,
        compare_type=schema.differs,
        render_item=_render,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _render(kind: str, item: Any, autogenerating: AutogenContext) -> str | Literal[False]:
    """Revisions stand by themselves: they name no type of ours, which may change after them."""
    if kind == "type" and isinstance(item, Timestamp):
        return "sa.Text()"
    if kind == "type" and isinstance(item, UUIDType):
        autogenerating.imports.add("from sqlalchemy_utils import UUIDType")
        return "UUIDType()"
    return False


# A caller that is a program has no ini file, and keeps the logging it set up.
if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)
if url := context.config.attributes.get("url"):
    migrate(url)
else:
    with embedded():
        migrate(settings().database_url)
