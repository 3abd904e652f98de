"""How evenly the work was shared: reads signed by each reader in a month, and the Gini coefficient of each reading group."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlmodel import Session, col, func, select

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.shape import OpaqueId
from registry_api.people.roles import Role
from registry_api.people.tables import PersonRow
from registry_api.reading.lifecycle import Event
from registry_api.reading.tables import ClaimRow, ReaderRow

_MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")
NO_GROUP = ""
"""Stands for the readers who read alone."""


@dataclass(frozen=True, slots=True)
class GroupLoad:
    """A group's month: reads by reader (none left out), and how unevenly they are shared."""

    group: str
    reads: dict[OpaqueId, int]
    gini: float


def gini(values: Sequence[int]) -> float:
    """Return the Gini coefficient: 0 when all are equal, near 1 when one has everything; 0 of nobody and of nothing.

    Half the mean absolute difference of all pairs over the mean (Gini 1912), by the formula for sorted values.
    """
    total, count = sum(values), len(values)
    if total == 0:
        return 0.0
    ranked = sum(rank * value for rank, value in enumerate(sorted(values), start=1))
    return 2 * ranked / (count * total) - (count + 1) / count


def month_of(text: str) -> tuple[datetime, datetime]:
    """Return the beginning and the end (half-open, UTC) of a month such as 2026-03.

    Raises:
        InvalidInputError: `bad-request` if it is none.
    """
    found = _MONTH.fullmatch(text)
    if found is None:
        raise InvalidInputError(Code.BAD_REQUEST, "Give a month such as 2026-03.")
    year, month = int(found[1]), int(found[2])
    begins = datetime(year, month, 1, tzinfo=UTC)
    return begins, datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


def loads(session: Session, *, begins: datetime, ends: datetime) -> list[GroupLoad]:
    """Return the load of every group between two times, by name; readers who signed nothing count as zero."""
    signed = (
        select(ClaimRow.reader_id, func.count())
        .where(
            ClaimRow.ended_by == Event.SIGNED.value,
            col(ClaimRow.ended_at) >= begins,
            col(ClaimRow.ended_at) < ends,
        )
        .group_by(col(ClaimRow.reader_id))
    )
    counts = dict(session.exec(signed).all())
    members = (
        select(PersonRow.id, ReaderRow.reading_group)
        .join(ReaderRow, col(ReaderRow.reader_id) == PersonRow.id, isouter=True)
        .where(PersonRow.role == Role.READER.value, PersonRow.created_at < ends)
        .where(col(PersonRow.disabled_at).is_(None) | (col(PersonRow.disabled_at) > begins))
    )
    groups: defaultdict[str, dict[OpaqueId, int]] = defaultdict(dict)
    for reader_id, group in session.exec(members):
        groups[group or NO_GROUP][reader_id] = counts.get(reader_id, 0)
    return [GroupLoad(name, reads, gini(list(reads.values()))) for name, reads in sorted(groups.items())]
