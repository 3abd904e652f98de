"""What a reader or the coordinator sees of the reads: requests with their slots, and the reasons why one is not offered."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from protocol.case import AgeBand, Sex
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.reading import Priority, ReportStatus
from protocol.shape import OpaqueId, SiteId
from registry_api.reading.adjudication import conclude, disagreement, signed_receipt
from registry_api.reading.comparison import Difference
from registry_api.reading.lifecycle import (
    COUNTED,
    ESCALATIONS,
    FHIR_TASK,
    HELD,
    UNSIGNED,
    Event,
    Purpose,
    State,
    request_state,
)
from registry_api.reading.matching import REASONS, Obstacle, Wanted, obstacles
from registry_api.reading.order import in_order, triaged
from registry_api.reading.queue import in_hand, slots_of_all, waiting, wanted
from registry_api.reading.readers import profile
from registry_api.reading.slots import request_of
from registry_api.reading.tables import ReadEventRow, ReadRequestRow, ReceiptRow, SlotRow

Judged = tuple[Wanted, tuple[Obstacle, ...]]
"""A request that waits, and what stands between it and a reader."""

_AT_ONCE = 500
"""Of how many requests one query asks: databases bound the values of a statement."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Slots by request and the latest receipts by claim, looked up together for all requests of an answer."""

    slots: dict[OpaqueId, list[SlotRow]]
    receipts: dict[OpaqueId, ReceiptRow]


class View(BaseModel):
    """A frozen answer to a person."""

    model_config = ConfigDict(frozen=True)


class ResultView(View):
    """The coded part of a report and its hash."""

    version: int
    status: ReportStatus
    """As the hospital sent it; a signature makes `preliminary` final."""
    report_sha256: str
    rsna_class: str
    corads: int
    severity_score: int
    agrees_with_measurement: bool
    critical: bool
    signed_at: datetime | None


class OpinionView(View):
    """The codes of one of two reads that disagree, without whose they are."""

    rsna_class: str
    corads: int
    severity_score: int
    agrees_with_measurement: bool
    critical: bool


class SlotView(View):
    """One slot. What is in it besides purpose and state is for its own reader and the coordinator."""

    number: int
    purpose: Purpose
    state: State
    claim_id: OpaqueId | None = None
    fence: int | None = None
    lease_until: datetime | None = None
    reader_id: OpaqueId | None = None
    """Who holds or held it; the coordinator alone sees it."""
    amend_until: datetime | None = None
    """Until when its reader may amend the signed report."""
    result: ResultView | None = None


class EventView(View):
    """One step in the life of a slot."""

    at: datetime
    number: int
    event: str
    state: State


class ReadView(View):
    """A read request. Without `eligible`, what could point to a patient is left out."""

    request_id: OpaqueId
    state: State
    task_status: str
    priority: Priority
    jurisdiction: str
    language: str
    reads_required: int
    posted_at: datetime
    due_at: datetime
    eligible: bool
    obstacles: tuple[Obstacle, ...] = ()
    reasons: tuple[str, ...] = ()
    site: SiteId | None = None
    age_band: AgeBand | None = None
    sex: Sex | None = None
    slices: int | None = None
    megabytes: int | None = None
    ggo_percent: int | None = None
    read_as: Priority | None = None
    """The priority by which it is ordered: the hospital's, or a higher one that the measurement calls for."""
    slots: tuple[SlotView, ...] = ()
    escalation: Event | None = None
    """How far the wait for a signature has escalated: widened, warned or breached."""
    agreed: bool | None = None
    """Of a double read with a result, for the coordinator: whether both readers agreed by themselves."""
    result_slot: int | None = None
    differences: tuple[Difference, ...] = ()
    opinions: tuple[OpinionView, ...] = ()
    """Both reads that disagree, in no order of their own: for who decides between them, and the coordinator. For who peer reviews,
    the one result that is reviewed."""
    events: tuple[EventView, ...] = ()


@dataclass(frozen=True, slots=True)
class Offers:
    """The first of what waits, in order: what this reader may claim, and the rest with the reasons. And how many there are in all."""

    eligible: list[ReadView]
    others: list[ReadView]
    eligible_count: int
    others_count: int


def offers(session: Session, reader_id: OpaqueId, *, now: datetime, shown: int) -> Offers:
    """Return what waits as this reader may see it, of each kind `shown` at most; the queries do not grow with what waits."""
    judged = _judged(session, reader_id, now)
    eligible = [one for one in judged if not one[1]]
    others = [one for one in judged if one[1]]
    return Offers(
        eligible=_views(session, eligible[:shown], reader_id),
        others=_views(session, others[:shown], reader_id),
        eligible_count=len(eligible),
        others_count=len(others),
    )


