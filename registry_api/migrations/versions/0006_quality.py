"""What is expected of a site, since when, and whose record quality a person may see."""

import sqlalchemy as sa
from alembic import op

revision = "0006_quality"
down_revision = "0005_renewal"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; a site that is enrolled counts as expected since the enrolment that is known."""
    op.add_column("sites", sa.Column("joined_at", sa.DateTime(), nullable=True))
    op.add_column("sites", sa.Column("expected_weekly", sa.Integer(), nullable=True))
    op.add_column("people", sa.Column("site", sa.String(), nullable=True))
    op.execute("UPDATE sites SET joined_at = enrolled_at")


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("people", "site")
    op.drop_column("sites", "expected_weekly")
    op.drop_column("sites", "joined_at")
