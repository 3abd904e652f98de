"""By what the relay knows a site, where its tunnel ends there, and the pin of its gateway."""

import sqlalchemy as sa
from alembic import op

revision = "0011_relay"
down_revision = "0010_eligibility"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; a site that is enrolled already has them from its next enrolment on."""
    op.add_column("sites", sa.Column("gateway_pin", sa.String(), nullable=True))
    op.add_column("sites", sa.Column("tunnel_key", sa.String(), nullable=True))
    op.add_column("sites", sa.Column("tunnel_port", sa.Integer(), nullable=True))
    op.create_index("ix_sites_tunnel_port", "sites", ["tunnel_port"], unique=True)


def downgrade() -> None:
    """Drop the columns."""
    op.drop_index("ix_sites_tunnel_port", "sites")
    op.drop_column("sites", "tunnel_port")
    op.drop_column("sites", "tunnel_key")
    op.drop_column("sites", "gateway_pin")
