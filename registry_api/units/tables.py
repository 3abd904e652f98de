"""Rows of administrative units and of their population."""

from sqlmodel import Field, SQLModel


class UnitRow(SQLModel, table=True):
    """A country (no parent), a region, or a unit below one. `system` names the list that the code comes from."""

    __tablename__ = "units"

    code: str = Field(primary_key=True)
    parent: str | None = Field(default=None, foreign_key="units.code", index=True)
    system: str
    name: str


class PopulationRow(SQLModel, table=True):
    """How many people live in a unit in a year: the denominator of its rates."""

    __tablename__ = "populations"

    unit: str = Field(primary_key=True, foreign_key="units.code")
    year: int = Field(primary_key=True)
    persons: int
