"""The row of a count release."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from registry_api.database import UtcDateTime


class CountReleaseRow(SQLModel, table=True):
    """A release: its canonical bytes, their hash and the centre's signature over them. Never changed, never deleted.

    `content_sha256` leaves the number out, so that building again without a change is noticed.
    """

    __tablename__ = "count_releases"

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    content_sha256: str
    sha256: str
    signature: str
    built_at: datetime = Field(sa_type=UtcDateTime)
    body: bytes
    """Last: SQLite reads through it to whatever stands behind."""
