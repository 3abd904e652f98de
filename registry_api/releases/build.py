"""Building a release: count, protect, write, sign, store. Built again without a change, it is the same release."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, select

from protocol.codes import Code
from protocol.errors import ConflictError
from registry_api.cases.tables import CaseRow
from registry_api.database import Database
from registry_api.enrolment.tables import SiteRow
from registry_api.releases.cube import UNREAD, Group, lines, tally
from registry_api.releases.disclosure import Cell, Key, Rule, protect
from registry_api.releases.document import Document, WeekTable, published_cells, read, write
from registry_api.releases.tables import CountReleaseRow
from registry_api.units.service import read_tree
from registry_api.units.tree import Tree, country_of

COLUMNS = {
    "severity": col(CaseRow.severity_band),
    "age": col(CaseRow.age_band),
    "sex": col(CaseRow.sex),
    "pcr": col(CaseRow.pcr),
    "rsna": col(CaseRow.rsna_class),
}
"""Where each dimension of the cube stands in a case record."""

_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Built:
    """What a build came to. `new` is false when nothing had changed."""

    row: CountReleaseRow
    new: bool


def build_release(database: Database, rule: Rule, *, key: Ed25519PrivateKey, now: datetime) -> Built:
    """Build a release of all closed weeks, or return the last one if it would say the same.

    The work is done on one consistent state without holding a write lock; killed at any point it leaves nothing behind.

    Raises:
        ConflictError: `run-in-progress` if another build finished in between.
    """
    with database.reading() as session:
        last = latest_row(session)
        before = read(last.body) if last else None
        tree = read_tree(session)
        places = _places(session, tree)
        weeks = _revised(_protected_weeks(session, rule, tree, today=now.date()), before)
    content_sha256 = _sha256(write(0, rule, places, weeks, tree.units))
    if last is not None and content_sha256 == last.content_sha256:
        return Built(last, new=False)
    number = last.number + 1 if last else 1
    body = write(number, rule, places, weeks, tree.units)
    row = _row(number, body, content_sha256=content_sha256, key=key, now=now)
    try:
        with database.writing() as session:
            session.add(row)
    except IntegrityError as error:
        raise ConflictError(Code.RUN_IN_PROGRESS, "Another build finished first. Build again.") from error
    return Built(row, new=True)


def latest_row(session: Session) -> CountReleaseRow | None:
    """Return the newest release, or None before the first."""
    return session.exec(select(CountReleaseRow).order_by(col(CountReleaseRow.number).desc()).limit(1)).first()


def is_closed(week: str, today: date) -> bool:
    """Say whether the ISO week ended before `today` (UTC)."""
    return date.fromisocalendar(int(week[:4]), int(week[6:]), 1) + _WEEK <= today


def _places(session: Session, tree: Tree) -> list[str]:
    """Return the regions and countries of all sites that ever enrolled."""
    regions = session.exec(select(SiteRow.region).where(col(SiteRow.enrolled_at).is_not(None)).distinct()).all()
    return sorted({place for region in regions for place in (tree.place_of(region), country_of(region))})


def _protected_weeks(session: Session, rule: Rule, tree: Tree, *, today: date) -> list[WeekTable]:
    """Return every closed week that has records, protected; versions are set later. Each country's week is protected by itself."""
    cells: dict[str, dict[Key, Cell]] = {}
    for (week, _), pairs in groupby(_groups(session, tree), key=lambda pair: (pair[0], country_of(pair[1].region))):
        if is_closed(week, today):
            tallies = tally(group for _, group in pairs)
            cells.setdefault(week, {}).update(published_cells(protect(tallies, lines(tallies), rule)))
    return [WeekTable(week, 1, content) for week, content in cells.items()]


def _groups(session: Session, tree: Tree) -> Iterable[tuple[str, Group]]:
    """Yield (week, group), ordered by week and country. The database counts; no record leaves it."""
    columns = [func.coalesce(column, UNREAD) if name == "rsna" else column for name, column in COLUMNS.items()]
    query = (
        select(CaseRow.week, CaseRow.site, SiteRow.region, func.count(), *columns)
        .join(SiteRow, col(SiteRow.site) == CaseRow.site)
        .where(col(CaseRow.withdrawn).is_(False))
        .group_by(CaseRow.week, CaseRow.site, SiteRow.region, *COLUMNS.values())
        .order_by(CaseRow.week, SiteRow.region, CaseRow.site)
    )
    rows: Iterable[tuple[Any, ...]] = session.exec(query)
    for week, site, region, studies, *values in rows:
        yield week, Group(site, tree.place_of(region), dict(zip(COLUMNS, values, strict=True)), studies)


def _revised(tables: Iterable[WeekTable], before: Document | None) -> list[WeekTable]:
    """Number the weeks: a changed one is a new version, and one whose records are all gone stays as an empty table."""
    known = before.weeks if before else {}
    current = {table.week: table for table in tables}
    return [
        _revised_week(current.get(week, WeekTable(week, 1, {})), known.get(week))
        for week in sorted(current.keys() | known.keys())
    ]


def _revised_week(table: WeekTable, before: WeekTable | None) -> WeekTable:
    if before is None:
        return table
    changed = dict(before.cells) != dict(table.cells)
    return replace(table, version=before.version + 1 if changed else before.version)


def _row(number: int, body: bytes, *, content_sha256: str, key: Ed25519PrivateKey, now: datetime) -> CountReleaseRow:
    return CountReleaseRow(
        number=number,
        content_sha256=content_sha256,
        sha256=_sha256(body),
        signature=base64.urlsafe_b64encode(key.sign(body)).decode().rstrip("="),
        body=body,
        built_at=now,
    )


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
