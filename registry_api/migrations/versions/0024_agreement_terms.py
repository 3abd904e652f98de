"""What agreements say beyond their end, and agreements with whole reading groups."""

import sqlalchemy as sa
from alembic import op

revision = "0024_agreement_terms"
down_revision = "0023_public"
branch_labels = None
depends_on = None

_MINUTES = ("stat_minutes", "urgent_minutes", "routine_minutes")


def upgrade() -> None:
    """Add the columns and the table; an agreement of before is on the network's own terms."""
    for column in _terms():
        op.add_column("agreements", column)
    op.create_table(
        "group_agreements",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("reading_group", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("pool", sa.Boolean(), nullable=False),
        *_terms(),
        sa.ForeignKeyConstraint(["site"], ["sites.site"]),
        sa.PrimaryKeyConstraint("site", "reading_group"),
    )
    op.create_index("ix_group_agreements_reading_group", "group_agreements", ["reading_group"], unique=False)


def downgrade() -> None:
    """Drop them again."""
    op.drop_index("ix_group_agreements_reading_group", "group_agreements")
    op.drop_table("group_agreements")
    for column in reversed(_terms()):
        op.drop_column("agreements", column.name)


def _terms() -> list[sa.Column[object]]:
    minutes: list[sa.Column[object]] = [sa.Column(name, sa.Integer(), nullable=True) for name in _MINUTES]
    return [*minutes, sa.Column("double_read_percent", sa.Integer(), nullable=False, server_default="0")]
