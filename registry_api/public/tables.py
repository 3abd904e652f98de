"""Rows of the public tier: what was published and what it cost. Triggers of the database refuse to change or delete either."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from registry_api.database import UtcDateTime


class PublicWeekRow(SQLModel, table=True):
    """One week as everybody may see it: its canonical bytes with their noise, drawn once, and the centre's signature over them."""

    __tablename__ = "public_weeks"

    week: str = Field(primary_key=True)
    body: bytes
    sha256: str
    signature: str
    drawn_at: datetime = Field(sa_type=UtcDateTime)


class PublicSpendRow(SQLModel, table=True):
    """What the week cost its patients, by the ISO year in which they were scanned: `rho` of zero-concentrated differential privacy."""

    __tablename__ = "public_spends"

    week: str = Field(primary_key=True, foreign_key="public_weeks.week")
    year: int = Field(index=True)
    rho: float
    spent_at: datetime = Field(sa_type=UtcDateTime)
