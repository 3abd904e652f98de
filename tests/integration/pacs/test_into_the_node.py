"""Orthanc sends to the node by C-STORE and by STOW-RS; the node pulls from Orthanc by rule and by hand."""

import json
import logging
import ssl
import threading

import httpx
import pytest

from client.rooms.keeping import open_remover
from client.rooms.pacs import open_pulled, open_puller
from client.sections import PullRule
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError, RefusedError
from tests.fakes.ct_series import as_bytes, plain_series, uid
from tests.fakes.dicom_peer import receiving, wait_for
from tests.fakes.node_home import Home
from tests.fakes.orthanc import Orthanc
from tests.fakes.pacs_site import TOKEN, Site

EVER = 36_500


def rules(**more: object) -> tuple[PullRule, ...]:
    return (PullRule.model_validate({"days": EVER, **more}),)


def pull(site: Site, wanted: tuple[PullRule, ...] | None = None, most: int = 100) -> tuple[int, int, int]:
    done = open_puller(site.settings).by_rule(wanted or rules(), most)
    return done.studies, done.instances, done.postponed


def test_orthanc_sends_by_c_store(site: Site, orthanc: Orthanc, tmp_path) -> None:
    study = orthanc.keep(plain_series(5))
    home = Home(tmp_path / "other", port=site.settings.dicom.port, allowed_callers=["PACS"])
    with receiving(home):
        orthanc.rest("PUT", "/modalities/node", json=["ACINUS", "127.0.0.1", home.settings.dicom.port])
        orthanc.rest("POST", "/modalities/node/store", json=[study])
    store = home.store()
    assert len(store.instances(store.studies()[0].study_key)) == 5


def test_orthanc_sends_by_stow(site: Site, orthanc: Orthanc) -> None:
    study = orthanc.keep(plain_series(5))
    port = site.settings.stow.port
    with site.running("stow", port):
        server = {"Url": f"https://localhost:{port}/dicom-web/", "HttpHeaders": {"Authorization": f"Bearer {TOKEN}"}}
        orthanc.rest("PUT", "/dicom-web/servers/node", json=server)
        said = orthanc.rest("POST", "/dicom-web/servers/node/stow", json={"Resources": [study], "Synchronous": True})
        wait_for(lambda: site.held() == 5)
        assert not said.get("ErrorCode")
        orthanc.rest("POST", "/dicom-web/servers/node/stow", json={"Resources": [study], "Synchronous": True})
        (kept,) = site.store().studies()
        assert kept.revision == 5, "sent again, nothing has changed"
    assert list((site.home / "store" / "stowed").iterdir()) == []


def test_a_study_is_pulled_once_and_again_when_it_grows(site: Site, orthanc: Orthanc) -> None:
    series = plain_series(6)
    for index in range(4):
        orthanc.rest("POST", "/instances", content=as_bytes(series.dataset(index)))
    assert pull(site) == (1, 4, 0)
    (before,) = site.store().studies()
    assert pull(site) == (0, 0, 0), "never twice"
    assert site.store().study(before.study_key) == before
    for index in (4, 5):
        orthanc.rest("POST", "/instances", content=as_bytes(series.dataset(index)))
    assert pull(site) == (1, 2, 0), "only what is late"
    assert site.held() == 6


def test_rules_choose(site: Site, orthanc: Orthanc) -> None:
    chest = {"BodyPartExamined": "CHEST", "StudyDescription": "CT Thorax nativ"}
    orthanc.keep(plain_series(2, study="chest", header=chest))
    orthanc.keep(plain_series(2, study="head", header={"BodyPartExamined": "HEAD", "StudyDescription": "CT Schädel"}))
    orthanc.keep(plain_series(2, study="unsaid"))
    orthanc.keep(plain_series(2, study="old", header={**chest, "StudyDate": "19990101"}))
    assert pull(site, rules(body_part="chest", description="THORAX", days=3650)) == (1, 2, 0)
    (found,) = site.store().studies()
    assert found.study_key == site.pseudonyms.study_key(uid("chest"))
    assert pull(site, rules(modality="MR")) == (0, 0, 0)
    assert pull(site, rules(body_part="head")) == (1, 2, 0), "another rule looks again"


def test_no_more_studies_than_allowed_and_the_rest_next_time(site: Site, orthanc: Orthanc) -> None:
    for name in ("a", "b", "c"):
        orthanc.keep(plain_series(2, study=name))
    assert pull(site, most=2) == (2, 4, 0)
    assert pull(site, most=2) == (1, 2, 0)


