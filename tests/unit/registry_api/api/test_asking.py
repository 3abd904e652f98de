"""Asking a release over HTTPS: series, comparison, distribution, pages of a long answer, tags, and problems that say what is allowed."""

import pytest

from registry_api.main import create_app
from registry_api.people.roles import Role
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import ORIGIN, Registry

V1 = "/v1/registry"


@pytest.fixture(scope="module")
def client(published) -> AsgiClient:
    return published[1]


@pytest.fixture(scope="module")
def ministry(published) -> dict[str, str]:
    return published[0].key_of(Role.MINISTRY)


def test_a_series_is_a_row_per_place_with_a_number_per_week(client: AsgiClient, ministry) -> None:
    body = client.get(f"{V1}/series?by=region&weeks=3", headers=ministry).json()
    assert (body["weeks"], body["versions"]) == (["2026-W06", "2026-W07", "2026-W08"], [None, 1, 1])
    assert body["series"] == [
        {"region": place, "counts": [None, 30, 40], "statuses": ["absent", "published", "published"]}
        for place in ("XA-N", "XA-S")
    ]


def test_a_comparison_says_what_changed_and_what_rounding_leaves_open(client: AsgiClient, ministry) -> None:
    body = client.get(f"{V1}/comparison?by=country&weeks=1", headers=ministry).json()
    [cell] = body["cells"]
    assert (body["week"], body["against"]) == ("2026-W08", ["2026-W07"])
    assert (cell["count"], cell["before"]["count"], cell["mean"], cell["percent_of_mean"]) == (80, 60, 60.0, 133.3)
    assert cell["change"] == {"count": 20, "percent": 33.3, "least": 6, "most": 34}
    earlier = client.get(f"{V1}/comparison?by=country&week=2026-W07", headers=ministry).json()
    assert (earlier["week"], earlier["cells"][0]["change"], earlier["cells"][0]["mean"]) == ("2026-W07", None, None)


def test_the_share_of_ground_glass_comes_by_band(client: AsgiClient, ministry) -> None:
    body = client.get(f"{V1}/distribution?by=week,country,ggo&week=2026-W08", headers=ministry).json()
    [one] = body["distributions"]
    assert (body["of"], one["all"]["count"]) == ("ggo", 80)
    assert {part["value"]: part["percent"] for part in one["parts"]} == {
        "0": 0.0, "1-4": 0.0, "5-25": 100.0, "26-50": 0.0, "51-75": 0.0, "76-100": 0.0
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "cells"), [("counts?by=week,region,age", "cells"), ("series?by=region,age", "series"),
                        ("comparison?by=region,age", "cells"), ("distribution?by=region,age", "distributions")]
)  # fmt: skip
def test_a_long_answer_comes_in_pages_that_make_up_the_whole(
    client: AsgiClient, ministry, path: str, cells: str
) -> None:
    whole = client.get(f"{V1}/{path}", headers=ministry).json()
    assert (whole["total"], whole["offset"], whole["next"]) == (len(whole[cells]), 0, None)
    found, address = [], f"{V1}/{path}&limit=3"
    while address:
        page = client.get(address, headers=ministry).json()
        found += page[cells]
        address = page["next"]
        assert address is None or "release=1" in address
    assert found == whole[cells]


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "offset=-1", "limit=x", "release=99999999999999999999"])
def test_a_part_that_cannot_be_is_refused(client: AsgiClient, ministry, query: str) -> None:
    assert client.get(f"{V1}/counts?{query}", headers=ministry).status_code == 422


def test_a_tag_comes_of_the_release_and_the_question_and_not_of_its_spelling(client: AsgiClient, ministry) -> None:
    def tag(query: str) -> str:
        return client.get(f"{V1}/counts?{query}", headers=ministry).headers["ETag"]

    assert tag("by=week,region,age,sex") == tag("by=sex,age,region") == tag("by=region&by=region,age,sex")
    assert len({tag("by=region"), tag("by=country"), tag("by=region&limit=1"), tag("by=region&offset=1")}) == 4
    assert tag("by=region").startswith('"')


