"""The same tables, transactions and races on a real PostgreSQL, started here and thrown away."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, select

from protocol.case import CaseRecord, LegalBasis
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, UnavailableError
from protocol.reading import GrantRevoked
from protocol.shape import canonical_json
from registry_api.alerts.service import raise_alerts, remove_rule
from registry_api.alerts.tables import AlertRow, AlertRuleRow
from registry_api.cases.bases import withdraw_basis
from registry_api.cases.quality import site_quality
from registry_api.cases.service import accept_case
from registry_api.cases.tables import CaseRow
from registry_api.database import Database, open_engine
from registry_api.enrolment.invites import create_invite, use_invite
from registry_api.enrolment.tables import SiteRow
from registry_api.keyfiles import load_signing_key
from registry_api.link import gathering
from registry_api.link.gathering import Sent, take_many
from registry_api.link.intake import Outcome, take
from registry_api.link.outbox import AT_ONCE, mark_received, open_notices, send_notice
from registry_api.people.roles import Role
from registry_api.people.service import add_person, person_by_key
from registry_api.people.tables import PersonRow
from registry_api.public.service import draw
from registry_api.reading.readers import keys_of, remember_key
from registry_api.releases.archive import Archive
from registry_api.releases.build import build_release
from registry_api.releases.disclosure import Cell, Rule, Status
from registry_api.releases.document import Document, WeekTable
from registry_api.releases.turn import ADVISORY_KEY, turn
from registry_api.schema import metadata, migrate
from registry_api.settings import PublicSettings
from registry_api.units.service import ensure_unit
from tests.fakes import postgresql
from tests.fakes.centre_home import make_centre_home

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
RULE = Rule(minimum=10, rounding=5, sites=2, dominance=0.85)


needs_postgresql = pytest.mark.skipif(
    not postgresql.installed(), reason="no PostgreSQL server on this machine (initdb, pg_ctl)"
)
pytestmark = needs_postgresql
pytest.importorskip("pg8000", reason="the driver pg8000 is not installed")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgresql.running(tmp_path_factory.mktemp("postgresql")) as address:
        yield address


@pytest.fixture(scope="module")
def database(url: str) -> Iterator[Database]:
    engine = open_engine(url)
    migrate(engine)
    opened = Database(engine)
    with opened.writing() as session:
        ensure_unit(session, "XA-N")
        session.add_all([SiteRow(site=name, region="XA-N", enrolled_at=NOW) for name in ("north-a", "north-b")])
    yield opened
    opened.close()


def case(number: int, **fields: object) -> CaseRecord:
    content = {
        "case_id": f"{number:032x}", "epi_week": "2026-W08", "ggo_percent": 10, "consolidation_percent": 2,
        "opacity_percent": 12, "severity_score": 5, "severity_band": "mild", "model_release": "ggo@0", **fields,
    }  # fmt: skip
    return CaseRecord.model_validate(content)


def test_migrations_end_where_the_code_is(database: Database) -> None:
    migrate(database.engine)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata()) == []


def test_of_many_at_once_exactly_one_uses_the_invite(database: Database) -> None:
    with database.writing() as session:
        token = create_invite(session, site="newcomer", region="XA-N", hours=1, now=NOW)

    def attempt(_: int) -> str:
        try:
            with database.writing() as session:
                use_invite(session, token, now=NOW)
        except ConflictError as error:
            return error.code
        return "in"

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(attempt, range(16)))
    assert outcomes == ["in"] + ["invite-used"] * 15


def test_a_parcel_that_comes_many_times_at_once_is_stored_once(database: Database) -> None:
    body = canonical_json(case(1))

    def put(_: int) -> Outcome:
        return take(database, "north-a", envelope_id="e" * 32, body=body, now=NOW)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(put, range(16)))
    assert set(outcomes) == {Outcome(accepted=True)}
    with database.reading() as session:
        assert len(session.exec(select(CaseRow).where(CaseRow.case_id == f"{1:032x}")).all()) == 1


def test_two_versions_of_a_case_at_once_leave_the_higher(database: Database) -> None:
    def put(version: int) -> Outcome:
        body = canonical_json(case(2, version=version))
        return take(database, "north-b", envelope_id=f"{version:032x}", body=body, now=NOW)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(put, range(1, 17)))
    assert set(outcomes) == {Outcome(accepted=True)}
    with database.reading() as session:
        assert session.get_one(CaseRow, ("north-b", f"{2:032x}")).version == 16


def test_many_parcels_at_once_are_stored_in_two_statements(database: Database) -> None:
    records = [case(1000 + number // 2, epi_week="2025-W10", version=1 + number % 2) for number in range(300)]
    sent = [Sent("north-a", f"{5000 + number:032x}", canonical_json(one)) for number, one in enumerate(records)]
    inserts: list[str] = []

    def note(*call: object) -> None:
        if str(call[2]).startswith("INSERT"):
            inserts.append(str(call[2])[:20])

    event.listen(database.engine, "before_cursor_execute", note)
    outcomes = take_many(database, sent, now=NOW)
    event.remove(database.engine, "before_cursor_execute", note)
    assert outcomes == [Outcome(accepted=True)] * 300
    assert inserts == ["INSERT INTO parcels ", "INSERT INTO cases (s"]
    assert take_many(database, sent[:9], now=NOW) == outcomes[:9]
    with database.reading() as session:
        found = session.exec(select(CaseRow).where(CaseRow.week == "2025-W10")).all()
    assert [one.version for one in found] == [2] * 150


def test_what_was_published_for_everybody_stays(database: Database) -> None:
    settings = PublicSettings(enabled=True, first_week="2025-W01")
    with database.writing() as session:
        accept_case(session, "north-a", case(4000, epi_week="2025-W20", first_in_week=True), NOW)
    key = Ed25519PrivateKey.generate()
    row = draw(database, "2025-W20", settings, key=key, noise=lambda counts, _: list(counts), now=NOW)
    assert [one["count"] for one in json.loads(row.body)["cells"]] == [0, 1, 0, 0]
    for change in ("DELETE FROM public_spends", "UPDATE public_weeks SET sha256 = ''"):
        with pytest.raises(DBAPIError, match="stays as it is"), database.writing() as session:
            session.connection().execute(text(change))


def test_notices_keep_their_order_until_received(database: Database) -> None:
    with database.writing() as session:
        ids = [send_notice(session, "north-a", GrantRevoked(jti=f"{number:032x}")) for number in range(5)]
    with database.writing() as session:
        mark_received(session, "north-a", ids[0], now=NOW)
    with database.reading() as session:
        assert [row.id for row in open_notices(session, ["north-a"])] == ids[1:]


def test_a_site_that_takes_nothing_keeps_no_other_waiting(database: Database) -> None:
    with database.writing() as session:
        for number in range(2 * AT_ONCE):
            send_notice(session, "north-a", GrantRevoked(jti=f"{number:032x}"))
        send_notice(session, "north-b", GrantRevoked(jti="d" * 32))
    with database.reading() as session:
        found = open_notices(session, ["north-a", "north-b"])
    assert Counter(row.site for row in found) == {"north-a": AT_ONCE, "north-b": 1}


def test_a_text_or_a_number_that_it_cannot_keep_is_a_bad_request(database: Database) -> None:
    with pytest.raises(InvalidInputError) as raised, database.writing() as session:
        add_person(session, "n\0", role=Role.AUDITOR, region=None, now=NOW)
    assert raised.value.code is Code.BAD_REQUEST
    with pytest.raises(InvalidInputError) as raised, database.reading() as session:
        session.exec(select(CaseRow).where(CaseRow.version == 2**40)).all()
    assert raised.value.code is Code.BAD_REQUEST


def test_an_alert_that_comes_while_its_rule_is_removed_goes_with_it(database: Database) -> None:
    """Whoever removes waits for the alert that is being raised, and takes it along."""
    person_id, rule_id = "a" * 32, "b" * 32
    with database.writing() as session:
        session.add(PersonRow(id=person_id, name="n", role="ministry", region="XA", key_sha256="k", created_at=NOW))
        session.flush()
        session.add(
            AlertRuleRow(
                id=rule_id, person_id=person_id, place="XA", categories="", measure="count", threshold=1, above=True,
                target="https://hook.example", created_at=NOW,
            )
        )  # fmt: skip
    week = WeekTable("2026-W08", 1, {("XA", ()): Cell(20, Status.PUBLISHED, None)})
    document = Document(1, RULE, ("XA",), {week.week: week})

    def remove() -> None:
        with database.writing() as session:
            remove_rule(session, rule_id, person_id)

    with ThreadPoolExecutor(1) as pool, database.writing() as session:
        assert raise_alerts(session, document, built_at=NOW, now=NOW) == 1
        removing = pool.submit(remove)
        with pytest.raises(TimeoutError):
            removing.result(timeout=0.3)
        session.commit()
        removing.result(30)
    with database.reading() as session:
        assert session.exec(select(AlertRow)).all() == []


def test_two_first_uses_of_a_readers_key_at_once_are_both_kept(database: Database) -> None:
    """Two reads of one reader at one hospital renew their grants at the same moment: the later word stands, and neither fails."""
    with database.writing() as session:
        reader_id = add_person(session, "r", role=Role.READER, region=None, now=NOW).person_id

    def remember(jkt: str) -> None:
        with database.writing() as session:
            remember_key(session, reader_id, site="north-a", jkt=jkt)

    with ThreadPoolExecutor(1) as pool, database.writing() as session:
        remember_key(session, reader_id, site="north-a", jkt="a" * 43)
        second = pool.submit(remember, "b" * 43)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.3)
        session.commit()
        second.result(30)
    with database.reading() as session:
        assert keys_of(session, reader_id) == {"north-a": "b" * 43}


@pytest.mark.parametrize("wrong", [{"database": "nowhere"}, {"username": "nobody-here"}])
def test_a_server_that_does_not_let_us_in_is_no_traceback(url: str, wrong: dict[str, str]) -> None:
    away = Database(open_engine(make_url(url).set(**wrong).render_as_string(hide_password=False)))
    with pytest.raises(UnavailableError, match="or has no such database") as raised, away.reading() as session:
        session.connection()
    assert raised.value.code is Code.DATABASE_UNREACHABLE
    away.close()


def test_people_and_times(database: Database) -> None:
    with database.writing() as session:
        added = add_person(session, "n", role=Role.AUDITOR, region=None, now=NOW)
    with database.reading() as session:
        found = person_by_key(session, added.api_key)
        assert found is not None
        assert found.created_at == NOW


def test_a_release_has_the_bytes_that_sqlite_would_give(database: Database, tmp_path: Path) -> None:
    key = load_signing_key(make_centre_home(tmp_path / "home") / "secrets" / "counts.key")
    other = Database(open_engine(f"sqlite:///{tmp_path}/other.db"))
    migrate(other.engine)
    with other.writing() as session:
        ensure_unit(session, "XA-N")
        session.add_all([SiteRow(site=name, region="XA-N", enrolled_at=NOW) for name in ("north-a", "north-b")])
    bodies = []
    for one in (database, other):
        with one.writing() as session:
            for row in session.exec(select(CaseRow)):
                session.delete(row)
        for number in range(40):
            record = case(100 + number, severity_band=("mild", "severe", "none")[number % 3], rsna_class=None)
            site = f"north-{'ab'[number % 2]}"
            assert take(one, site, envelope_id=f"{100 + number:032x}", body=canonical_json(record), now=NOW).accepted
        bodies.append(build_release(one, RULE, key=key, now=NOW).row.body)
        assert not build_release(one, RULE, key=key, now=NOW).new
    with database.reading() as session:
        assert Archive().row(session).body == bodies[0]
    other.close()
    assert bodies[0] == bodies[1]


def test_a_rule_of_other_thresholds_is_another_release(database: Database, tmp_path: Path) -> None:
    key = load_signing_key(make_centre_home(tmp_path / "home") / "secrets" / "counts.key")
    first = build_release(database, RULE, key=key, now=NOW)
    second = build_release(database, replace(RULE, minimum=20), key=key, now=NOW)
    assert second.new
    assert second.row.number == first.row.number + 1


def test_one_build_at_a_time_and_a_session_that_dies_gives_its_turn_back(database: Database, tmp_path: Path) -> None:
    key = load_signing_key(make_centre_home(tmp_path / "home") / "secrets" / "counts.key")
    with turn(database), pytest.raises(ConflictError):
        build_release(database, RULE, key=key, now=NOW)
    other = database.engine.connect()
    assert other.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_KEY}).scalar()
    with pytest.raises(ConflictError):
        build_release(database, RULE, key=key, now=NOW)
    other.invalidate()  # as if its process had been killed
    other.close()
    assert build_release(database, RULE, key=key, now=NOW).row.number >= 1


def test_record_quality_and_a_withdrawn_basis_are_counted_as_on_sqlite(database: Database) -> None:
    for number in range(4):
        record = case(900 + number, epi_week="2026-W02", sex="male", legal_basis="consent")
        assert take(
            database, "north-a", envelope_id=f"{900 + number:032x}", body=canonical_json(record), now=NOW
        ).accepted
    with database.reading() as session:
        quality = site_quality(session, "north-a", weeks=["2026-W02"], now=NOW)
    assert (quality.weeks[0].studies, quality.weeks[0].filled["sex"], quality.hours_since) == (4, 1.0, 0.0)
    with database.writing() as session:
        assert withdraw_basis(session, "north-a", LegalBasis.CONSENT, now=NOW) == 4
    with database.reading() as session:
        assert site_quality(session, "north-a", weeks=["2026-W02"], now=NOW).weeks[0].withdrawn == 4


@pytest.mark.parametrize("first", ["record", "withdrawal"])
def test_no_record_slips_past_the_withdrawal_of_its_basis(database: Database, first: str) -> None:
    """Whichever of the two begins, the other waits for it: the record is emptied with the others, or refused."""
    site, number = f"racing-{first}", 950
    with database.writing() as session:
        session.add(SiteRow(site=site, region="XA-N", enrolled_at=NOW))
    sent = Sent(site, f"{number:032x}", canonical_json(case(number, legal_basis="consent")))
    begun, go_on = Event(), Event()

    def halfway(_: object) -> None:
        begun.set()
        assert go_on.wait(30)

    def withdraw() -> int:
        with database.writing() as session:
            emptied = withdraw_basis(session, site, LegalBasis.CONSENT, now=NOW)
            if first == "withdrawal":
                halfway(session)
            return emptied

    def store() -> list[Outcome]:
        with pytest.MonkeyPatch.context() as patch:
            if first == "record":
                inner = gathering.withdrawn_bases
                patch.setattr(gathering, "withdrawn_bases", lambda *asked: (inner(*asked), halfway(asked))[0])
            return take_many(database, [sent], now=NOW)

    with ThreadPoolExecutor(2) as pool:
        leading = pool.submit(store if first == "record" else withdraw)
        assert begun.wait(30)
        following = pool.submit(withdraw if first == "record" else store)
        with pytest.raises(TimeoutError):
            following.result(timeout=0.5)
        go_on.set()
        leading.result(30)
        following.result(30)
    with database.reading() as session:
        live = session.exec(select(CaseRow).where(CaseRow.site == site, col(CaseRow.withdrawn).is_(False))).all()
    assert live == []
