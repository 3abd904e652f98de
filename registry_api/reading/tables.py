"""Tables of the reading exchange. Opaque ids, codes, counts and times of the exchange itself; nothing of a patient or a study."""

from datetime import datetime, timedelta

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from protocol.reading import Priority
from registry_api.database import UtcDateTime
from registry_api.reading.lifecycle import Purpose, State


class ReaderRow(SQLModel, table=True):
    """How much a reader takes on, which hospital is the reader's own, and with whom they read. Without a row the defaults hold."""

    __tablename__ = "readers"

    reader_id: str = Field(primary_key=True, foreign_key="people.id")
    home_site: str | None = Field(default=None, foreign_key="sites.site")
    capacity: int = 5
    capacity_stat: int = 2
    reading_group: str | None = Field(default=None, index=True)
    leads: bool = False
    """Whether the reader leads that group."""
    time_zone: str = Field(default="UTC", sa_column_kwargs={"server_default": "UTC"})
    """IANA name of where the reader lives and works."""
    declared: str | None = None
    """`available` or `away`, until `declared_until`; None: nothing was declared."""
    declared_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    restricted_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Until then the reader, who let reads lapse, holds one at a time."""


class CredentialTermRow(SQLModel, table=True):
    """From when until when a credential holds, and who saw what evidence. A credential without a term is unverified and counts for nothing."""

    __tablename__ = "credential_terms"

    credential_id: int = Field(primary_key=True, foreign_key="credentials.id")
    valid_from: datetime = Field(sa_type=UtcDateTime)
    valid_until: datetime = Field(sa_type=UtcDateTime)
    verified_by: str
    verified_at: datetime = Field(sa_type=UtcDateTime)
    evidence: str = Field(default="", sa_column_kwargs={"server_default": ""})
    """A reference in somebody else's register or a SHA-256, never a document."""


class TrainingRow(SQLModel, table=True):
    """A subspecialty of a reader, with its term and evidence as a credential has them."""

    __tablename__ = "reader_trainings"

    reader_id: str = Field(primary_key=True, foreign_key="people.id")
    subspecialty: str = Field(primary_key=True)
    valid_from: datetime = Field(sa_type=UtcDateTime)
    valid_until: datetime = Field(sa_type=UtcDateTime)
    verified_by: str
    verified_at: datetime = Field(sa_type=UtcDateTime)
    evidence: str


class PrivilegeRow(SQLModel, table=True):
    """What a hospital said last of whether, until when and what a reader may read for it. Only its node's parcel writes here."""

    __tablename__ = "reader_privileges"

    site: str = Field(primary_key=True, foreign_key="sites.site")
    reader_id: str = Field(primary_key=True, foreign_key="people.id", index=True)
    granted: bool
    version: int
    changed_at: datetime = Field(sa_type=UtcDateTime)
    valid_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """None: until the hospital withdraws it."""
    studies: str = Field(default="", sa_column_kwargs={"server_default": ""})
    """Kinds of studies, by commas; empty: all of them."""


class AgreementTerms(SQLModel):
    """What a hospital agreed to with a reader or a reading group. What is None is as the network has it."""

    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """None: until it is ended."""
    pool: bool = False
    """Only what still waits when half of its time is gone."""
    stat_minutes: int | None = None
    urgent_minutes: int | None = None
    routine_minutes: int | None = None
    """Within how many minutes of the post a read of that priority is signed."""
    double_read_percent: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Of how many in a hundred a second, independent read is added where the hospital asked for one."""

    def minutes(self, priority: Priority) -> timedelta | None:
        """Return what was agreed for a priority, if anything was."""
        agreed = {
            Priority.STAT: self.stat_minutes,
            Priority.URGENT: self.urgent_minutes,
            Priority.ROUTINE: self.routine_minutes,
        }[priority]
        return timedelta(minutes=agreed) if agreed is not None else None


class AgreementRow(AgreementTerms, table=True):
    """A hospital lets a reader be asked."""

    __tablename__ = "agreements"
    __table_args__ = (UniqueConstraint("site", "reader_id"),)

    id: int | None = Field(default=None, primary_key=True)
    site: str = Field(foreign_key="sites.site", index=True)
    reader_id: str = Field(foreign_key="people.id", index=True)
    created_at: datetime = Field(sa_type=UtcDateTime)


class GroupAgreementRow(AgreementTerms, table=True):
    """A hospital lets whoever reads with a group be asked."""

    __tablename__ = "group_agreements"

    site: str = Field(primary_key=True, foreign_key="sites.site")
    reading_group: str = Field(primary_key=True, index=True)
    created_at: datetime = Field(sa_type=UtcDateTime)


class ConflictRow(SQLModel, table=True):
    """A reader's conflict of interest with a hospital, as the reader declared it."""

    __tablename__ = "reader_conflicts"

    reader_id: str = Field(primary_key=True, foreign_key="people.id")
    site: str = Field(primary_key=True, foreign_key="sites.site")
    declared_at: datetime = Field(sa_type=UtcDateTime)


