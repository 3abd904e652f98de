"""Log-ins under way at the identity provider: the browser may come back to another process than it left."""

import sqlalchemy as sa
from alembic import op

revision = "0026_login_flows"
down_revision = "0025_emptied"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "login_flows",
        sa.Column("state_sha256", sa.String(), nullable=False),
        sa.Column("binding_sha256", sa.String(), nullable=False),
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("verifier", sa.String(), nullable=False),
        sa.Column("ends_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("state_sha256"),
    )
    op.create_index("ix_login_flows_ends_at", "login_flows", ["ends_at"], unique=False)


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("login_flows")
