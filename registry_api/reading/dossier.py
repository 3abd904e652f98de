"""All that is on file of readers, by one statement with a row for each fact: a claim asks for everything, and statements are what it costs (ADR 0122)."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel import Session

from protocol.reading import Language, Priority, StudyKind, Subspecialty
from protocol.shape import OpaqueId, RegionCode, SiteId
from registry_api.database import among, lines, row_table
from registry_api.people.tables import CredentialRow
from registry_api.reading.lifecycle import HELD, State
from registry_api.reading.matching import Licence, Training
from registry_api.reading.shifts import Shift
from registry_api.reading.tables import (
    AgreementRow,
    ConflictRow,
    CredentialTermRow,
    GroupAgreementRow,
    PrivilegeRow,
    ReaderRow,
    ReadRequestRow,
    ShiftRow,
    SkipRow,
    SlotRow,
    TrainingRow,
)


class Agreed(NamedTuple):
    """Until when an agreement runs (None: until it is ended), and whether it is of a pool."""

    ends: datetime | None
    pool: bool


@dataclass(slots=True)
class Dossier:
    """What is on file of one reader. `held` counts the slots held now by the hospital's priority.

    Only of one reader, and where it is asked for: `skipped` is what still waits of what they left to others, `in_hand` how many reads of each
    hospital that lets them in anybody holds.
    """

    shifts: list[Shift] = field(default_factory=list)
    licences: list[Licence] = field(default_factory=list)
    unverified: set[RegionCode] = field(default_factory=set)
    languages: set[Language] = field(default_factory=set)
    trainings: list[Training] = field(default_factory=list)
    own_agreements: dict[SiteId, Agreed] = field(default_factory=dict)
    group_agreements: dict[SiteId, Agreed] = field(default_factory=dict)
    privileges: set[SiteId] = field(default_factory=set)
    privilege_ends: dict[SiteId, datetime] = field(default_factory=dict)
    privilege_studies: dict[SiteId, frozenset[StudyKind]] = field(default_factory=dict)
    conflicts: set[SiteId] = field(default_factory=set)
    held: dict[Priority, int] = field(default_factory=dict)
    skipped: set[OpaqueId] = field(default_factory=set)
    in_hand: dict[SiteId, int] = field(default_factory=dict)

    @property
    def agreements(self) -> dict[SiteId, Agreed]:
        """What holds with each hospital: the reader's own agreement goes before the group's."""
        return self.group_agreements | self.own_agreements

    def add_shift(self, fact: Any) -> None:
        """Note a shift."""
        self.shifts.append(Shift(fact.begins, fact.ends, fact.first, fact.second, fact.last, fact.number))

    def add_credential(self, fact: Any) -> None:
        """Note a licence; one whose evidence nobody has verified has no term."""
        self.languages.add(fact.second)
        if fact.begins is None:
            self.unverified.add(fact.first)
        else:
            self.licences.append(Licence(fact.first, fact.begins, fact.ends))

    def add_training(self, fact: Any) -> None:
        """Note a subspecialty."""
        self.trainings.append(Training(Subspecialty(fact.first), fact.begins, fact.ends))

    def add_agreement(self, fact: Any) -> None:
        """Note agreements of the reader's own, alike in their terms."""
        self.own_agreements |= dict.fromkeys(_sites(fact), Agreed(fact.ends, bool(fact.number)))

    def add_group_agreement(self, fact: Any) -> None:
        """Note agreements of the reader's group, alike in their terms."""
        self.group_agreements |= dict.fromkeys(_sites(fact), Agreed(fact.ends, bool(fact.number)))

    def add_privilege(self, fact: Any) -> None:
        """Note hospitals' privileges, alike in their terms."""
        sites = _sites(fact)
        self.privileges.update(sites)
        if fact.ends is not None:
            self.privilege_ends |= dict.fromkeys(sites, fact.ends)
        if fact.second:
            studies = frozenset(StudyKind(one) for one in fact.second.split(","))
            self.privilege_studies |= dict.fromkeys(sites, studies)

    def add_conflict(self, fact: Any) -> None:
        """Note a conflict of interest."""
        self.conflicts.add(fact.first)

    def add_held(self, fact: Any) -> None:
        """Note how many reads of a priority are held."""
        self.held[Priority(fact.first)] = fact.number

    def add_skipped(self, fact: Any) -> None:
        """Note a request that waits and was left to others."""
        self.skipped.add(fact.first)

    def add_in_hand(self, fact: Any) -> None:
        """Note how many reads of a hospital are held."""
        self.in_hand[fact.first] = fact.number

    def add(self, fact: Any) -> None:
        """Note any fact."""
        _ADD[fact.kind](self, fact)


def _sites(fact: Any) -> list[SiteId]:
    return fact.first.split(",")  # type: ignore[no-any-return] # a text


_ADD = {name.removeprefix("add_"): add for name, add in vars(Dossier).items() if name.startswith("add_")}
"""What puts a fact of each kind where it belongs; looked up here, since of a whole network there are tens of thousands."""


