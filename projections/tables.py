"""Every table of the database: the log's own five, and the rows that the views keep. No foreign keys: a view must be
able to be emptied and folded anew by itself."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy_utils import UUIDType

metadata = MetaData()
Big = BigInteger().with_variant(Integer(), "sqlite")


def rfc3339(moment: datetime) -> str:
    """UTC with ``Z`` and always microseconds, so that the text sorts as the time does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Timestamp(TypeDecorator[str]):
    """A moment, kept as RFC 3339 text: what an answer shows, with nothing to convert on either database."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return rfc3339(value) if isinstance(value, datetime) else value


events = Table(
    "geti_events",
    metadata,
    Column("id", Big, primary_key=True, autoincrement=True),
    Column("originator_id", UUIDType(), nullable=False),
    Column("originator_version", Big, nullable=False),
    Column("topic", Text, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Index("geti_events_aggregate_idx", "originator_id", "originator_version", unique=True),
)
"""The log. Exactly the table that eventsourcing-sqlalchemy's recorder reads and writes for an application "geti"."""

snapshots = Table(
    "snapshots",
    metadata,
    Column("originator_id", UUIDType(), primary_key=True),
    Column("version", Big, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

claims = Table(
    "claims",
    metadata,
    Column("key", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("slot", Text, nullable=False),
    Column("shared", Boolean, nullable=False),
    Column("label", Text, nullable=False),
    Column("since", Timestamp, nullable=False),
    Column("position", Big, nullable=False),
    PrimaryKeyConstraint("key", "owner"),
    Index("claims_owner_idx", "owner"),
)
Index(
    "claims_exclusive_idx",
    claims.c.key,
    unique=True,
    sqlite_where=claims.c.shared.is_(False),
    postgresql_where=claims.c.shared.is_(False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("scope", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("body_sha256", Text, nullable=False),
    Column("status", Integer),
    Column("answer", JSON(none_as_null=True)),
    Column("created_at", Timestamp, nullable=False),
    Column("position", Big),
    Column("held_until", Timestamp),
    PrimaryKeyConstraint("scope", "key"),
)
"""What was answered to a key. While a command is carried out there is no answer yet, and somebody who holds the key."""

positions = Table(
    "positions",
    metadata,
    Column("view", Text, primary_key=True),
    Column("position", Big, nullable=False),
    Column("parked_reason", Text),
)
"""How far each view is. A revision that adds a view, or changes what its rows hold, leaves or takes away its row here:
then the next start builds the view from the log."""


def _last_change(*, versioned: bool = True) -> list[Column[Any]]:
    """``version`` is the aggregate's, for the ETag; ``position`` that of the event that last changed the row."""
    version: list[Column[Any]] = [Column("version", Integer, nullable=False)] if versioned else []
    return [*version, Column("position", Big, nullable=False)]


projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    *_last_change(),
)

cameras = Table(
    "cameras",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("driver", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("width", Integer),
    Column("height", Integer),
    Column("node", Text),
    Column("since", Timestamp, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    *_last_change(),
)

robots = Table(
    "robots",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("connection_status", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    *_last_change(),
)

environments = Table(
    "environments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("robots", JSON, nullable=False),
    Column("camera_ids", JSON, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    *_last_change(),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False, index=True),
    Column("environment_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("default_task", Text, nullable=False),
    Column("episodes", Integer, nullable=False),
    Column("frames", Big, nullable=False),
    Column("fps", Integer),
    Column("size_bytes", Big, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    *_last_change(),
)

episodes = Table(
    "episodes",
    metadata,
    Column("dataset_id", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("recording_id", Text, nullable=False),
    Column("episode_index", Integer, nullable=False),
    Column("task", Text, nullable=False),
    Column("length", Integer, nullable=False),
    Column("fps", Integer, nullable=False),
    Column("measured_fps", Float, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("dropped", Integer, nullable=False),
    Column("stale", Integer, nullable=False),
    Column("repeated", Integer, nullable=False),
    Column("size_bytes", Big, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("success", Boolean),
    Column("tags", JSON, nullable=False),
    Column("note", Text, nullable=False),
    Column("suspect", Text),
    Column("rating", Integer),
    Column("created_at", Timestamp, nullable=False),
    Column("deleted_at", Timestamp),
    *_last_change(versioned=False),
    PrimaryKeyConstraint("dataset_id", "id"),
)

recordings = Table(
    "recordings",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False, index=True),
    Column("environment_id", Text, nullable=False),
    Column("dataset_id", Text),
    Column("fps", Integer, nullable=False),
    Column("task", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("source", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("options", JSON(none_as_null=True)),
    *_last_change(),
)

recording_episodes = Table(
    "recording_episodes",
    metadata,
    Column("recording_id", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("rows", Integer),
    Column("reason", Text),
    Column("started_at", Timestamp, nullable=False),
    *_last_change(versioned=False),
    PrimaryKeyConstraint("recording_id", "id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False, index=True),
    Column("type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("progress", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Column("reason", Text),
    Column("attempt", Integer, nullable=False),
    Column("extra_info", JSON, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("start_time", Timestamp),
    Column("end_time", Timestamp),
    Column("model_id", Text),
    *_last_change(),
)

operations = Table(
    "operations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("dataset_ids", JSON, nullable=False),
    Column("status", Text, nullable=False),
    Column("progress", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("created_at", Timestamp, nullable=False),
    Column("ended_at", Timestamp),
    *_last_change(),
)

models = Table(
    "models",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("dataset_id", Text, nullable=False),
    Column("dataset_version", Integer, nullable=False),
    Column("train_job_id", Text, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("exports", JSON, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    *_last_change(),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("model_id", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("rollouts", JSON, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    *_last_change(versioned=False),
    PrimaryKeyConstraint("model_id", "job_id"),
)
