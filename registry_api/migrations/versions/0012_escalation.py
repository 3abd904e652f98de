"""What is due beside the lease, readers who let reads lapse, and agreements of a pool."""

import sqlalchemy as sa
from alembic import op

revision = "0012_escalation"
down_revision = "0011_relay"
branch_labels = None
depends_on = None

DUE = ("escalate_at", "deliver_by", "alarm_at")


def upgrade() -> None:
    """Add the columns. Every unsigned slot is looked at once, and sets itself its next time."""
    op.add_column("read_slots", sa.Column("escalation", sa.Integer(), nullable=False, server_default="0"))
    for column in DUE:
        op.add_column("read_slots", sa.Column(column, sa.DateTime(), nullable=True))
        op.create_index(f"ix_read_slots_{column}", "read_slots", [column], unique=False)
    op.execute(
        "UPDATE read_slots SET escalate_at = opened_at WHERE state IN ('open', 'claimed', 'reading', 'preliminary')"
    )
    op.add_column("readers", sa.Column("restricted_until", sa.DateTime(), nullable=True))
    op.add_column("agreements", sa.Column("pool", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("agreements", "pool")
    op.drop_column("readers", "restricted_until")
    for column in DUE:
        op.drop_index(f"ix_read_slots_{column}", "read_slots")
        op.drop_column("read_slots", column)
    op.drop_column("read_slots", "escalation")
