"""All that is on file of readers, by one statement with a row for each fact: a claim asks for everything, and statements are what it costs."""

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
from registry_api.reading.lifecycle import HELD
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
    SlotRow,
    TrainingRow,
)


class Agreed(NamedTuple):
    """Until when an agreement runs (None: until it is ended), and whether it is of a pool."""

    ends: datetime | None
    pool: bool


@dataclass(slots=True)
class Dossier:
    """What is on file of one reader. `held` counts the slots held now by the hospital's priority."""

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


def _sites(fact: Any) -> list[SiteId]:
    return fact.first.split(",")  # type: ignore[no-any-return] # a text


_ADD = {name.removeprefix("add_"): add for name, add in vars(Dossier).items() if name.startswith("add_")}
"""What puts a fact of each kind where it belongs; looked up here, since of a whole network there are tens of thousands."""


def dossiers(session: Session, reader_id: OpaqueId | None) -> defaultdict[OpaqueId, Dossier]:
    """Return what is on file of one reader, or with None of everybody; of whom nothing is on file has an empty one."""
    found: defaultdict[OpaqueId, Dossier] = defaultdict(Dossier)
    values = {} if reader_id is None else {"reader_id": reader_id}
    for fact in lines(session, _facts(reader_id is not None), **values):
        _ADD[fact.kind](found[fact.reader_id], fact)
    return found


@cache
def _facts(one: bool) -> Any:
    """Return the statement. It is made once: that costs as much as running it.

    Of everybody the hospitals are put together in the database, one row for all of a reader's whose terms are the same: a reader
    has many, and nearly always they are alike.
    """
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

    parts = {
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
    if not one:
        return sa.union_all(*parts.values())
    return sa.union_all(*(part.where(whose == bindparam("reader_id")) for whose, part in parts.items()))


_COLUMNS = ("first", "second", "number", "begins", "ends", "last")


def _fact(kind: str, table: Any, **values: Any) -> Any:
    """Return one part of the statement: what kind of fact, of whom, and as many of the columns as this kind has."""
    columns = (values.get(name, sa.null()) for name in _COLUMNS)
    return sa.select(
        sa.literal_column(f"'{kind}'", sa.String).label("kind"),
        table.reader_id.label("reader_id"),
        *(value.label(name) for name, value in zip(_COLUMNS, columns, strict=True)),
    ).select_from(table.reader_id.table)
