"""Legal bases that a site withdraws: its records on that basis are emptied, later ones refused, other sites untouched."""

import pytest
from sqlmodel import select

from protocol.case import CaseRecord, LegalBasis
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from registry_api.cases.bases import withdraw_basis
from registry_api.cases.quality import site_quality
from registry_api.cases.service import accept_case
from registry_api.cases.tables import CONTENT, CaseRow
from registry_api.releases.build import build_release
from registry_api.releases.disclosure import Cell, Status
from registry_api.releases.document import WeekTable, read
from registry_api.runtime import disclosure_rule
from tests.unit.registry_api.conftest import Registry


@pytest.fixture
def shared(registry: Registry) -> Registry:
    """Two sites; one shares half of its cases by consent."""
    for site in ("northport", "southbay"):
        registry.enrol(site)
    registry.cases("northport", 12, legal_basis="consent")
    registry.cases("northport", 12)
    registry.cases("southbay", 15, legal_basis="consent")
    return registry


def withdraw(registry: Registry, site: str, basis: LegalBasis = LegalBasis.CONSENT) -> int:
    with registry.runtime.database.writing() as session:
        return withdraw_basis(session, site, basis, now=registry.clock())


def rows(registry: Registry, site: str) -> list[CaseRow]:
    with registry.runtime.database.reading() as session:
        return list(session.exec(select(CaseRow).where(CaseRow.site == site)))


def accept(registry: Registry, site: str, record: CaseRecord) -> None:
    with registry.runtime.database.writing() as session:
        accept_case(session, site, record, registry.clock())


def built_week(registry: Registry) -> WeekTable:
    runtime = registry.runtime
    rule = disclosure_rule(runtime.settings)
    built = build_release(runtime.database, rule, key=runtime.counts_key, now=registry.clock())
    return read(built.row.body).weeks["2026-W08"]


def test_every_record_on_the_basis_is_emptied_and_no_other(shared: Registry) -> None:
    assert withdraw(shared, "northport") == 12
    gone = [row for row in rows(shared, "northport") if row.withdrawn]
    assert len(gone) == 12
    assert {getattr(row, name) for row in gone for name in CONTENT} == {None}
    kept = [row for row in rows(shared, "northport") if not row.withdrawn]
    assert {row.legal_basis for row in kept} == {"public-health-law"}
    assert not any(row.withdrawn for row in rows(shared, "southbay"))


def test_the_columns_that_are_emptied_are_all_that_say_something_of_a_study() -> None:
    identity = {
        "site",
        "case_id",
        "version",
        "withdrawn",
        "late",
        "received_at",
        "emptied_at",
        "week",
        "left_weeks",
        "left_at",
    }
    assert set(CONTENT) == set(CaseRow.model_fields) - identity


def test_they_are_gone_from_the_next_release(shared: Registry) -> None:
    assert built_week(shared).cell("XA-N", ()) == Cell(40, Status.PUBLISHED)
    withdraw(shared, "northport")
    after = built_week(shared)
    assert (after.version, after.cell("XA-N", ())) == (2, Cell(25, Status.PUBLISHED))


def test_a_record_on_a_withdrawn_basis_is_refused_and_its_withdrawal_is_not(shared: Registry) -> None:
    withdraw(shared, "northport")
    record = shared.case(legal_basis="consent")
    with pytest.raises(InvalidInputError, match="withdrawn the legal basis") as raised:
        accept(shared, "northport", record)
    assert raised.value.code is Code.CASE_BASIS_WITHDRAWN
    accept(shared, "northport", record.model_copy(update={"withdrawn": True}))
    accept(shared, "southbay", record)


def test_a_case_comes_back_under_another_basis_as_a_higher_version_only(shared: Registry) -> None:
    [record] = shared.cases("northport", 1, legal_basis="consent")
    withdraw(shared, "northport")
    other = record.model_copy(update={"legal_basis": LegalBasis.RESEARCH_APPROVAL})
    accept(shared, "northport", other)
    assert [row.withdrawn for row in rows(shared, "northport") if row.case_id == record.case_id] == [True]
    accept(shared, "northport", other.model_copy(update={"version": 2}))
    [row] = [row for row in rows(shared, "northport") if row.case_id == record.case_id]
    assert (row.withdrawn, row.legal_basis) == (False, "research-approval")


def test_an_unknown_site_and_a_second_time_have_their_codes(shared: Registry) -> None:
    with pytest.raises(InvalidInputError) as unknown:
        withdraw(shared, "nowhere")
    assert unknown.value.code is Code.NOT_FOUND
    withdraw(shared, "northport")
    with pytest.raises(ConflictError) as again:
        withdraw(shared, "northport")
    assert again.value.code is Code.ALREADY_EXISTS


def test_a_site_that_is_silent_does_not_look_fresh_because_its_basis_fell(shared: Registry) -> None:
    sent_at = shared.clock()
    shared.clock.pass_(days=9)
    withdraw(shared, "northport")
    with shared.runtime.database.reading() as session:
        quality = site_quality(session, "northport", weeks=["2026-W08"], now=shared.clock())
    assert (quality.last_received, quality.hours_since) == (sent_at, 216.0)
