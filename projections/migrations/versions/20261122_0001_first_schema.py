"""The first schema: the log, its claims and answers, and one table or two for each view."""

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from alembic.util import CommandError
from sqlalchemy_utils import UUIDType

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
VIEWS = ("projects", "cameras", "robots", "environments", "datasets", "episodes", "recordings", "jobs", "models")
TABLES = (*VIEWS, "recording_episodes", "evaluations", "positions", "idempotency", "claims", "geti_events")


def upgrade() -> None:
    _events()
    _claims()
    _idempotency()
    _positions()
    _projects()
    _devices()
    _datasets()
    _recordings()
    _learning()


def downgrade() -> None:
    """Raises CommandError where there are events: the log is what everything else is made of."""
    events = op.get_bind().scalar(sa.text("SELECT count(*) FROM geti_events"))
    if events and context.get_x_argument(as_dictionary=True).get("drop_log") != "yes":
        raise CommandError(
            f"This would delete the whole log, {events} events, for good. Make a copy (geti-action backup), and say "
            "that you mean it: alembic -x drop_log=yes downgrade base"
        )
    for table in TABLES:
        op.drop_table(table)


def _columns(type_: Any, names: str, *, nullable: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, type_, nullable=nullable) for name in names.split()]


def _texts(names: str, *, nullable: bool = False) -> list[sa.Column[Any]]:
    return _columns(sa.Text(), names, nullable=nullable)


def _view(name: str, *columns: sa.Column[Any]) -> None:
    """A view of aggregates: one row each, found by its id or by its project."""
    version, position = sa.Column("version", sa.Integer(), nullable=False), sa.Column("position", BIG, nullable=False)
    op.create_table(name, *_texts("id"), *columns, version, position, sa.PrimaryKeyConstraint("id"))
    if any(column.name == "project_id" for column in columns):
        op.create_index(f"ix_{name}_project_id", name, ["project_id"])


def _events() -> None:
    op.create_table(
        "geti_events",
        sa.Column("id", BIG, primary_key=True, autoincrement=True),
        sa.Column("originator_id", UUIDType(), nullable=False),
        sa.Column("originator_version", BIG, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
    )
    aggregate = ["originator_id", "originator_version"]
    op.create_index("geti_events_aggregate_idx", "geti_events", aggregate, unique=True)


def _claims() -> None:
    op.create_table(
        "claims",
        *_texts("key owner slot"),
        sa.Column("shared", sa.Boolean(), nullable=False),
        *_texts("label since"),
        sa.Column("position", BIG, nullable=False),
        sa.PrimaryKeyConstraint("key", "owner"),
    )
    exclusive = sa.column("shared", sa.Boolean()).is_(False)
    op.create_index(
        "claims_exclusive_idx", "claims", ["key"], unique=True, sqlite_where=exclusive, postgresql_where=exclusive
    )
    op.create_index("claims_owner_idx", "claims", ["owner"])


def _idempotency() -> None:
    op.create_table(
        "idempotency",
        *_texts("scope key body_sha256"),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        *_texts("created_at"),
        sa.Column("position", BIG, nullable=False),
        sa.PrimaryKeyConstraint("scope", "key"),
    )


def _positions() -> None:
    table = op.create_table(
        "positions",
        sa.Column("view", sa.Text(), primary_key=True),
        sa.Column("position", BIG, nullable=False),
        *_texts("parked_reason", nullable=True),
    )
    op.bulk_insert(table, [{"view": view, "position": 0, "parked_reason": None} for view in VIEWS])


def _projects() -> None:
    _view("projects", *_texts("name created_at updated_at"))


def _devices() -> None:
    _view(
        "cameras",
        *_texts("project_id name driver fingerprint"),
        sa.Column("payload", sa.JSON(), nullable=False),
        *_texts("status"),
        *_texts("reason", nullable=True),
        *_columns(sa.Integer(), "width height", nullable=True),
        *_texts("node", nullable=True),
        *_texts("since created_at updated_at"),
    )
    payload = sa.Column("payload", sa.JSON(), nullable=False)
    _view("robots", *_texts("project_id name type"), payload, *_texts("connection_status created_at"))
    parts = _columns(sa.JSON(), "robots camera_ids")
    _view("environments", *_texts("project_id name"), *parts, *_texts("created_at"))


def _datasets() -> None:
    _view(
        "datasets",
        *_texts("project_id environment_id name default_task"),
        *_columns(sa.Integer(), "episodes"),
        *_columns(BIG, "frames"),
        *_columns(sa.Integer(), "fps", nullable=True),
        *_columns(BIG, "size_bytes"),
        *_texts("created_at"),
    )
    op.create_table(
        "episodes",
        *_texts("dataset_id id recording_id"),
        *_columns(sa.Integer(), "episode_index"),
        *_texts("task"),
        *_columns(sa.Integer(), "length fps"),
        *_columns(sa.Float(), "measured_fps duration_s"),
        *_columns(sa.Integer(), "dropped stale repeated"),
        *_columns(BIG, "size_bytes"),
        *_texts("sha256"),
        *_columns(sa.Boolean(), "success", nullable=True),
        *_columns(sa.JSON(), "tags"),
        *_texts("note"),
        *_texts("suspect", nullable=True),
        *_texts("created_at"),
        *_columns(BIG, "position"),
        sa.PrimaryKeyConstraint("dataset_id", "id"),
    )


def _recordings() -> None:
    _view(
        "recordings",
        *_texts("project_id environment_id"),
        *_texts("dataset_id", nullable=True),
        *_columns(sa.Integer(), "fps"),
        *_texts("task state"),
        *_texts("reason", nullable=True),
        *_texts("source created_at"),
    )
    op.create_table(
        "recording_episodes",
        *_texts("recording_id id"),
        *_columns(sa.Integer(), "number"),
        *_texts("state task"),
        *_columns(sa.Integer(), "rows", nullable=True),
        *_texts("reason", nullable=True),
        *_texts("started_at"),
        *_columns(BIG, "position"),
        sa.PrimaryKeyConstraint("recording_id", "id"),
    )


def _learning() -> None:
    _view(
        "jobs",
        *_texts("project_id type status"),
        *_columns(sa.Integer(), "progress"),
        *_texts("message"),
        *_texts("reason", nullable=True),
        *_columns(sa.Integer(), "attempt"),
        *_columns(sa.JSON(), "extra_info payload"),
        *_texts("created_at"),
        *_texts("start_time end_time model_id", nullable=True),
    )
    _view(
        "models",
        *_texts("project_id name policy dataset_id"),
        *_columns(sa.Integer(), "dataset_version"),
        *_texts("train_job_id"),
        *_columns(sa.JSON(), "metrics exports"),
        *_texts("created_at"),
    )
    op.create_table(
        "evaluations",
        *_texts("model_id job_id environment"),
        sa.Column("rollouts", sa.JSON(), nullable=False),
        *_texts("created_at"),
        *_columns(BIG, "position"),
        sa.PrimaryKeyConstraint("model_id", "job_id"),
    )
