"""Rows of the link: parcels already taken in, notices not yet received."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer, text
from sqlmodel import Field, SQLModel

from registry_api.database import UtcDateTime


class ParcelRow(SQLModel, table=True):
    """A parcel that was accepted: seen again under the same id, it is accepted again and changes nothing."""

    __tablename__ = "parcels"

    site: str = Field(primary_key=True, foreign_key="sites.site")
    envelope_id: str = Field(primary_key=True)
    body_sha256: str
    accepted_at: datetime = Field(sa_type=UtcDateTime)


class NoticeRow(SQLModel, table=True):
    """A notice to a site, sent again until the node says `received`. `seq` is the order of sending."""

    __tablename__ = "notices"
    __table_args__ = (
        Index(
            "ix_notices_open",
            "site",
            sqlite_where=text("received_at IS NULL"),
            postgresql_where=text("received_at IS NULL"),
        ),
    )

    seq: int | None = Field(
        default=None,
        primary_key=True,
        sa_type=BigInteger().with_variant(Integer, "sqlite"),
    )
    id: str = Field(unique=True)
    site: str = Field(foreign_key="sites.site")
    kind: str
    body: bytes
    received_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
