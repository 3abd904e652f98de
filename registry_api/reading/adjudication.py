"""What follows when every read of a request is signed: they agree, or a third reader of another organisation decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from protocol.case import RsnaClass
from protocol.reading import AdjudicationOpened, ReadConcluded
from registry_api.reading.comparison import Coded, Difference, differences
from registry_api.reading.lifecycle import COUNTED, GIVEN_UP, SIGNED_AND_AFTER, Purpose, State
from registry_api.reading.slots import latest_receipt, open_slot, tell
from registry_api.reading.tables import ReadRequestRow, ReceiptRow, SlotRow


@dataclass(frozen=True, slots=True)
class Conclusion:
    """Which slot's report is the result of the request, and whether two reads agreed by themselves."""

    slot: SlotRow
    agreed: bool


def settle(session: Session, request: ReadRequestRow, *, now: datetime, first: bool = True) -> None:
    """After a signature: compare the reads of a double read, and ask for a third one if they disagree.

    A result by a `first` signature takes part in the draw for peer review; an amendment does not once more.
    The request's row is locked first, so that of two readers who sign at the same moment one sees the other's signature.
    """
    if request.reads_required == 1:
        _enter_the_draw(session, request, now, first=first)
        return
    lock = select(ReadRequestRow).where(ReadRequestRow.request_id == request.request_id)
    session.exec(lock.with_for_update(key_share=True)).one()
    slots = counted_slots(session, request)
    found = conclude(session, slots)
    if found is not None and found.slot.claim_id is not None:
        _enter_the_draw(session, request, now, first=first)
        notice = ReadConcluded(request_id=request.request_id, claim_id=found.slot.claim_id, agreed=found.agreed)
        tell(session, request.site, notice)
    elif all(slot.purpose == Purpose.READ.value for slot in slots) and disagreement(session, slots):
        open_slot(session, request, Purpose.ADJUDICATION, now=now)
        tell(session, request.site, AdjudicationOpened(request_id=request.request_id))


def _enter_the_draw(session: Session, request: ReadRequestRow, now: datetime, *, first: bool) -> None:
    if first:
        request.undrawn_since = now
        session.add(request)


def counted_slots(session: Session, request: ReadRequestRow) -> list[SlotRow]:
    """Return the slots from which the request's result comes, in order, as they stand now."""
    query = select(SlotRow).where(
        SlotRow.request_id == request.request_id, col(SlotRow.purpose).in_([one.value for one in COUNTED])
    )
    return list(session.exec(query.order_by(col(SlotRow.number)).execution_options(populate_existing=True)))


def conclude(session: Session, slots: Sequence[SlotRow]) -> Conclusion | None:
    """Return the result, or None while a read is missing or a third reader must decide first.

    Where a slot has expired the hospital decides: it asks anew, or it takes note of the only report, which is the result then.
    """
    awaited = [slot for slot in slots if State(slot.state) not in GIVEN_UP]
    if not awaited or any(State(slot.state) not in SIGNED_AND_AFTER for slot in awaited):
        return None
    decided = [slot for slot in awaited if slot.purpose == Purpose.ADJUDICATION.value]
    if decided:
        return Conclusion(decided[-1], agreed=False)
    if disagreement(session, awaited) or (len(awaited) == 1 and not _suffices(awaited[0], slots)):
        return None
    return Conclusion(awaited[0], agreed=len(awaited) > 1)


def _suffices(alone: SlotRow, slots: Sequence[SlotRow]) -> bool:
    """Say whether the only report of a request is all that the hospital waits for."""
    return State(alone.state) is State.CLOSED or all(State(slot.state) is not State.EXPIRED for slot in slots)


def disagreement(session: Session, slots: Sequence[SlotRow]) -> tuple[Difference, ...]:
    """Return in what two signed reads of a request differ too much; empty while one of them is not signed."""
    reads = [slot for slot in slots if slot.purpose == Purpose.READ.value and State(slot.state) not in GIVEN_UP]
    coded = [coded_of(receipt) for slot in reads if (receipt := signed_receipt(session, slot)) is not None]
    return differences(coded[0], coded[1]) if len(coded) == len(reads) > 1 else ()


def signed_receipt(session: Session, slot: SlotRow) -> ReceiptRow | None:
    """Return the slot's last signed version, if there is one."""
    if slot.claim_id is None or State(slot.state) not in SIGNED_AND_AFTER:
        return None
    return latest_receipt(session, slot.claim_id, signed=True)


def coded_of(receipt: ReceiptRow) -> Coded:
    """Return what reads are compared by."""
    return Coded(RsnaClass(receipt.rsna_class), receipt.corads, receipt.severity_score, receipt.critical)
