"""Rows of people, their page sessions, and what lets a reader read."""

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from registry_api.database import UtcDateTime


class PersonRow(SQLModel, table=True):
    """A person or a program of theirs. The API key is shown once and kept as a hash only."""

    __tablename__ = "people"

    id: str = Field(primary_key=True)
    name: str
    role: str
    region: str | None = None
    site: str | None = None
    """The hospital whose own record quality the person sees; of role hospital only."""
    key_sha256: str = Field(unique=True)
    """Of the person's own key; of somebody whom an identity provider vouches for, who has none, the hash of issuer and subject instead."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ApiKeyRow(SQLModel, table=True):
    """A further key of a person, for one program. `prefix` is its beginning, `scopes` what it opens, by commas."""

    __tablename__ = "api_keys"

    id: str = Field(primary_key=True)
    person_id: str = Field(foreign_key="people.id", index=True)
    label: str
    prefix: str
    key_sha256: str = Field(unique=True)
    scopes: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ReadLogRow(SQLModel, table=True):
    """Who read which counts on a day, and how often; `line` is a hash of all that names the line."""

    __tablename__ = "read_log"

    line: str = Field(primary_key=True)
    day: str = Field(index=True)
    person_id: str = Field(foreign_key="people.id")
    what: str
    release: int
    question: str
    times: int
    last_at: datetime = Field(sa_type=UtcDateTime)


class PageSessionRow(SQLModel, table=True):
    """A log-in on the pages; the cookie's value is kept as a hash only."""

    __tablename__ = "page_sessions"

    cookie_sha256: str = Field(primary_key=True)
    person_id: str = Field(foreign_key="people.id", index=True)
    csrf: str
    expires_at: datetime = Field(sa_type=UtcDateTime)


class LoginFlowRow(SQLModel, table=True):
    """A log-in at the identity provider that has begun and not ended; `state` and `binding` are kept as hashes only."""

    __tablename__ = "login_flows"

    state_sha256: str = Field(primary_key=True)
    binding_sha256: str
    nonce: str
    verifier: str
    ends_at: datetime = Field(sa_type=UtcDateTime, index=True)


class CredentialRow(SQLModel, table=True):
    """A reader's licence: the jurisdiction of the *patient* it holds in, and a language the reader reports in."""

    __tablename__ = "credentials"
    __table_args__ = (UniqueConstraint("reader_id", "jurisdiction", "language"),)

    id: int | None = Field(default=None, primary_key=True)
    reader_id: str = Field(foreign_key="people.id", index=True)
    jurisdiction: str
    language: str
