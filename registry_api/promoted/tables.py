"""The row of a promoted model release."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from registry_api.database import UtcDateTime


class StandingRow(SQLModel, table=True):
    """The last word of a site about the release that it uses. A word, never a number."""

    __tablename__ = "release_standings"

    site: str = Field(primary_key=True, foreign_key="sites.site")
    release: str = Field(index=True)
    standing: str
    version: int
    received_at: datetime = Field(sa_type=UtcDateTime)


class ListRow(SQLModel, table=True):
    """A file of the signed lists of releases, as the centre wrote it. A name is never given to other content, but for `timestamp.json`."""

    __tablename__ = "release_lists"

    name: str = Field(primary_key=True)
    body: str


class PromotedRow(SQLModel, table=True):
    """A promoted release. `signed_manifest` is the canonical JSON that nodes verify."""

    __tablename__ = "promoted_models"

    name: str = Field(primary_key=True)
    weights_sha256: str = Field(index=True)
    signed_manifest: bytes
    promoted_at: datetime = Field(sa_type=UtcDateTime)
