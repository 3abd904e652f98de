"""Certificates that are renewed: which of them no node has shown yet."""

import sqlalchemy as sa
from alembic import op

revision = "0005_renewal"
down_revision = "0004_bases"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every certificate so far came with an invite, so none is pending."""
    op.add_column("certificates", sa.Column("pending", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Forget which are pending."""
    op.drop_column("certificates", "pending")