def test_a_caller_of_another_place_has_another_tag(published) -> None:
    registry, client = published
    answers = [
        client.get(f"{V1}/counts?by=region", headers=registry.key_of(Role.MINISTRY, region=place))
        for place in ("XA", "XA-N")
    ]
    assert answers[0].headers["ETag"] != answers[1].headers["ETag"]


@pytest.mark.parametrize("sent", ["{tag}", 'W/{tag}, "other"', '"other", {tag}', "*"])
def test_what_the_caller_has_is_not_sent_and_not_rendered(
    client: AsgiClient, ministry, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    tag = client.get(f"{V1}/series?by=region", headers=ministry).headers["ETag"]
    monkeypatch.setattr("registry_api.releases.archive.Archive.open", lambda *_: pytest.fail("the release was opened"))
    answer = client.get(f"{V1}/series?by=region", headers={**ministry, "If-None-Match": sent.format(tag=tag)})
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)


def test_an_answer_of_a_named_release_may_be_kept_for_long(client: AsgiClient, ministry) -> None:
    def kept(path: str) -> str:
        return client.get(f"{V1}/{path}", headers=ministry).headers["Cache-Control"]

    assert kept("counts") == "private, max-age=300"
    assert kept("counts?release=1") == kept("releases/1/export.csv") == "private, max-age=86400, immutable"


@pytest.mark.parametrize(
    ("by", "too_fine", "allowed"),
    [
        ("severity,age,sex", ["sex"], []),
        ("ggo,severity", ["severity"], []),
        ("severity,ggo,sex", ["ggo", "sex"], ["age", "sex", "pcr", "rsna"]),
    ],
)
def test_a_problem_names_the_dimension_that_is_too_fine_and_what_is_allowed(
    client: AsgiClient, ministry, by: str, too_fine: list[str], allowed: list[str]
) -> None:
    answer = client.get(f"{V1}/counts?by={by}", headers=ministry)
    body = answer.json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert (body["code"], body["too_fine"], body["allowed"]) == ("too-fine", too_fine, allowed)
    assert body["dimensions"] == by.split(",")


def test_a_problem_lists_the_values_that_exist(client: AsgiClient, ministry) -> None:
    body = client.get(f"{V1}/counts?sex=unsaid", headers=ministry).json()
    assert (body["code"], body["allowed"]) == ("bad-request", ["female", "male", "other", "unknown"])
    assert "region" in client.get(f"{V1}/counts?by=hospital", headers=ministry).json()["allowed"]


@pytest.mark.parametrize(
    "path",
    [
        "series?until=2025-W53", "series?week=2026-W08", "series?weeks=0", "comparison?week=2026-W07&week=2026-W08",
        "comparison?week=soon", "distribution?by=week,region", "distribution?by=age,sex", "counts?weeks=3", "series?until=x",
        "counts?week=2026-W08%00",
    ],
)  # fmt: skip
def test_what_a_route_cannot_answer_is_a_bad_request(client: AsgiClient, ministry, path: str) -> None:
    answer = client.get(f"{V1}/{path}", headers=ministry)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-request")


def test_a_release_of_no_such_number_is_not_found(client: AsgiClient, ministry) -> None:
    for path in ("releases/2", "releases/2/export.csv", "series?release=2", f"releases/{2**31 - 1}/changes"):
        assert client.get(f"{V1}/{path}", headers=ministry).status_code == 404
    assert client.get(f"{V1}/releases/{10**30}", headers=ministry).status_code == 422


def test_the_next_release_does_not_move_the_pages_of_the_one_before(registry: Registry) -> None:
    for site in ("north-a", "south-a"):
        registry.enrol(site, f"XA-{site[0].upper()}")
        registry.cases(site, 20)
    registry.build()
    ministry = registry.key_of(Role.MINISTRY)
    with AsgiClient(create_app(registry.runtime), base_url=ORIGIN) as client:
        first = client.get(f"{V1}/counts?by=region&limit=1", headers=ministry).json()
        registry.cases("north-a", 30)
        registry.build()
        assert client.get(f"{V1}/counts?by=region", headers=ministry).json()["release"] == 2
        assert client.get(first["next"], headers=ministry).json()["release"] == 1
