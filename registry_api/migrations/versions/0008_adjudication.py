"""Slots with a purpose and a clock of their own, and readers in groups."""

import sqlalchemy as sa
from alembic import op

revision = "0008_adjudication"
down_revision = "0007_standings"
branch_labels = None
depends_on = None

CLOCK = {"opened_at": "posted_at", "due_at": "due_at", "expires_at": "expires_at"}
"""The slot's times, and those of the request that slots so far have."""


def upgrade() -> None:
    """Add the columns; slots so far are reads on their request's clock."""
    op.add_column("read_slots", sa.Column("purpose", sa.String(), nullable=False, server_default="read"))
    for column, source in CLOCK.items():
        op.add_column("read_slots", sa.Column(column, sa.DateTime(), nullable=True))
        op.execute(
            f"UPDATE read_slots SET {column} = (SELECT {source} FROM read_requests r"  # noqa: S608 - names of this module
            " WHERE r.request_id = read_slots.request_id)"
        )
    with op.batch_alter_table("read_slots") as table:
        for column in CLOCK:
            table.alter_column(column, existing_type=sa.DateTime(), nullable=False)
    op.add_column("readers", sa.Column("reading_group", sa.String(), nullable=True))
    op.add_column("readers", sa.Column("leads", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_readers_reading_group", "readers", ["reading_group"], unique=False)


def downgrade() -> None:
    """Drop the columns."""
    op.drop_index("ix_readers_reading_group", "readers")
    with op.batch_alter_table("readers") as table:
        table.drop_column("leads")
        table.drop_column("reading_group")
    with op.batch_alter_table("read_slots") as table:
        for column in (*CLOCK, "purpose"):
            table.drop_column(column)