class ShiftRow(SQLModel, table=True):
    """A reader's shift: the first occurrence in UTC, and how it comes again on the wall clock of `time_zone`."""

    __tablename__ = "reader_shifts"

    id: int | None = Field(default=None, primary_key=True)
    reader_id: str = Field(foreign_key="people.id", index=True)
    starts_at: datetime = Field(sa_type=UtcDateTime)
    ends_at: datetime = Field(sa_type=UtcDateTime)
    time_zone: str
    rule: str | None = None
    repeats_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    capacity: int | None = None


class ReaderKeyRow(SQLModel, table=True):
    """The thumbprint of the key that a reader uses at one hospital. Only that hospital can approve it."""

    __tablename__ = "reader_keys"

    reader_id: str = Field(primary_key=True, foreign_key="people.id")
    site: str = Field(primary_key=True)
    jkt: str


class ReadRequestRow(SQLModel, table=True):
    """A hospital's wish for a read, as coarse as `protocol.reading.ReadPost`."""

    __tablename__ = "read_requests"

    request_id: str = Field(primary_key=True)
    site: str = Field(index=True)
    priority: str
    age_band: str
    sex: str
    slices: int
    megabytes: int
    ggo_percent: int
    jurisdiction: str
    language: str
    reads_required: int
    posted_at: datetime = Field(sa_type=UtcDateTime)
    due_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    subspecialty: str | None = None
    uncertainty_percent: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    undrawn_since: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    """Since when the request has a result and nobody has drawn yet whether it is peer reviewed; None before and after."""


class PeerReviewRow(SQLModel, table=True):
    """What one reader said of another's report, from 1 (agrees) to 4 (should not have been missed)."""

    __tablename__ = "peer_reviews"

    claim_id: str = Field(primary_key=True, foreign_key="read_claims.claim_id")
    request_id: str = Field(foreign_key="read_requests.request_id", index=True)
    reviewed_claim_id: str = Field(foreign_key="read_claims.claim_id", index=True)
    score: int
    reviewed_at: datetime = Field(sa_type=UtcDateTime)


class SlotRow(SQLModel, table=True):
    """One of the reads that a request needs, with a clock of its own. `fence` counts the claims; an older one is refused."""

    __tablename__ = "read_slots"
    __table_args__ = (
        Index("read_slots_by_state", "state", "lease_until"),
        Index("read_slots_by_end", "state", "expires_at"),
        Index("read_slots_by_site", "site", "state"),
    )

    request_id: str = Field(primary_key=True, foreign_key="read_requests.request_id")
    number: int = Field(primary_key=True)
    site: str = Field(sa_column_kwargs={"server_default": ""})
    """The request's hospital: a claim asks only for slots of those that let its reader in, not for all that wait."""
    purpose: str = Field(default=Purpose.READ.value)
    state: str = Field(default=State.OPEN.value)
    opened_at: datetime = Field(sa_type=UtcDateTime)
    due_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    fence: int = 0
    claim_id: str | None = Field(default=None, index=True)
    reader_id: str | None = Field(default=None, index=True)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    paused_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when the clock stands still; None while it runs."""
    paused_seconds: int = 0
    """Of all pauses that are over; `due_at` and `expires_at` are later by as much."""
    escalation: int = 0
    """How many of `lifecycle.ESCALATIONS` have happened."""
    escalate_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    deliver_by: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    alarm_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    """When the next escalation, a failed delivery, an unacknowledged critical result is due; None while it is not."""
    amend_until: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    """Until when the reader may amend the signed report; None while it is not open for that."""


class ClaimRow(SQLModel, table=True):
    """A reader's hold on a slot, kept after it ended."""

    __tablename__ = "read_claims"

    claim_id: str = Field(primary_key=True)
    request_id: str = Field(foreign_key="read_requests.request_id", index=True)
    number: int
    reader_id: str = Field(foreign_key="people.id", index=True)
    fence: int
    questions: int = 0
    """How many the reader has asked the hospital; `answers`: the last one that was answered."""
    answers: int = 0
    made_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_by: str | None = Field(default=None)
    """The event that ended it: released, lapsed, reassigned, withdrawn or signed; `unanswered` if it lapsed while the hospital was asked."""


