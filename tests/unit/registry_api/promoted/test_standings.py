"""How sites say a release does: the last word of each counts, revoked sites say nothing, and nobody learns which site said what."""

import pytest

from protocol.shape import canonical_json
from protocol.standing import ReleaseStanding, Standing
from registry_api.enrolment.sites import revoke_site
from registry_api.link.intake import Outcome, take
from registry_api.promoted.standings import standings
from registry_api.promoted.tables import StandingRow
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.centre_home import SERVICE_TOKEN
from tests.unit.registry_api.conftest import Registry

SERVICE = {"Authorization": f"Bearer {SERVICE_TOKEN}"}
SITES = ("northport", "southbay", "westhill")


@pytest.fixture
def network(registry: Registry) -> Registry:
    for site in SITES:
        registry.enrol(site)
    return registry


def say(network: Registry, site: str, standing: Standing, *, release: str = "ggo@1", version: int = 1) -> None:
    word = canonical_json(ReleaseStanding(release=release, standing=standing, version=version))
    envelope = f"{SITES.index(site)}{version}".zfill(32)
    outcome = take(network.runtime.database, site, envelope_id=envelope, body=word, now=network.clock())
    assert outcome == Outcome(accepted=True)


def counted(network: Registry) -> dict[str, dict[str, int]]:
    with network.runtime.database.reading() as session:
        return standings(session)


def test_words_are_counted_by_release(network: Registry) -> None:
    say(network, "northport", Standing.STEADY)
    say(network, "southbay", Standing.STEADY)
    say(network, "westhill", Standing.WORSE, release="ggo@2")
    assert counted(network) == {"ggo@1": {"steady": 2}, "ggo@2": {"worse": 1}}


def test_the_last_word_of_a_site_counts(network: Registry) -> None:
    say(network, "northport", Standing.STEADY)
    say(network, "northport", Standing.WATCH, version=2)
    assert counted(network) == {"ggo@1": {"watch": 1}}


def test_an_earlier_word_that_comes_later_changes_nothing(network: Registry) -> None:
    say(network, "northport", Standing.WORSE, version=2)
    say(network, "northport", Standing.STEADY, version=1)
    assert counted(network) == {"ggo@1": {"worse": 1}}


def test_a_revoked_site_says_nothing_any_more(network: Registry) -> None:
    say(network, "northport", Standing.WORSE)
    with network.runtime.database.writing() as session:
        revoke_site(session, "northport", now=network.clock())
    assert counted(network) == {}


def test_the_centre_gets_counts_and_no_sites(network: Registry, client: AsgiClient) -> None:
    say(network, "northport", Standing.WATCH)
    answer = client.get("/v1/models/standings", headers=SERVICE)
    assert (answer.status_code, answer.json()) == (200, {"ggo@1": {"watch": 1}})
    assert "northport" not in answer.text


def test_a_word_is_all_that_is_kept() -> None:
    assert set(StandingRow.model_fields) == {"site", "release", "standing", "version", "received_at"}
