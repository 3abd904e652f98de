"""Routes about readers: credentials with their evidence, shifts, who is there or away, conflicts of interest."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.reading import Language, Subspecialty
from protocol.shape import OpaqueId, RegionCode, SiteId
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.people.roles import Role
from registry_api.reading import availability
from registry_api.reading.assignments import match
from registry_api.reading.availability import Availability
from registry_api.reading.credentials import (
    Credential,
    Evidence,
    Term,
    credentials_of,
    license_reader,
    train_reader,
)
from registry_api.reading.load import loads, month_of
from registry_api.reading.own_row import require_reader
from registry_api.reading.shifts import Declaration, Presence, Shift

router = APIRouter(prefix="/v1")

ReaderOrCoordinator = Annotated[Caller, require(Role.READER, Role.COORDINATOR)]
ReaderId = Annotated[OpaqueId, Path()]


def _of_our_time(moment: datetime) -> datetime:
    """Refuse the ends of the calendar: in another time zone they are no times any more, and neither clocks nor the database can work with them."""
    if not 1900 <= moment.year < 3000:  # noqa: PLR2004 - wide, and far from both ends
        raise ValueError("a time between the years 1900 and 3000")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_of_our_time)]


class Wish(BaseModel):
    """A frozen body that refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CredentialCreate(Wish):
    """A licence (`jurisdiction` and `language`) or a `subspecialty`, with the evidence that the caller has seen."""

    reader_id: OpaqueId
    jurisdiction: RegionCode | None = None
    language: Language = "en"
    subspecialty: Subspecialty | None = None
    valid_from: Moment | None = None
    valid_until: Moment
    evidence: Evidence


class CredentialView(BaseModel):
    """A licence or a subspecialty. Without `valid_until` nobody has verified it, and it counts for nothing."""

    reader_id: OpaqueId
    what: str
    language: str | None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    evidence: str | None = None
    verified_by: OpaqueId | None = None
    verified_at: datetime | None = None


class ShiftBody(Wish):
    """One shift: its first occurrence, and how it repeats on the wall clock."""

    starts_at: Moment
    ends_at: Moment
    rule: Annotated[str | None, Field(max_length=80)] = None
    repeats_until: Moment | None = None
    capacity: Annotated[int | None, Field(ge=1, le=50)] = None


class ShiftsBody(Wish):
    """All shifts of a reader, in the reader's own time zone."""

    time_zone: Annotated[str, Field(max_length=64)]
    shifts: tuple[ShiftBody, ...]


class DeclarationBody(Wish):
    """There, or away, until a time; `nothing` takes back what was said."""

    says: Literal["available", "away", "nothing"]
    until: Moment | None = None


class AvailabilityView(BaseModel):
    """What a reader has said of themselves, and what it comes to now."""

    time_zone: str
    presence: Presence
    until: datetime | None
    declared: Literal["available", "away"] | None
    declared_until: datetime | None
    conflicts: tuple[SiteId, ...]
    shifts: tuple[ShiftBody, ...]


class MatchedView(BaseModel):
    """What one run of the matcher came to: set aside, left waiting, readers looked at."""

    assigned: int
    waiting: int
    readers: int


class GroupLoadView(BaseModel):
    """One group's month; the group without a name are the readers who read alone."""

    group: str
    readers: int
    reads: dict[OpaqueId, int]
    gini: float


@router.get("/credentials")
def list_credentials(session: SessionDep, caller: ReaderOrCoordinator) -> list[CredentialView]:
    """List the caller's own credentials, verified or not; the coordinator gets everybody's."""
    reader_id = None if caller.role is Role.COORDINATOR else caller.person_id
    return [_credential(one) for one in credentials_of(session, reader_id)]


@router.post("/credentials", status_code=204)
def create_credential(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Annotated[Caller, require(Role.COORDINATOR)],
    wish: CredentialCreate,
) -> None:
    """Write down a credential whose evidence the coordinator has seen, or renew one."""
    now = runtime.clock()
    term = Term(
        valid_from=wish.valid_from or now,
        valid_until=wish.valid_until,
        verified_by=caller.person_id,
        verified_at=now,
        evidence=wish.evidence,
    )
    if (wish.jurisdiction is None) == (wish.subspecialty is None):
        raise InvalidInputError(Code.BAD_REQUEST, "Give a jurisdiction or a subspecialty, one of the two.")
    if wish.jurisdiction is not None:
        license_reader(session, wish.reader_id, jurisdiction=wish.jurisdiction, language=wish.language, term=term)
    if wish.subspecialty is not None:
        train_reader(session, wish.reader_id, subspecialty=wish.subspecialty, term=term)


