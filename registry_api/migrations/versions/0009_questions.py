"""Clocks that stand still while the hospital is asked, and how many questions a claim has seen."""

import sqlalchemy as sa
from alembic import op

revision = "0009_questions"
down_revision = "0008_adjudication"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nothing was asked so far."""
    op.add_column("read_slots", sa.Column("paused_at", sa.DateTime(), nullable=True))
    for table, column in (("read_slots", "paused_seconds"), ("read_claims", "questions"), ("read_claims", "answers")):
        op.add_column(table, sa.Column(column, sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop the columns."""
    for table, columns in (("read_claims", ("answers", "questions")), ("read_slots", ("paused_seconds", "paused_at"))):
        with op.batch_alter_table(table) as changed:
            for column in columns:
                changed.drop_column(column)
