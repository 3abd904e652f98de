"""An index of withdrawn cases by when they came: a release looks for them, and must not read every case for that."""

import sqlalchemy as sa
from alembic import op

revision = "0022_withdrawn"
down_revision = "0021_privilege_limits"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index(
        "ix_cases_withdrawn",
        "cases",
        ["received_at"],
        sqlite_where=sa.text("withdrawn IS 1"),
        postgresql_where=sa.text("withdrawn IS true"),
    )


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_cases_withdrawn", "cases")
