"""Skips of next cases, and what the matcher set aside for whom."""

import sqlalchemy as sa
from alembic import op

revision = "0015_queue"
down_revision = "0014_reviews"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "read_skips",
        sa.Column("id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("reader_id", "request_id", "reason")),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["reader_id"], ["people.id"]),
        sa.ForeignKeyConstraint(["request_id"], ["read_requests.request_id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("read_skips_by_reader", "read_skips", ["reader_id", "at"], unique=False)
    op.create_table(
        "read_assignments",
        *(sa.Column(name, sa.String(), nullable=False) for name in ("request_id", "reader_id")),
        *(sa.Column(name, sa.DateTime(), nullable=False) for name in ("made_at", "until")),
        sa.ForeignKeyConstraint(["reader_id"], ["people.id"]),
        sa.ForeignKeyConstraint(["request_id"], ["read_requests.request_id"]),
        sa.PrimaryKeyConstraint("request_id", "reader_id"),
    )
    op.create_index("ix_read_assignments_reader_id", "read_assignments", ["reader_id"], unique=False)


def downgrade() -> None:
    """Drop them again."""
    op.drop_index("ix_read_assignments_reader_id", "read_assignments")
    op.drop_table("read_assignments")
    op.drop_index("read_skips_by_reader", "read_skips")
    op.drop_table("read_skips")
