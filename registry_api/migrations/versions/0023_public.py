"""The public tier: which record is a patient's first of its week, the published weeks, and a ledger that only grows."""

import sqlalchemy as sa
from alembic import op

revision = "0023_public"
down_revision = "0022_withdrawn"
branch_labels = None
depends_on = None

_KEPT = ("public_weeks", "public_spends")
_CHANGES = ("UPDATE", "DELETE")
_SAYS = "what was published for everybody, and what it cost, stays as it is"


def upgrade() -> None:
    """Make the column, the tables and the triggers that keep them."""
    op.add_column("cases", sa.Column("first_in_week", sa.Boolean(), nullable=True))
    op.create_table(
        "public_weeks",
        sa.Column("week", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("signature", sa.String(), nullable=False),
        sa.Column("drawn_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("week"),
    )
    op.create_table(
        "public_spends",
        sa.Column("week", sa.String(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("rho", sa.Float(), nullable=False),
        sa.Column("spent_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["week"], ["public_weeks.week"]),
        sa.PrimaryKeyConstraint("week"),
    )
    op.create_index("ix_public_spends_year", "public_spends", ["year"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE FUNCTION acinus_stays() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION '{_SAYS}'; END $$ LANGUAGE plpgsql"
        )
        for table in _KEPT:
            op.execute(
                f"CREATE TRIGGER {table}_stay BEFORE UPDATE OR DELETE ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION acinus_stays()"
            )
    else:
        for table in _KEPT:
            for change in _CHANGES:
                op.execute(
                    f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table}"
                    f" BEGIN SELECT RAISE(ABORT, '{_SAYS}'); END"
                )


def downgrade() -> None:
    """Drop them; triggers go with their tables."""
    op.drop_table("public_spends")
    op.drop_table("public_weeks")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION acinus_stays()")
    op.drop_column("cases", "first_in_week")
