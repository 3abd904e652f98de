"""When a reader's program was last heard of stands nowhere: nobody asked, and the lease of a slot says all that follows from it."""

import sqlalchemy as sa
from alembic import op

revision = "0027_no_heartbeat"
down_revision = "0026_login_flows"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the column."""
    op.drop_column("read_claims", "heartbeat_at")


def downgrade() -> None:
    """Make the column again, empty."""
    op.add_column("read_claims", sa.Column("heartbeat_at", sa.DateTime(), nullable=True))
