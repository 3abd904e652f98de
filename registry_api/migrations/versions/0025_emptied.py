"""When a record was emptied, apart from when its site last sent it: a site that is silent must not look fresh because a basis fell."""

import sqlalchemy as sa
from alembic import op

revision = "0025_emptied"
down_revision = "0024_agreement_terms"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the column and let the index of withdrawn cases go by it."""
    op.add_column("cases", sa.Column("emptied_at", sa.DateTime(), nullable=True))
    op.execute(sa.text("UPDATE cases SET emptied_at = received_at WHERE withdrawn IS TRUE"))
    _index_by("emptied_at")


def downgrade() -> None:
    """Let the index go by the time of receipt again, and drop the column."""
    _index_by("received_at")
    op.drop_column("cases", "emptied_at")


def _index_by(column: str) -> None:
    op.drop_index("ix_cases_withdrawn", "cases")
    op.create_index(
        "ix_cases_withdrawn",
        "cases",
        [column],
        sqlite_where=sa.text("withdrawn IS 1"),
        postgresql_where=sa.text("withdrawn IS true"),
    )
