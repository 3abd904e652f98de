"""Case records: versions in any order, withdrawals, late ones, rules; and no way to read one back."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from protocol.case import CaseRecord
from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.cases.service import accept_case, check_case
from registry_api.cases.tables import CONTENT, CaseRow
from registry_api.main import create_app
from tests.unit.registry_api.conftest import Registry

TODAY = date(2026, 3, 4)


@pytest.fixture
def site(registry: Registry) -> str:
    registry.enrol("northport")
    return "northport"


def send(registry: Registry, site: str, *records: CaseRecord) -> CaseRow:
    for record in records:
        with registry.runtime.database.writing() as session:
            accept_case(session, site, record, registry.clock())
    with registry.runtime.database.reading() as session:
        return session.exec(select(CaseRow)).one()


def test_a_record_is_kept_whole(registry: Registry, site: str) -> None:
    record = registry.case(age_band="60-69", sex="male", pcr="positive", care_setting="inpatient", corads=6,
                           rsna_class="typical", quality=["contrast", "thick-slices"])  # fmt: skip
    row = send(registry, site, record)
    kept = row.model_dump(
        exclude={"site", "late", "received_at", "emptied_at", "week", "left_weeks", "left_at", "quality"}
    )
    assert kept == record.model_dump(mode="json", exclude={"kind", "epi_week", "quality"})
    assert (row.week, row.quality, row.late) == ("2026-W08", "contrast,thick-slices", False)


def test_the_same_record_twice_is_one(registry: Registry, site: str) -> None:
    record = registry.case()
    assert send(registry, site, record, record).version == 1


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([1, 2, 3, 4]))
def test_the_highest_version_wins_in_any_order(registry: Registry, order: list[int]) -> None:
    with registry.runtime.database.reading() as session:
        known = session.get(CaseRow, ("northport", "f" * 32)) is not None
    if not known:
        registry.enrol("northport")
    else:
        with registry.runtime.database.writing() as session:
            session.delete(session.get_one(CaseRow, ("northport", "f" * 32)))
    for version in order:
        record = registry.case(case_id="f" * 32, version=version, severity_score=version)
        row = send(registry, "northport", record)
    assert (row.version, row.severity_score) == (4, 4)


def test_a_record_that_goes_back_and_forth_names_each_week_once(registry: Registry, site: str) -> None:
    """A hospital may correct as often as it likes; its rows grow no longer than there are weeks."""
    weeks = ["2026-W06", "2026-W07", "2026-W06", "2026-W07", "2026-W08"]
    row = send(
        registry,
        site,
        *(registry.case(case_id="f" * 32, version=at, epi_week=week) for at, week in enumerate(weeks, start=1)),
    )
    assert (row.week, row.left_weeks) == ("2026-W08", "2026-W06,2026-W07")


def test_a_withdrawn_record_keeps_nothing_of_the_study(registry: Registry, site: str) -> None:
    record = registry.case(age_band="60-69")
    row = send(registry, site, record, record.model_copy(update={"version": 2, "withdrawn": True}))
    assert row.withdrawn
    content = row.model_dump(include=set(CONTENT))
    assert set(content.values()) == {None}
    assert row.emptied_at == registry.clock()


def test_an_old_version_does_not_bring_a_withdrawn_case_back(registry: Registry, site: str) -> None:
    record = registry.case()
    withdrawn = record.model_copy(update={"version": 2, "withdrawn": True})
    assert send(registry, site, record, withdrawn, record).withdrawn


def test_two_sites_may_have_the_same_id_and_do_not_touch_each_other(registry: Registry, site: str) -> None:
    registry.enrol("southbay")
    record = registry.case()
    for one in (site, "southbay"):
        with registry.runtime.database.writing() as session:
            accept_case(session, one, record, registry.clock())
    with registry.runtime.database.writing() as session:
        accept_case(session, "southbay", record.model_copy(update={"version": 2, "withdrawn": True}), registry.clock())
        assert not session.get_one(CaseRow, (site, record.case_id)).withdrawn


@pytest.mark.parametrize(
    ("week", "late"), [("2026-W09", False), ("2026-W08", False), ("2026-W07", True), ("2025-W50", True)]
)
def test_a_record_is_late_two_weeks_after_its_week(registry: Registry, site: str, week: str, *, late: bool) -> None:
    assert send(registry, site, registry.case(week=week)).late is late


def test_a_correction_makes_no_timely_record_late_and_no_late_one_timely(registry: Registry, site: str) -> None:
    record = registry.case()
    assert not send(registry, site, record).late
    registry.clock.pass_(days=60)
    corrected = record.model_copy(update={"version": 2})
    row = send(registry, site, corrected)
    assert (row.version, row.late, row.received_at) == (2, False, registry.clock())
    moved = (
        registry.case(case_id="e" * 32, week="2025-W50"),
        registry.case(case_id="e" * 32, week="2026-W17", version=2),
    )
    for one in moved:
        with registry.runtime.database.writing() as session:
            accept_case(session, site, one, registry.clock())
    with registry.runtime.database.reading() as session:
        assert session.get_one(CaseRow, (site, "e" * 32)).late


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"week": "2021-W53"}, Code.CASE_WEEK_UNKNOWN),
        ({"week": "2026-W12"}, Code.CASE_WEEK_AHEAD),
        ({"opacity_percent": 30}, Code.CASE_OPACITY_SUM),
        ({"opacity_percent": 5}, Code.CASE_OPACITY_SUM),
        ({"corads": 6, "pcr": "negative"}, Code.CASE_CORADS_PCR),
        ({"corads": 5, "rsna_class": "negative"}, Code.CASE_CLASSES_DIFFER),
    ],
)
def test_each_rule_has_its_code(registry: Registry, fields: dict[str, object], code: Code) -> None:
    with pytest.raises(InvalidInputError) as raised:
        check_case(registry.case(**fields), today=TODAY)
    assert raised.value.code is code


@pytest.mark.parametrize("fields", [{"opacity_percent": 30}, {"corads": 6}, {"corads": 5, "rsna_class": "negative"}])
def test_whatever_a_withdrawn_record_says_of_the_study_it_is_withdrawn(
    registry: Registry, site: str, fields: dict[str, object]
) -> None:
    record = registry.case()
    assert send(
        registry, site, record, registry.case(case_id=record.case_id, version=2, withdrawn=True, **fields)
    ).withdrawn


def test_rounded_shares_may_miss_the_sum_by_one(registry: Registry) -> None:
    for opacity in (11, 12, 13):
        check_case(registry.case(opacity_percent=opacity), today=TODAY)


def test_a_site_ahead_of_utc_may_send_on_the_first_day_of_its_week(registry: Registry) -> None:
    check_case(registry.case(week="2026-W11"), today=datetime(2026, 3, 8, 13, tzinfo=UTC).date())


def test_no_route_says_anything_of_a_case(registry: Registry) -> None:
    paths = create_app(registry.runtime).openapi()["paths"]
    assert not [path for path in paths if "case" in path]
