"""Legal bases that sites have withdrawn."""

import sqlalchemy as sa
from alembic import op

revision = "0004_bases"
down_revision = "0003_units"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "withdrawn_bases",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("legal_basis", sa.String(), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["site"], ["sites.site"]),
        sa.PrimaryKeyConstraint("site", "legal_basis"),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("withdrawn_bases")
