"""Until when a signed report is open for an amendment."""

import sqlalchemy as sa
from alembic import op

revision = "0013_amendments"
down_revision = "0012_escalation"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; nothing is open."""
    op.add_column("read_slots", sa.Column("amend_until", sa.DateTime(), nullable=True))
    op.create_index("ix_read_slots_amend_until", "read_slots", ["amend_until"], unique=False)


def downgrade() -> None:
    """Drop the column."""
    op.drop_index("ix_read_slots_amend_until", "read_slots")
    op.drop_column("read_slots", "amend_until")