def open_reads(session: Session, reader_id: OpaqueId, *, now: datetime, eligible_only: bool) -> list[ReadView]:
    """Return the requests with an open slot in the order in which they should be read, as this reader may see them."""
    judged = _judged(session, reader_id, now)
    return _views(session, [one for one in judged if not (one[1] and eligible_only)], reader_id)


def offered(session: Session, one: Wanted, reader_id: OpaqueId) -> ReadView:
    """Return a request that this reader may claim, as they may see it."""
    return _views(session, [(one, ())], reader_id)[0]


def _judged(session: Session, reader_id: OpaqueId, now: datetime) -> list[Judged]:
    """Return what waits in order, each with what stands between it and this reader."""
    reader = profile(session, reader_id)
    return [(one, obstacles(reader, one, now=now)) for one in in_order(waiting(session), in_hand(session))]


def _views(session: Session, judged: Sequence[Judged], reader_id: OpaqueId) -> list[ReadView]:
    ids = [one.request_id for one, _ in judged]
    rows = {row.request_id: row for some in _hundreds(ids) for row in session.exec(_these(some))}
    known = _look_up(session, ids)
    return [
        _view(session, rows[one.request_id], found=found, reader_id=reader_id, known=known) for one, found in judged
    ]


def own_reads(session: Session, reader_id: OpaqueId) -> list[ReadView]:
    """Return the requests of which this reader holds or finished a slot, the newest first."""
    query = (
        select(ReadRequestRow)
        .join(SlotRow, col(SlotRow.request_id) == ReadRequestRow.request_id)
        .where(SlotRow.reader_id == reader_id)
        .order_by(col(ReadRequestRow.posted_at).desc())
    )
    rows = session.exec(query).unique().all()
    known = _look_up(session, [row.request_id for row in rows])
    return [_view(session, row, found=(), reader_id=reader_id, known=known) for row in rows]


def all_reads(session: Session, *, sites: Collection[SiteId] | None = None) -> list[ReadView]:
    """Return every request, or those of some hospitals, the newest first, as the coordinator sees it."""
    query = select(ReadRequestRow).order_by(col(ReadRequestRow.posted_at).desc())
    rows = session.exec(query if sites is None else query.where(col(ReadRequestRow.site).in_(sites))).all()
    known = _look_up(session, [row.request_id for row in rows])
    return [_view(session, row, found=(), reader_id=None, known=known) for row in rows]


def one_read(
    session: Session,
    request_id: OpaqueId,
    reader_id: OpaqueId | None,
    *,
    now: datetime,
    sites: Collection[SiteId] | None = None,
) -> ReadView:
    """Return one request with its events, as a reader or (with None) the coordinator may see it.

    Raises:
        InvalidInputError: `not-found` if there is none, it is not of these sites, or the reader neither holds a slot nor may claim one.
    """
    row = request_of(session, request_id, sites=sites)
    found: tuple[Obstacle, ...] = ()
    if reader_id is not None and not _holds(session, request_id, reader_id):
        found = obstacles(profile(session, reader_id), wanted(session, row), now=now)
        if found:
            raise InvalidInputError(Code.NOT_FOUND, "There is no read request with this id.")
    known = _look_up(session, [request_id])
    return _view(session, row, found=found, reader_id=reader_id, known=known, with_events=True)


def _look_up(session: Session, request_ids: Sequence[OpaqueId]) -> _Known:
    slots: dict[OpaqueId, list[SlotRow]] = {}
    for some in _hundreds(request_ids):
        slots |= slots_of_all(session, some)
    claim_ids = [slot.claim_id for of_one in slots.values() for slot in of_one if slot.claim_id]
    receipts: dict[OpaqueId, ReceiptRow] = {}
    for some in _hundreds(claim_ids):
        query = select(ReceiptRow).where(col(ReceiptRow.claim_id).in_(some)).order_by(col(ReceiptRow.version))
        receipts |= {row.claim_id: row for row in session.exec(query)}
    return _Known(slots, receipts)


def _hundreds(ids: Sequence[OpaqueId]) -> Iterator[Sequence[OpaqueId]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))


def _these(ids: Sequence[OpaqueId]) -> SelectOfScalar[ReadRequestRow]:
    return select(ReadRequestRow).where(col(ReadRequestRow.request_id).in_(ids))


def _holds(session: Session, request_id: OpaqueId, reader_id: OpaqueId) -> bool:
    query = select(SlotRow.number).where(SlotRow.request_id == request_id, SlotRow.reader_id == reader_id)
    return session.exec(query).first() is not None


