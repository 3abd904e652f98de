"""What the lead of a reading group sees of it: how much each of its readers has in hand, how fast they are, how far they agree."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, func, select

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.shape import OpaqueId
from registry_api.people.tables import PersonRow
from registry_api.reading.figures import Figures
from registry_api.reading.lifecycle import HELD
from registry_api.reading.load import gini
from registry_api.reading.tables import ReaderRow, SlotRow
from registry_api.reading.tally import figures_of, peer_reviews, signed_reads


@dataclass(frozen=True, slots=True)
class Member:
    """One reader of the group: what is in their hands now, how much may be, and the figures of the span."""

    reader_id: OpaqueId
    name: str
    held: int
    capacity: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """A group's span. `gini` says how unevenly its signed reads are shared: 0 evenly, near 1 when one reader has all."""

    group: str
    since: datetime
    until: datetime
    overall: Figures
    members: tuple[Member, ...]
    gini: float


def led_group(session: Session, lead_id: OpaqueId) -> str | None:
    """Return which group this reader leads, if any."""
    row = session.get(ReaderRow, lead_id)
    return row.reading_group if row is not None and row.leads else None


def group_figures(session: Session, lead_id: OpaqueId, *, since: datetime, until: datetime) -> GroupFigures:
    """Return the figures of the group that this reader leads, its readers by name.

    Raises:
        RefusedError: `forbidden` if the reader leads none.
    """
    group = led_group(session, lead_id)
    if group is None:
        raise RefusedError(Code.FORBIDDEN, "You lead no reading group. The coordinator says who leads one.")
    reads, reviews = signed_reads(session, since=since, until=until), peer_reviews(session, since=since, until=until)
    query = (
        select(PersonRow.id, PersonRow.name, ReaderRow.capacity)
        .join(ReaderRow, col(ReaderRow.reader_id) == PersonRow.id)
        .where(ReaderRow.reading_group == group, col(PersonRow.disabled_at).is_(None))
        .order_by(col(PersonRow.name), col(PersonRow.id))
    )
    people = session.exec(query).all()
    held = _held(session, [one for one, _, _ in people])
    members = tuple(
        Member(one, name, held.get(one, 0), capacity, figures_of(reads, reviews, reader_id=one))
        for one, name, capacity in people
    )
    shared = gini([one.figures.turnaround.reads for one in members])
    return GroupFigures(group, since, until, figures_of(reads, reviews, group=group), members, shared)


def _held(session: Session, reader_ids: Collection[OpaqueId]) -> dict[OpaqueId, int]:
    """Return how many reads each of these readers has in hand."""
    query = (
        select(SlotRow.reader_id, func.count())
        .where(col(SlotRow.reader_id).in_(reader_ids), col(SlotRow.state).in_([state.value for state in HELD]))
        .group_by(col(SlotRow.reader_id))
    )
    return {reader_id: count for reader_id, count in session.exec(query) if reader_id is not None}