def dossiers(session: Session) -> defaultdict[OpaqueId, Dossier]:
    """Return what is on file of everybody; of whom nothing is on file has an empty one."""
    found: defaultdict[OpaqueId, Dossier] = defaultdict(Dossier)
    for fact in lines(session, _facts_of_all()):
        found[fact.reader_id].add(fact)
    return found


@cache
def _facts_of_all() -> Any:
    """Return the statement. It is made once: that costs as much as running it.

    The hospitals are put together in the database, one row for all of a reader's whose terms are the same: a reader has many, and nearly
    always they are alike.
    """
    return sa.union_all(*_parts(one=False).values())


def facts_of_one(*, desk: bool) -> Any:
    """Return what is on file of the reader `:reader_id`, as part of a statement.

    Args:
        desk: Whether what the reader skipped and what is in hand belongs to it.
    """
    mine: Any = bindparam("reader_id")
    parts = [part.where(whose == mine) for whose, part in _parts(one=True).items()]
    return sa.union_all(*parts, *(_beside(mine) if desk else ())).subquery("facts")


def _parts(*, one: bool) -> dict[Any, Any]:
    """Return the facts of each kind, by the column that says of whom they are."""
    shift, licence, term, training = (
        row_table(row).c for row in (ShiftRow, CredentialRow, CredentialTermRow, TrainingRow)
    )
    agreement, privilege, conflict, slot, request = (
        row_table(row).c for row in (AgreementRow, PrivilegeRow, ConflictRow, SlotRow, ReadRequestRow)
    )
    reader, of_group = (row_table(row).c for row in (ReaderRow, GroupAgreementRow))

    def sites(table: Any) -> Any:
        return table.site if one else sa.func.aggregate_strings(table.site, ",")

    def alike(*terms: Any) -> tuple[Any, ...]:
        return () if one else terms

    return {
        # The first one gives the columns their types: it leaves none empty.
        shift.reader_id: _fact(
            "shift", shift, first=shift.time_zone, second=shift.rule, number=shift.capacity,
            begins=shift.starts_at, ends=shift.ends_at, last=shift.repeats_until,
        ),
        licence.reader_id: _fact(
            "credential", licence, first=licence.jurisdiction, second=licence.language, begins=term.valid_from, ends=term.valid_until
        ).outerjoin(row_table(CredentialTermRow), term.credential_id == licence.id),
        training.reader_id: _fact(
            "training", training, first=training.subspecialty, begins=training.valid_from, ends=training.valid_until
        ),
        agreement.reader_id: _fact(
            "agreement", agreement, first=sites(agreement), number=sa.cast(agreement.pool, sa.Integer), ends=agreement.expires_at
        ).group_by(*alike(agreement.reader_id, agreement.pool, agreement.expires_at)),
        reader.reader_id: _fact(
            "group_agreement", reader, first=sites(of_group), number=sa.cast(of_group.pool, sa.Integer), ends=of_group.expires_at
        ).join(row_table(GroupAgreementRow), of_group.reading_group == reader.reading_group)
        .group_by(*alike(reader.reader_id, of_group.pool, of_group.expires_at)),
        privilege.reader_id: _fact(
            "privilege", privilege, first=sites(privilege), second=privilege.studies, ends=privilege.valid_until
        ).where(privilege.granted).group_by(*alike(privilege.reader_id, privilege.studies, privilege.valid_until)),
        conflict.reader_id: _fact("conflict", conflict, first=conflict.site),
        slot.reader_id: _fact("held", slot, first=request.priority, number=sa.func.count())
        .join(row_table(ReadRequestRow), request.request_id == slot.request_id)
        .where(among(slot.state, HELD), slot.reader_id.is_not(None))
        .group_by(slot.reader_id, request.priority),
    }  # fmt: skip


def _beside(mine: Any) -> tuple[Any, ...]:
    """Return the facts that decide which case comes next for a reader."""
    skip, slot, privilege = (row_table(row).c for row in (SkipRow, SlotRow, PrivilegeRow))
    lets_in = sa.select(privilege.site).where(privilege.reader_id == mine, privilege.granted)
    return (
        _fact("skipped", skip, first=skip.request_id)
        .join(row_table(SlotRow), slot.request_id == skip.request_id)
        .where(skip.reader_id == mine, slot.state == State.OPEN.value),
        _fact("in_hand", slot, first=slot.site, number=sa.func.count(), of=mine)
        .where(among(slot.state, HELD), slot.site.in_(lets_in))
        .group_by(slot.site),
    )


_COLUMNS = ("first", "second", "number", "begins", "ends", "last")


def _fact(kind: str, table: Any, *, of: Any = None, **values: Any) -> Any:
    """Return one part of the statement: what kind of fact, of whom, and as many of the columns as this kind has."""
    columns = (values.get(name, sa.null()) for name in _COLUMNS)
    return sa.select(
        sa.literal_column(f"'{kind}'", sa.String).label("kind"),
        (table.reader_id if of is None else of).label("reader_id"),
        *(value.label(name) for name, value in zip(_COLUMNS, columns, strict=True)),
    ).select_from(table.reader_id.table)
