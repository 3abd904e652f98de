"""Case records by the million: made inside the database by arithmetic, the same on SQLite and PostgreSQL."""

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlmodel import Session

from registry_api.database import Database
from registry_api.enrolment.tables import SiteRow
from registry_api.releases.weeks import monday_of, weeks_until
from registry_api.units.service import ensure_unit, set_population

COUNTRY, REGIONS, SITES, WEEKS = "XA", 13, 1000, 104
LAST_WEEK = "2026-W08"

_SPREADS = {
    "age_band": (
        ("0-19", 3),
        ("20-39", 12),
        ("40-49", 14),
        ("50-59", 19),
        ("60-69", 23),
        ("70-79", 19),
        ("80+", 9),
        ("unknown", 1),
    ),
    "sex": (("female", 46), ("male", 52), ("other", 1), ("unknown", 1)),
    "pcr": (("positive", 40), ("negative", 25), ("unknown", 35)),
    "rsna_class": (("typical", 20), ("indeterminate", 8), ("atypical", 4), ("negative", 18), (None, 50)),
    "severity_band": (("none", 30), ("mild", 45), ("moderate", 18), ("severe", 7)),
}
"""Values of each column with their hundredths."""


def site_name(number: int) -> str:
    """Return the name of the n-th hospital."""
    return f"site-{number}"


def make_network(database: Database) -> None:
    """Add the country, its regions with people, and the hospitals."""
    joined = datetime.combine(monday_of(weeks_until(LAST_WEEK, count=WEEKS + 1)[0]), datetime.min.time(), UTC)
    with database.writing() as session:
        places = [COUNTRY, *(f"{COUNTRY}-{number:02d}" for number in range(REGIONS))]
        for place in places:
            ensure_unit(session, place)
            set_population(session, place, year=2024, persons=60_000_000 // (1 if place == COUNTRY else REGIONS))
        session.add_all(
            SiteRow(
                site=site_name(number), region=f"{COUNTRY}-{number % REGIONS:02d}", enrolled_at=joined, joined_at=joined
            )
            for number in range(SITES)
        )


def add_records(database: Database, weeks: list[str], *, per_week: int, start: int) -> None:
    """Add `per_week` records to each of `weeks`, numbered from `start`; one transaction a week."""
    series = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)",
        "postgresql": "WITH n(i) AS (SELECT generate_series(CAST(:first AS bigint), CAST(:last AS bigint)))",
    }[database.engine.dialect.name]
    values = (
        _values() if database.engine.dialect.name == "sqlite" else _values().replace("%", "%%")
    )  # pg8000's own sign
    statement = text(f"INSERT INTO cases ({_columns()}) {series} SELECT {values} FROM n")  # noqa: S608 — our own words
    for number, week in enumerate(weeks):
        first = start + number * per_week
        with database.writing() as session:
            session.connection().execute(
                statement,
                {"first": first, "last": first + per_week - 1, "week": week, "now": _received(week)},
            )


def settle(database: Database) -> None:
    """Let the database learn what it holds, as it would have in the course of two years."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _received(week: str) -> datetime:
    return datetime.combine(monday_of(week) + timedelta(days=6), datetime.min.time())


def today_after(week: str) -> date:
    """Return a day on which `week` is the newest closed one."""
    return monday_of(week) + timedelta(days=9)


def _columns() -> str:
    fixed = "site, case_id, version, withdrawn, late, received_at, week, care_setting, consolidation_percent"
    rest = "ggo_percent, opacity_percent, severity_score, corads, model_release, quality, legal_basis"
    return f"{fixed}, {rest}, {', '.join(_SPREADS)}"


def _values() -> str:
    """Each column's value by the record's number; the hashes are Knuth's multiplicative ones, one multiplier a column."""
    fixed = "'site-' || CAST(i % :sites AS text), 'c' || CAST(i AS text), 1, FALSE, FALSE, :now, :week, 'inpatient', 0"
    fixed = fixed.replace(":sites", str(SITES))
    ggo = f"({_hundredth(5)} * {_hundredth(7)}) / 140"
    rest = f"{ggo}, {ggo}, {_hundredth(11)} / 5, NULL, 'ggo@1', '', 'public-health-law'"
    spread = (_spread(parts, _hundredth(13 + number)) for number, parts in enumerate(_SPREADS.values()))
    return f"{fixed}, {rest}, {', '.join(spread)}"


def _hundredth(salt: int) -> str:
    return f"(((i + {salt * 7919}) * 2654435761 % 4294967296) / 65536 * {2 * salt + 1} % 100)"


def _spread(parts: tuple[tuple[str | None, int], ...], draw: str) -> str:
    edges, reached = [], 0
    for value, hundredths in parts:
        reached += hundredths
        edges.append(f"WHEN {draw} < {reached} THEN {'NULL' if value is None else repr(value)}")
    return f"CASE {' '.join(edges)} END"


def count(session: Session) -> int:
    """Return how many records there are."""
    return int(session.connection().execute(text("SELECT count(*) FROM cases")).scalar_one())
