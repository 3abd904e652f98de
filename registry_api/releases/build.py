"""Building a release: count, protect, write, sign, store. Built again without a change, it is the same release."""

import base64
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache, partial
from itertools import groupby
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import SQLColumnExpression, case, literal_column
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, select

from protocol.codes import Code
from protocol.errors import ConflictError
from registry_api.cases.quality import SiteWeek, senders_after, site_weeks
from registry_api.cases.tables import CaseRow
from registry_api.database import Database
from registry_api.enrolment.tables import SiteRow
from registry_api.releases.cube import GGO_BANDS, UNREAD, Group, lines, places_of, tally
from registry_api.releases.disclosure import Cell, Key, Rule, Status, protect
from registry_api.releases.document import Document, WeekTable, published_cells, read, renumbered, write
from registry_api.releases.patients import protect_patients
from registry_api.releases.reporting import quality, reporting
from registry_api.releases.steady import steady
from registry_api.releases.tables import CountReleaseRow
from registry_api.releases.turn import turn
from registry_api.releases.window import is_closed, open_weeks, rule_of
from registry_api.units.service import read_tree
from registry_api.units.tree import Tree, country_of


def _banded(percent: SQLColumnExpression[Any], bands: Mapping[str, int]) -> SQLColumnExpression[Any]:
    """Return the band of a whole percent. Written out as literals, so that PostgreSQL sees the same expression in SELECT and GROUP BY."""
    return case(*((percent <= literal_column(str(most)), literal_column(f"'{band}'")) for band, most in bands.items()))


COLUMNS: dict[str, SQLColumnExpression[Any]] = {
    "severity": col(CaseRow.severity_band),
    "age": col(CaseRow.age_band),
    "sex": col(CaseRow.sex),
    "pcr": col(CaseRow.pcr),
    "rsna": func.coalesce(col(CaseRow.rsna_class), literal_column(f"'{UNREAD}'")),
    "ggo": _banded(col(CaseRow.ggo_percent), GGO_BANDS),
}
"""Where each dimension of the cube stands in a case record, in the order of `SPLITS`."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build came to. `new` is false when nothing had changed."""

    row: CountReleaseRow
    new: bool


def build_release(database: Database, rule: Rule, *, key: Ed25519PrivateKey, now: datetime) -> Built:
    """Build a release of the closed weeks, or return the last one if it would say the same.

    One process builds at a time. The work is done on one consistent state without holding a write lock; killed at any point it
    leaves nothing behind, and run again it gives the same bytes.

    Raises:
        ConflictError: `run-in-progress` if another build is at work.
    """
    with turn(database):
        return _build(database, rule, key=key, now=now)


def _build(database: Database, rule: Rule, *, key: Ed25519PrivateKey, now: datetime) -> Built:
    with database.reading() as session:
        _hold_still(session)
        last = latest_row(session)
        before = read(last.body) if last else None
        tree = read_tree(session)
        weeks = open_weeks(session, before, today=now.date(), built_at=last.built_at if last else None)
        rules = partial(rule_of, before=before, rule=rule)
        tables = _revised(_protected_weeks(session, rules, tree, weeks, today=now.date()), before, weeks)
        places = _places(session, tree)
    content = write(0, rule, places, tables, tree.units)
    content_sha256 = _sha256(content)
    if last is not None and content_sha256 == last.content_sha256:
        return Built(last, new=False)
    number = last.number + 1 if last else 1
    body = renumbered(content, number)
    row = _row(number, body, content_sha256=content_sha256, key=key, now=now)
    try:
        with database.writing() as session:
            session.add(row)
    except IntegrityError as error:
        raise ConflictError(Code.RUN_IN_PROGRESS, "Another build finished first. Build again.") from error
    return Built(row, new=True)


