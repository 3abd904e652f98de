"""Rows of case records, and of legal bases that hold no longer."""

from datetime import datetime

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

from registry_api.database import UtcDateTime


class CaseRow(SQLModel, table=True):
    """The newest version of one measured study. A withdrawn one keeps its id, version and weeks and nothing else of the record."""

    __tablename__ = "cases"
    __table_args__ = (
        Index(  # the few that a release must look for by when they were emptied; spelt as the query is, for SQLite to see it
            "ix_cases_withdrawn",
            "emptied_at",
            sqlite_where=text("withdrawn IS 1"),
            postgresql_where=text("withdrawn IS true"),
        ),
        Index(  # and the few of which a correction named another week
            "ix_cases_left",
            "left_at",
            sqlite_where=text("left_weeks IS NOT NULL"),
            postgresql_where=text("left_weeks IS NOT NULL"),
        ),
    )

    site: str = Field(primary_key=True, foreign_key="sites.site")
    case_id: str = Field(primary_key=True)
    version: int
    withdrawn: bool
    late: bool
    """Whether the first version that came was late; a correction makes no timely record late."""
    received_at: datetime = Field(sa_type=UtcDateTime)
    """When the site last sent a version."""
    emptied_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When a withdrawn record was emptied, by its site or with the basis that it rested on."""
    week: str = Field(index=True)
    left_weeks: str | None = None
    """The weeks, in their order and with commas between, that earlier versions named: a release may still count the study there."""
    left_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When it left the last of them."""
    age_band: str | None = None
    sex: str | None = None
    pcr: str | None = None
    care_setting: str | None = None
    ggo_percent: int | None = None
    consolidation_percent: int | None = None
    opacity_percent: int | None = None
    severity_score: int | None = None
    severity_band: str | None = None
    rsna_class: str | None = None
    corads: int | None = None
    model_release: str | None = None
    quality: str | None = None
    legal_basis: str | None = None
    first_in_week: bool | None = None
    """Whether the site has sent no other study of the patient for the week; None if it did not say."""


CONTENT = (
    "age_band",
    "sex",
    "pcr",
    "care_setting",
    "ggo_percent",
    "consolidation_percent",
    "opacity_percent",
    "severity_score",
    "severity_band",
    "rsna_class",
    "corads",
    "model_release",
    "quality",
    "legal_basis",
    "first_in_week",
)
"""All columns that say something of the study; a withdrawn row has none of them."""


class WithdrawnBasisRow(SQLModel, table=True):
    """A legal basis on which a site's records rest no longer."""

    __tablename__ = "withdrawn_bases"

    site: str = Field(primary_key=True, foreign_key="sites.site")
    legal_basis: str = Field(primary_key=True)
    withdrawn_at: datetime = Field(sa_type=UtcDateTime)