class SkipRow(SQLModel, table=True):
    """A reader's next case that the reader left to others, and why."""

    __tablename__ = "read_skips"
    __table_args__ = (Index("read_skips_by_reader", "reader_id", "at"),)

    id: int | None = Field(default=None, primary_key=True)
    reader_id: str = Field(foreign_key="people.id")
    request_id: str = Field(foreign_key="read_requests.request_id")
    reason: str
    at: datetime = Field(sa_type=UtcDateTime)


class AssignmentRow(SQLModel, table=True):
    """A request that the matcher set aside for one reader until a time. It claims nothing: the reader does."""

    __tablename__ = "read_assignments"

    request_id: str = Field(primary_key=True, foreign_key="read_requests.request_id")
    reader_id: str = Field(primary_key=True, foreign_key="people.id", index=True)
    made_at: datetime = Field(sa_type=UtcDateTime)
    until: datetime = Field(sa_type=UtcDateTime)


class GrantRow(SQLModel, table=True):
    """A grant that the centre made; the token itself is not kept."""

    __tablename__ = "read_grants"

    jti: str = Field(primary_key=True)
    claim_id: str = Field(foreign_key="read_claims.claim_id", index=True)
    jkt: str
    expires_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ReceiptRow(SQLModel, table=True):
    """Hash and codes of one version of a report; its text stays at the hospital."""

    __tablename__ = "report_receipts"

    claim_id: str = Field(primary_key=True, foreign_key="read_claims.claim_id")
    version: int = Field(primary_key=True)
    status: str
    report_sha256: str
    rsna_class: str
    corads: int
    severity_score: int
    agrees_with_measurement: bool
    critical: bool
    received_at: datetime = Field(sa_type=UtcDateTime)
    signed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ReadEventRow(SQLModel, table=True):
    """One step in the life of a slot: what happened, when, and what it led to."""

    __tablename__ = "read_events"

    id: int | None = Field(default=None, primary_key=True)
    request_id: str = Field(foreign_key="read_requests.request_id", index=True)
    number: int
    event: str
    state: str
    claim_id: str | None = None
    """Under which claim it happened; None while nobody held the slot."""
    at: datetime = Field(sa_type=UtcDateTime)


class WebhookRow(SQLModel, table=True):
    """Where the events that a person may see are posted. `cursor` is the last event that was looked at for it."""

    __tablename__ = "webhooks"

    id: str = Field(primary_key=True)
    person_id: str = Field(foreign_key="people.id", index=True)
    url: str
    cursor: int
    created_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class WebhookDeliveryRow(SQLModel, table=True):
    """One event for one webhook: delivered, dead, or to be tried at `next_at`."""

    __tablename__ = "webhook_deliveries"

    id: int | None = Field(default=None, primary_key=True)
    webhook_id: str = Field(foreign_key="webhooks.id", index=True)
    event_id: int = Field(foreign_key="read_events.id")
    body: bytes
    attempts: int = 0
    outcome: str | None = None
    """What the last attempt met: a status, or `unreachable`."""
    next_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    delivered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    dead_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
