"""Rows of alert rules and of what was set off."""

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from registry_api.database import UtcDateTime


class AlertRuleRow(SQLModel, table=True):
    """What a person wants to be told of, and where to: `target` is an e-mail address or the https address of a webhook."""

    __tablename__ = "alert_rules"

    id: str = Field(primary_key=True)
    person_id: str = Field(foreign_key="people.id", index=True)
    place: str
    categories: str
    measure: str
    threshold: float
    above: bool
    target: str
    created_at: datetime = Field(sa_type=UtcDateTime)


class AlertRow(SQLModel, table=True):
    """An alert that went off: one per rule and week, however often the week is published again. `next_at` is None when it was delivered or given up."""

    __tablename__ = "alerts"
    __table_args__ = (UniqueConstraint("rule_id", "week"),)

    id: str = Field(primary_key=True)
    rule_id: str = Field(foreign_key="alert_rules.id")
    week: str
    release: int
    measured: float
    count: int
    raised_at: datetime = Field(sa_type=UtcDateTime)
    attempts: int = 0
    next_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    delivered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
