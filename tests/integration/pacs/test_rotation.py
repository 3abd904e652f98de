"""After a rotation of the pseudonym key the node pulls what is new, and nothing a second time."""

from client.rooms.imaging import open_key_ring
from client.rooms.pacs import open_pulled, open_puller
from client.sections import PullRule
from tests.fakes.ct_series import CtSeries, as_bytes, plain_series, uid
from tests.fakes.front import answering
from tests.fakes.orthanc import Orthanc
from tests.fakes.pacs_site import Site

RULES = (PullRule(days=36_500),)


def pull(site: Site) -> tuple[int, int, int]:
    done = open_puller(site.settings).by_rule(RULES, 100)
    return done.studies, done.instances, done.postponed


def store_slices(orthanc: Orthanc, series: CtSeries, *slices: int) -> None:
    for index in slices:
        orthanc.rest("POST", "/instances", content=as_bytes(series.dataset(index)))


def rotate(site: Site, times: int = 1) -> None:
    for _ in range(times):
        open_key_ring(site.settings).rotate()


def test_what_was_pulled_before_is_not_asked_for_again(site: Site, orthanc: Orthanc) -> None:
    orthanc.keep(plain_series(3))
    orthanc.keep(plain_series(2, study="another"))
    assert pull(site) == (2, 5, 0)
    rotate(site, times=2)
    orthanc.front.heads.clear()
    assert pull(site) == (0, 0, 0)
    assert not [head for head in orthanc.front.heads if b"/series" in head], (
        "the list of studies is all that was asked for"
    )
    assert site.held() == 5


def test_of_a_study_that_grows_only_what_is_late_comes(site: Site, orthanc: Orthanc) -> None:
    series = plain_series(6)
    store_slices(orthanc, series, 0, 1, 2, 3)
    pull(site)
    (before,) = site.store().studies()
    rotate(site)
    store_slices(orthanc, series, 4, 5)
    assert pull(site) == (1, 2, 0)
    (after,) = site.store().studies()
    assert after.study_key == before.study_key
    assert after.revision == 6
    assert pull(site) == (0, 0, 0)


def test_the_node_waits_for_the_rest_of_a_study_under_the_name_that_it_has(site: Site, orthanc: Orthanc) -> None:
    """Or half of it would be measured while the other half is on its way."""
    series = plain_series(6)
    store_slices(orthanc, series, 0, 1)
    pull(site)
    rotate(site)
    store_slices(orthanc, series, 2, 3, 4, 5)
    pull(site)
    (study,) = site.store().studies()
    rows = site.store()._connection.execute("SELECT study_key, series_key, instances FROM expectation").fetchall()
    held = site.store()._connection.execute("SELECT DISTINCT series_key FROM instance").fetchall()
    assert [(row["study_key"], row["instances"]) for row in rows] == [(study.study_key, 6)]
    assert [row["series_key"] for row in rows] == [row["series_key"] for row in held]


def test_what_could_not_be_used_is_not_fetched_again_either(site: Site, orthanc: Orthanc) -> None:
    odd = plain_series(2, header={"Modality": "CT"}).dataset(0)
    odd.SOPClassUID = odd.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    orthanc.rest("POST", "/instances", content=as_bytes(odd))
    assert pull(site)[1] == 1
    rotate(site)
    assert pull(site) == (0, 0, 0)
    assert len(site.store().quarantined()) == 1


def test_a_study_that_waits_for_its_next_try_goes_on_waiting(site: Site, orthanc: Orthanc) -> None:
    orthanc.keep(plain_series(3))
    busy = answering(b"{}", status="503 Service Unavailable")
    series = b"/series/" + str(uid("study", "series")).encode()
    orthanc.front.fault = lambda head, client: series in head.split(b"\r\n")[0] and busy(head, client)
    assert pull(site)[2] == 1
    orthanc.front.fault = None
    rotate(site)
    assert pull(site) == (0, 0, 0)
    assert open_pulled(site.settings).state().waiting == 1
