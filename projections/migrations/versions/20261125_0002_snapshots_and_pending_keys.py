"""Snapshots of long streams; keys of commands that are still being carried out."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy_utils import UUIDType

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FILLED_IN_LATER = {"status": sa.Integer(), "answer": sa.JSON(), "position": BIG}


def upgrade() -> None:
    op.create_table(
        "snapshots",
        sa.Column("originator_id", UUIDType(), primary_key=True),
        sa.Column("version", BIG, nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
    )
    with op.batch_alter_table("idempotency") as table:
        for name, type_ in FILLED_IN_LATER.items():
            table.alter_column(name, existing_type=type_, nullable=True)
        table.add_column(sa.Column("held_until", sa.Text(), nullable=True))


def downgrade() -> None:
    op.execute("DELETE FROM idempotency WHERE status IS NULL")
    with op.batch_alter_table("idempotency") as table:
        table.drop_column("held_until")
        for name, type_ in FILLED_IN_LATER.items():
            table.alter_column(name, existing_type=type_, nullable=False)
    op.drop_table("snapshots")
