"""The row of a promoted model release."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from registry_api.database import UtcDateTime


class PromotedRow(SQLModel, table=True):
    """A promoted release. `signed_manifest` is the canonical JSON that nodes verify."""

    __tablename__ = "promoted_models"

    name: str = Field(primary_key=True)
    weights_sha256: str = Field(index=True)
    signed_manifest: bytes
    promoted_at: datetime = Field(sa_type=UtcDateTime)