@router.post("/reads/matches", dependencies=[require(Role.COORDINATOR)])
def create_matches(runtime: RuntimeDep, session: SessionDep) -> MatchedView:
    """Set aside what waits for the readers who are there; each claims what is theirs before its time is over."""
    found = match(session, now=runtime.clock())
    return MatchedView(assigned=len(found.made), waiting=found.waiting, readers=found.readers)


@router.get("/readers/load", dependencies=[require(Role.COORDINATOR)])
def read_load(session: SessionDep, month: Annotated[str, Query(max_length=7)]) -> list[GroupLoadView]:
    """Return how evenly each group shared a month's reads: by reader, with the Gini coefficient."""
    begins, ends = month_of(month)
    return [
        GroupLoadView(group=one.group, readers=len(one.reads), reads=one.reads, gini=round(one.gini, 3))
        for one in loads(session, begins=begins, ends=ends)
    ]


@router.get("/readers/{reader_id}/availability")
def read_availability(
    runtime: RuntimeDep, session: SessionDep, caller: ReaderOrCoordinator, reader_id: ReaderId
) -> AvailabilityView:
    """Return shifts, what was declared, conflicts, and whether the reader takes reads now."""
    _refuse_stranger(session, caller, reader_id)
    return _availability(availability.availability(session, reader_id, now=runtime.clock()))


@router.put("/readers/{reader_id}/shifts", status_code=204)
def put_shifts(session: SessionDep, caller: ReaderOrCoordinator, reader_id: ReaderId, wish: ShiftsBody) -> None:
    """Replace a reader's shifts."""
    _refuse_stranger(session, caller, reader_id)
    shifts = [
        Shift(one.starts_at, one.ends_at, wish.time_zone, one.rule, one.repeats_until, one.capacity)
        for one in wish.shifts
    ]
    availability.set_shifts(session, reader_id, time_zone=wish.time_zone, shifts=shifts)


@router.put("/readers/{reader_id}/declaration", status_code=204)
def put_declaration(
    runtime: RuntimeDep, session: SessionDep, caller: ReaderOrCoordinator, reader_id: ReaderId, wish: DeclarationBody
) -> None:
    """Say that a reader is there although on no shift, or away although on one."""
    _refuse_stranger(session, caller, reader_id)
    if (wish.until is None) != (wish.says == "nothing"):
        raise InvalidInputError(Code.BAD_REQUEST, "Say until when you are available or away, and only then.")
    declared = Declaration(wish.says == "available", wish.until) if wish.until is not None else None
    availability.declare(session, reader_id, declared, now=runtime.clock())


@router.put("/readers/{reader_id}/conflicts/{site}", status_code=204)
def put_conflict(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderOrCoordinator,
    reader_id: ReaderId,
    site: Annotated[SiteId, Path()],
) -> None:
    """Declare a conflict of interest with a hospital: none of its reads is offered."""
    _refuse_stranger(session, caller, reader_id)
    availability.set_conflict(session, reader_id, site=site, holds=True, now=runtime.clock())


@router.delete("/readers/{reader_id}/conflicts/{site}", status_code=204)
def delete_conflict(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderOrCoordinator,
    reader_id: ReaderId,
    site: Annotated[SiteId, Path()],
) -> None:
    """Take a conflict of interest back."""
    _refuse_stranger(session, caller, reader_id)
    availability.set_conflict(session, reader_id, site=site, holds=False, now=runtime.clock())


def _refuse_stranger(session: Session, caller: Caller, reader_id: OpaqueId) -> None:
    """Let readers at their own settings only; other readers look absent, and to a coordinator whoever is no reader."""
    if caller.role is not Role.READER:
        require_reader(session, reader_id)
    elif caller.person_id != reader_id:
        raise InvalidInputError(Code.NOT_FOUND, "There is no reader of that id whom you may see.")


def _credential(one: Credential) -> CredentialView:
    term = one.term
    if term is None:
        return CredentialView(reader_id=one.reader_id, what=one.what, language=one.language)
    return CredentialView(
        reader_id=one.reader_id,
        what=one.what,
        language=one.language,
        valid_from=term.valid_from,
        valid_until=term.valid_until,
        evidence=term.evidence,
        verified_by=term.verified_by,
        verified_at=term.verified_at,
    )


def _availability(found: Availability) -> AvailabilityView:
    declared = found.declared
    return AvailabilityView(
        time_zone=found.time_zone,
        presence=found.presence,
        until=found.until,
        declared=None if declared is None else "available" if declared.available else "away",
        declared_until=declared.until.astimezone(UTC) if declared else None,
        conflicts=found.conflicts,
        shifts=tuple(
            ShiftBody(
                starts_at=one.starts_at,
                ends_at=one.ends_at,
                rule=one.rule,
                repeats_until=one.repeats_until,
                capacity=one.capacity,
            )
            for _, one in found.shifts
        ),
    )
