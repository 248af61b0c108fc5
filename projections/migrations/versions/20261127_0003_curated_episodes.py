"""What people say of an episode, and when it was deleted."""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    with op.batch_alter_table("episodes") as table:
        table.add_column(sa.Column("rating", sa.Integer(), nullable=True))
        table.add_column(sa.Column("deleted_at", sa.Text(), nullable=True))


def downgrade() -> None:
    op.execute("DELETE FROM episodes WHERE deleted_at IS NOT NULL")
    with op.batch_alter_table("episodes") as table:
        table.drop_column("deleted_at")
        table.drop_column("rating")
