"""Administrative units with their population; those of sites and ministries that are there already come from ISO 3166."""

import sqlalchemy as sa
from alembic import op

revision = "0003_units"
down_revision = "0002_reading"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and fill in the units that are in use."""
    units = op.create_table(
        "units",
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=True),
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["parent"], ["units.code"]),
        sa.PrimaryKeyConstraint("code"),
    )
    op.create_index("ix_units_parent", "units", ["parent"], unique=False)
    op.create_table(
        "populations",
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("persons", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["unit"], ["units.code"]),
        sa.PrimaryKeyConstraint("unit", "year"),
    )
    for row in _in_use():
        op.execute(units.insert().values(**row))


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("populations")
    op.drop_index("ix_units_parent", "units")
    op.drop_table("units")


def _in_use() -> list[dict[str, str | None]]:
    """Return the units of sites and people, countries first."""
    used = sa.text("SELECT region FROM sites UNION SELECT region FROM people WHERE region IS NOT NULL")
    regions = {str(code) for (code,) in op.get_bind().execute(used)}
    countries = sorted({code.partition("-")[0] for code in regions})
    rows: list[dict[str, str | None]] = [
        {"code": one, "parent": None, "system": "iso-3166-1", "name": one} for one in countries
    ]
    rows += [
        {"code": one, "parent": one.partition("-")[0], "system": "iso-3166-2", "name": one}
        for one in sorted(regions - set(countries))
    ]
    return rows
