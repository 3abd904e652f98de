"""Which weeks a case has left by a correction, and when: a release that holds one of them must count it anew."""

import sqlalchemy as sa
from alembic import op

revision = "0029_left_weeks"
down_revision = "0028_bodies_last"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both columns and their index. What was moved before is not known any more."""
    op.add_column("cases", sa.Column("left_weeks", sa.String(), nullable=True))
    op.add_column("cases", sa.Column("left_at", sa.DateTime(), nullable=True))
    moved = sa.text("left_weeks IS NOT NULL")
    op.create_index("ix_cases_left", "cases", ["left_at"], sqlite_where=moved, postgresql_where=moved)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_cases_left", "cases")
    op.drop_column("cases", "left_at")
    op.drop_column("cases", "left_weeks")
