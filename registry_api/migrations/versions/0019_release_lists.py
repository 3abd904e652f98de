"""The signed lists of the releases that count."""

import sqlalchemy as sa
from alembic import op

revision = "0019_release_lists"
down_revision = "0018_events"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "release_lists",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("release_lists")
