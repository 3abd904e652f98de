"""Record quality: what came against what was expected, week by week, seen by the hospital itself and nobody else."""

from datetime import timedelta

import pytest

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.cases.quality import FIELDS, Quality, site_quality
from registry_api.cases.service import accept_case
from registry_api.enrolment.sites import expect_studies
from registry_api.enrolment.tables import SiteRow
from registry_api.people.roles import Role
from registry_api.people.service import add_person
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import Registry


@pytest.fixture
def sites(registry: Registry) -> Registry:
    for site in ("northport", "southbay"):
        registry.enrol(site)
    return registry


def quality(registry: Registry, site: str, *weeks: str) -> Quality:
    with registry.runtime.database.reading() as session:
        return site_quality(session, site, weeks=weeks, now=registry.clock())


def test_completeness_is_what_came_by_what_was_expected(sites: Registry) -> None:
    with sites.runtime.database.writing() as session:
        expect_studies(session, "northport", weekly=8)
    sites.cases("northport", 6)
    sites.cases("southbay", 30)
    [week, empty] = quality(sites, "northport", "2026-W08", "2026-W07").weeks
    assert (week.studies, week.expected, week.completeness) == (6, 8, 0.75)
    assert (empty.week, empty.studies, empty.completeness, empty.timeliness) == ("2026-W07", 0, 0.0, None)


def test_without_an_expectation_there_is_no_completeness(sites: Registry) -> None:
    sites.cases("northport", 1)
    assert quality(sites, "northport", "2026-W08").weeks[0].completeness is None


def test_late_records_lower_timeliness_and_withdrawn_ones_count_as_withdrawn_only(sites: Registry) -> None:
    [gone, *_] = sites.cases("northport", 3)
    sites.clock.pass_(days=30)
    sites.cases("northport", 1)
    with sites.runtime.database.writing() as session:
        accept_case(session, "northport", gone.model_copy(update={"version": 2, "withdrawn": True}), sites.clock())
    [week] = quality(sites, "northport", "2026-W08").weeks
    assert (week.studies, week.withdrawn, week.timeliness) == (3, 1, 0.667)


def test_a_field_is_filled_where_it_is_known(sites: Registry) -> None:
    sites.cases("northport", 3, sex="male", corads=0)
    sites.cases("northport", 1, pcr="positive", rsna_class="typical")
    [week] = quality(sites, "northport", "2026-W08").weeks
    assert week.filled == {
        "age_band": 0.0,
        "sex": 0.75,
        "pcr": 0.25,
        "care_setting": 0.0,
        "rsna_class": 0.25,
        "corads": 0.75,
    }
    assert set(week.filled) == set(FIELDS)


def test_freshness_is_the_time_since_the_last_record(sites: Registry) -> None:
    assert quality(sites, "northport").last_received is None
    sites.cases("northport", 1)
    heard = sites.clock()
    sites.clock.pass_(hours=36)
    fresh = quality(sites, "northport")
    assert (fresh.last_received, fresh.hours_since) == (heard, 36.0)


def test_a_hospital_is_told_of_itself_only_and_in_a_page_too(sites: Registry, client: AsgiClient) -> None:
    sites.cases("northport", 5)
    sites.cases("southbay", 7)
    key = sites.add(Role.HOSPITAL, site="northport").api_key
    headers = {"Authorization": f"Bearer {key}"}
    answer = client.get("/v1/registry/quality?weeks=2", headers=headers).json()
    assert answer["site"] == "northport"
    assert [(week["week"], week["studies"]) for week in answer["weeks"]] == [("2026-W08", 5), ("2026-W09", 0)]
    page = client.get("/quality", headers=headers).text
    assert "2026-W08" in page
    assert "southbay" not in page + str(answer)


@pytest.mark.parametrize(
    ("role", "site", "code"),
    [
        (Role.HOSPITAL, None, Code.BAD_REQUEST),
        (Role.MINISTRY, "northport", Code.BAD_REQUEST),
        (Role.HOSPITAL, "nowhere", Code.NOT_FOUND),
    ],
)
def test_who_belongs_to_a_hospital_and_who_does_not(sites: Registry, role: Role, site: str | None, code: Code) -> None:
    with sites.runtime.database.writing() as session, pytest.raises(InvalidInputError) as raised:
        add_person(session, "n", role=role, region="XA", site=site, now=sites.clock())
    assert raised.value.code is code


def test_nothing_is_expected_of_an_unknown_site(sites: Registry) -> None:
    with sites.runtime.database.writing() as session, pytest.raises(InvalidInputError) as raised:
        expect_studies(session, "nowhere", weekly=3)
    assert raised.value.code is Code.NOT_FOUND


def test_enrolling_again_does_not_forget_since_when_a_site_belongs(sites: Registry) -> None:
    first = sites.clock()
    sites.clock.now += timedelta(days=30)
    sites.enrol("northport")
    with sites.runtime.database.reading() as session:
        row = session.get_one(SiteRow, "northport")
    assert (row.joined_at, row.enrolled_at) == (first, sites.clock())