def test_the_part_pulls_by_itself(site: Site, orthanc: Orthanc) -> None:
    busy = site.changed(pull={"rules": [{"days": EVER}], "poll_seconds": 0.2})
    with busy.running("pacs"):
        wait_for(lambda: open_pulled(busy.settings).state().polled is not None)
        orthanc.keep(plain_series(3))
        wait_for(lambda: site.held() == 3)


def test_by_hand(site: Site, orthanc: Orthanc) -> None:
    series = plain_series(3)
    orthanc.keep(series)
    orthanc.keep(plain_series(3, study="another"))
    puller = open_puller(site.settings)
    assert puller.by_uid([str(uid("study"))]).instances == 3
    assert site.held() == 3
    with pytest.raises(InvalidInputError) as nowhere:
        puller.by_uid(["1.2.3.4"])
    assert nowhere.value.code is Code.NOT_FOUND
    with pytest.raises(InvalidInputError) as odd:
        puller.by_uid(["../instances"])
    assert odd.value.code is Code.BAD_REQUEST


def test_a_deleted_study_comes_by_hand_once_it_is_admitted_again_and_never_by_rule(
    site: Site, orthanc: Orthanc
) -> None:
    orthanc.keep(plain_series(3))
    pull(site)
    key = site.pseudonyms.study_key(str(uid("study")))
    remover = open_remover(site.settings)
    remover.delete(key)
    remover.finish()
    with pytest.raises(RefusedError) as deleted:
        open_puller(site.settings).by_uid([str(uid("study"))])
    assert deleted.value.code is Code.STUDY_DELETED
    assert site.held() == 0
    assert site.store().quarantined() == []
    remover.readmit(key)
    assert pull(site) == (0, 0, 0)
    assert open_puller(site.settings).by_uid([str(uid("study"))]).instances == 3
    assert site.held() == 3
    assert open_puller(site.settings).by_uid([str(uid("study"))]).instances == 0


def test_a_compressed_study_comes_as_it_is_stored(site: Site, orthanc: Orthanc) -> None:
    from pydicom.uid import RLELossless

    dataset = plain_series(1, 32).dataset(0)
    dataset.compress(RLELossless, generate_instance_uid=False)
    orthanc.rest("POST", "/instances", content=as_bytes(dataset))
    assert pull(site) == (1, 1, 0)
    store = site.store()
    kept = store.instances(store.studies()[0].study_key)[0].read_bytes()
    whole = as_bytes(dataset)
    assert kept[kept.index(b"\xe0\x7f\x10\x00") :] == whole[whole.index(b"\xe0\x7f\x10\x00") :]


def test_neither_logs_nor_the_database_name_anybody(
    site: Site, orthanc: Orthanc, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    series = plain_series(2, patient="CANARY-ID-77", header={"StudyDescription": "CANARY-TEXT"})
    orthanc.keep(series)
    pull(site)
    open_puller(site.settings).by_uid([str(uid("study"))])
    with pytest.raises(FederationError) as missing:
        open_puller(site.settings).by_uid([str(uid("never seen"))])
    said = caplog.text + "".join(capsys.readouterr()) + str(missing.value)
    said += json.dumps([{k: str(v) for k, v in vars(record).items()} for record in caplog.records])
    database = b"".join(path.read_bytes() for path in site.home.glob("node.db*"))
    names = " ".join(str(path.relative_to(site.home)) for path in site.home.rglob("*"))
    secrets = [str(uid("study")), str(uid("study", "series")), str(uid("never seen")), "CANARY", "20260112"]
    for secret in [*secrets, str(series.dataset(0).SOPInstanceUID)]:
        assert secret not in said
        assert secret not in names
        assert secret.encode() not in database


@pytest.mark.parametrize("count", [1, 3])
def test_httpx_posts_what_the_standard_describes(site: Site, count: int) -> None:
    series = plain_series(count)
    body = b"".join(
        b"--x\r\nContent-Type: application/dicom\r\n\r\n" + as_bytes(one) + b"\r\n" for one in series.datasets()
    )
    port = site.settings.stow.port
    with site.running("stow", port):
        context = ssl.create_default_context(cafile=str(site.home / "keys" / "gateway-ca.pem"))
        answer = httpx.post(
            f"https://localhost:{port}/dicom-web/studies/{uid('study')}",
            content=body + b"--x--\r\n",
            headers={
                "Authorization": f"Bearer {TOKEN}", "Content-Type": 'multipart/related; type="application/dicom"; boundary=x',
            },
            verify=context,
        )  # fmt: skip
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    stored = [item["00081155"]["Value"][0] for item in answer.json()["00081199"]["Value"]]
    assert stored == [str(one.SOPInstanceUID) for one in series.datasets()]
    assert site.held() == count
    assert threading.active_count() < 50
