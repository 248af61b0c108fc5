"""Operations on datasets."""

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

TEXTS = ("id", "project_id", "kind", "status", "message", "created_at")


def upgrade() -> None:
    op.create_table(
        "operations",
        *(sa.Column(name, sa.Text(), nullable=False, primary_key=name == "id") for name in TEXTS),
        sa.Column("dataset_ids", sa.JSON(), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    )
    op.create_index("ix_operations_project_id", "operations", ["project_id"])
    op.execute("INSERT INTO positions (view, position) VALUES ('operations', 0)")


def downgrade() -> None:
    op.execute("DELETE FROM positions WHERE view = 'operations'")
    op.drop_table("operations")