def _hold_still(session: Session) -> None:
    """Let every query of this transaction see one state. SQLite does so by itself; PostgreSQL must be asked."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def latest_row(session: Session) -> CountReleaseRow | None:
    """Return the newest release, or None before the first."""
    return session.exec(select(CountReleaseRow).order_by(col(CountReleaseRow.number).desc()).limit(1)).first()


def _places(session: Session, tree: Tree) -> list[str]:
    """Return the regions and countries of all sites that ever enrolled."""
    regions = session.exec(select(SiteRow.region).where(col(SiteRow.enrolled_at).is_not(None)).distinct()).all()
    return sorted({place for region in regions for place in (tree.place_of(region), country_of(region))})


def _protected_weeks(
    session: Session, rules: Callable[[str], Rule], tree: Tree, weeks: frozenset[str] | None, *, today: date
) -> list[WeekTable]:
    """Return every closed week among `weeks` that has records, protected; versions are set later.

    They are counted from the newest to the oldest: of each it is said which hospitals were heard from since.
    """
    sites = session.exec(select(SiteRow).where(col(SiteRow.enrolled_at).is_not(None))).all()
    held = session.exec(select(CaseRow.week).distinct()) if weeks is None else weeks
    closed = sorted((week for week in held if is_closed(week, today)), reverse=True)
    heard = senders_after(session, closed[0]) if closed else set()
    tables = []
    for week in closed:
        sent = {one.site: one for one in site_weeks(session, week)}
        heard |= sent.keys()
        if sent:
            tables.append(_protected_week(session, rules(week), tree, week, Came(sites, sent, heard)))
    return tables


@dataclass(frozen=True, slots=True)
class Came:
    """From which hospitals records of a week came, of all that ever enrolled, and which were heard from in that week or since."""

    sites: Sequence[SiteRow]
    sent: Mapping[str, SiteWeek]
    heard: Collection[str]


def _protected_week(session: Session, rule: Rule, tree: Tree, week: str, came: Came) -> WeekTable:
    """Return one week. Each country is protected by itself; its groups are all that is in memory."""
    cells: dict[Key, Cell] = {}
    further = _further(came, tree)
    for _, found in groupby(_groups(session, tree, week), key=lambda group: country_of(group.region)):
        tallies = tally(found)
        studies = protect(tallies, lines(tallies), rule)
        cells.update(published_cells({**studies, **protect_patients(studies, tallies, further, rule)}))
    shown = {place for place, categories in cells if not categories and cells[place, ()].status is Status.PUBLISHED}
    return WeekTable(
        week,
        1,
        cells,
        reporting(week, came.sent.keys(), came.sites, tree),
        quality(week, came.sent, came.heard, shown, came.sites, tree),
        rule,
    )


def _further(came: Came, tree: Tree) -> dict[str, dict[str, int]]:
    """Return, by place, how many studies each hospital calls a further one of a patient."""
    found: dict[str, dict[str, int]] = {}
    for site in came.sites:
        if site.site in came.sent:
            for place in places_of(tree.place_of(site.region)):
                found.setdefault(place, {})[site.site] = came.sent[site.site].further
    return found


def _groups(session: Session, tree: Tree, week: str) -> Iterable[Group]:
    """Yield the groups of a week by country and hospital. The database counts; no record leaves it."""
    query = (
        select(CaseRow.site, SiteRow.region, func.count(), *COLUMNS.values())
        .join(SiteRow, col(SiteRow.site) == CaseRow.site)
        .where(col(CaseRow.withdrawn).is_(False), CaseRow.week == week)
        .group_by(CaseRow.site, SiteRow.region, *COLUMNS.values())
        .order_by(SiteRow.region, CaseRow.site)
    )
    place_of = cache(tree.place_of)
    rows: Iterable[Any] = session.connection().execute(query)
    for site, region, studies, *values in rows:
        yield Group(site, place_of(region), tuple(values), studies)


def _revised(tables: Iterable[WeekTable], before: Document | None, weeks: frozenset[str] | None) -> list[WeekTable]:
    """Number the weeks: a changed one is a new version, one that is not open stays as it was, one without records any more is empty."""
    known = before.weeks if before else {}
    current = {table.week: table for table in tables}
    kept = {week: table for week, table in known.items() if weeks is not None and week not in weeks}
    return [
        kept[week] if week in kept else _revised_week(current.get(week) or _emptied(known[week]), known.get(week))
        for week in sorted(current.keys() | known.keys())
    ]


def _emptied(table: WeekTable) -> WeekTable:
    """Return a week of which nobody has records any more."""
    return WeekTable(table.week, 1, {}, rule=table.rule)


def _revised_week(table: WeekTable, before: WeekTable | None) -> WeekTable:
    """Return a week as its next version, or as it was if nothing that is shown has changed."""
    if before is None:
        return table
    if table.rule is not None:
        table = replace(table, cells=steady(table.cells, before.cells, table.rule))
    changed = replace(table, version=before.version) != before
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
