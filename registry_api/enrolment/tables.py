"""Rows of sites, their invites and their certificates."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from registry_api.database import UtcDateTime


class SiteRow(SQLModel, table=True):
    """A hospital. The row is there from its first invite; `enrolled_at` and `revoked_at` say whether it is active."""

    __tablename__ = "sites"

    site: str = Field(primary_key=True)
    region: str
    supernode_key: str | None = None
    gateway_origin: str | None = None
    gateway_pin: str | None = None
    tunnel_key: str | None = None
    tunnel_port: int | None = Field(default=None, index=True, unique=True)
    """Its own on the relay's loopback, allotted once and never to another site."""
    joined_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Of the first enrolment; records are expected from then on."""
    expected_weekly: int | None = None
    """Studies a week that the site says it makes."""
    enrolled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)

    @property
    def active(self) -> bool:
        """Whether the site's node may connect."""
        return self.enrolled_at is not None and self.revoked_at is None


class InviteRow(SQLModel, table=True):
    """A one-time invite; its token is kept as a hash only."""

    __tablename__ = "invites"

    token_sha256: str = Field(primary_key=True)
    site: str = Field(foreign_key="sites.site", index=True)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class CertificateRow(SQLModel, table=True):
    """A client certificate that was issued. The link accepts no serial that does not stand here unrevoked."""

    __tablename__ = "certificates"

    serial: str = Field(primary_key=True)
    site: str = Field(foreign_key="sites.site", index=True)
    not_after: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    pending: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})
    """Whether it was asked for to renew an earlier one, and its node has not shown it yet."""
