"""What sites say of the release that they use."""

import sqlalchemy as sa
from alembic import op

revision = "0007_standings"
down_revision = "0006_quality"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "release_standings",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("release", sa.String(), nullable=False),
        sa.Column("standing", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["site"], ["sites.site"]),
        sa.PrimaryKeyConstraint("site"),
    )
    op.create_index("ix_release_standings_release", "release_standings", ["release"], unique=False)


def downgrade() -> None:
    """Drop the table."""
    op.drop_index("ix_release_standings_release", "release_standings")
    op.drop_table("release_standings")