def _view(
    session: Session,
    row: ReadRequestRow,
    *,
    found: tuple[Obstacle, ...],
    reader_id: OpaqueId | None,
    known: _Known,
    with_events: bool = False,
) -> ReadView:
    slots = known.slots[row.request_id]
    state = request_state(State(slot.state) for slot in slots if slot.purpose in COUNTED)
    coarse = {"request_id", "priority", "jurisdiction", "language", "reads_required", "posted_at", "due_at"}
    fine = {"site", "age_band", "sex", "slices", "megabytes", "ggo_percent"}
    return ReadView(
        **row.model_dump(include=coarse if found else coarse | fine),
        state=state,
        task_status=FHIR_TASK[state],
        escalation=_escalation(slots),
        read_as=None if found else _read_as(row),
        eligible=not found,
        obstacles=found,
        reasons=tuple(REASONS[one] for one in found),
        slots=tuple(_slot_view(slot, reader_id, known) for slot in slots),
        **_compared(session, row, slots, reader_id),
        events=_events(session, row.request_id, slots, reader_id) if with_events else (),
    )


def _read_as(row: ReadRequestRow) -> Priority:
    return triaged(Priority(row.priority), ggo_percent=row.ggo_percent, uncertainty_percent=row.uncertainty_percent)


def _escalation(slots: Sequence[SlotRow]) -> Event | None:
    """Return how far the slowest slot that is not signed has escalated."""
    waiting = [slot for slot in slots if slot.purpose in COUNTED and State(slot.state) in UNSIGNED]
    furthest = max((slot.escalation for slot in waiting), default=0)
    return ESCALATIONS[furthest - 1] if furthest else None


def _compared(
    session: Session, row: ReadRequestRow, slots: Sequence[SlotRow], reader_id: OpaqueId | None
) -> dict[str, Any]:
    """Return how the reads of a double read compare, for who may know: the coordinator, and who decides between them.

    Who peer reviews sees the codes of the result.
    """
    counted = [slot for slot in slots if slot.purpose in COUNTED]
    own = [] if reader_id is None else [slot.purpose for slot in slots if slot.reader_id == reader_id]
    if Purpose.REVIEW.value in own:
        result = conclude(session, counted)
        return {"opinions": _opinions(session, [result.slot]) if result is not None else ()}
    if row.reads_required == 1:
        return {}
    if reader_id is not None and Purpose.ADJUDICATION.value not in own:
        return {}
    apart = disagreement(session, slots)
    reads = [slot for slot in slots if slot.purpose == Purpose.READ.value]
    compared: dict[str, Any] = {"differences": apart, "opinions": _opinions(session, reads) if apart else ()}
    result = conclude(session, counted)
    if reader_id is None and result is not None:
        compared |= {"agreed": result.agreed, "result_slot": result.slot.number}
    return compared


def _opinions(session: Session, slots: Sequence[SlotRow]) -> tuple[OpinionView, ...]:
    """Return the codes of signed reads, sorted by themselves so that their order says nothing of who read first."""
    receipts = [receipt for slot in slots if (receipt := signed_receipt(session, slot)) is not None]
    fields = set(OpinionView.model_fields)
    opinions = [OpinionView.model_validate(receipt.model_dump(include=fields)) for receipt in receipts]
    return tuple(sorted(opinions, key=OpinionView.model_dump_json))


def _slot_view(slot: SlotRow, reader_id: OpaqueId | None, known: _Known) -> SlotView:
    """Return the slot; to another slot's reader only its state, so that the second read is blind."""
    if reader_id is not None and slot.reader_id != reader_id:
        return SlotView(number=slot.number, purpose=Purpose(slot.purpose), state=State(slot.state))
    receipt = known.receipts.get(slot.claim_id or "")
    return SlotView(
        number=slot.number,
        purpose=Purpose(slot.purpose),
        state=State(slot.state),
        claim_id=slot.claim_id,
        fence=slot.fence,
        lease_until=slot.lease_until if State(slot.state) in HELD else None,
        reader_id=slot.reader_id if reader_id is None else None,
        amend_until=slot.amend_until,
        result=_result(receipt) if receipt else None,
    )


def _result(receipt: ReceiptRow) -> ResultView:
    return ResultView.model_validate(receipt.model_dump(include=set(ResultView.model_fields)))


def _events(
    session: Session, request_id: OpaqueId, slots: Sequence[SlotRow], reader_id: OpaqueId | None
) -> tuple[EventView, ...]:
    """Return the log of the slots that the caller may see into."""
    visible = [slot.number for slot in slots if reader_id in {None, slot.reader_id}]
    query = (
        select(ReadEventRow)
        .where(ReadEventRow.request_id == request_id, col(ReadEventRow.number).in_(visible))
        .order_by(col(ReadEventRow.id))
    )
    return tuple(
        EventView(at=row.at, number=row.number, event=row.event, state=State(row.state)) for row in session.exec(query)
    )
