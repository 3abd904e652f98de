"""Findings go back: under the patient and study that they belong to, once, in every version, read by foreign programs."""

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from bench.peers import system_program
from client.report.read import ReadDocument
from client.report.read_sr import make_read_report
from client.rooms.pacs import open_outgoing, open_puller, open_report_queue, open_report_sender, open_sender
from client.sections import PullRule
from client.store.part10 import as_part10
from tests.fakes.ct_series import CtSeries, as_bytes, uid
from tests.fakes.dicom_peer import wait_for
from tests.fakes.orthanc import TITLE, Orthanc
from tests.fakes.pacs_site import Site
from tests.fakes.ports import free_port
from tests.fakes.scans import chest_series

EVERYTHING = {"objects": ["seg", "sr", "picture"]}
WAYS = ["c-store", "stow"]


def sending(site: Site, way: str, **more: object) -> Site:
    site = site.changed(pacs={"send": way, **more})
    open_outgoing(site.settings).since()
    return site


def measured(site: Site, orthanc: Orthanc, series: CtSeries) -> tuple[str, str]:
    """Bring a series to Orthanc, from there into the node, and measure it; return Orthanc's id and the study key."""
    study = orthanc.keep(series)
    open_puller(site.settings).by_rule((PullRule(days=36_500),), 10)
    return study, site.measure()


def send(site: Site) -> int:
    sender = open_sender(site.settings)
    sender.queue_new(open_outgoing(site.settings).since())
    return sender.step()


def modalities(orthanc: Orthanc, study: str) -> list[str]:
    return sorted(
        str(orthanc.rest("GET", f"/series/{one}")["MainDicomTags"]["Modality"]) for one in orthanc.find(study)
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_readers_report_lies_under_the_study_that_it_is_of(site: Site, orthanc: Orthanc, way: str) -> None:
    site = sending(site, way)
    series = chest_series(header={"PatientName": "Doe^Jane"})
    study = orthanc.keep(series)
    now = datetime.now(UTC)
    headers = [series.dataset(index) for index in range(3)]
    document = ReadDocument(
        claim_id="c" * 32, version=1, sha256="a" * 64, reader="Elsewhere^Dr", written_at=now, signed_at=now,
        statements=(), impression="Ground glass.", header=headers[0],
    )  # fmt: skip
    content = as_part10(make_read_report(headers, document))
    open_report_queue(site.settings).put("c" * 32, "a" * 64, study_key="s" * 32, contents={"sr": content})
    assert open_report_sender(site.settings).step() == 1
    assert modalities(orthanc, study) == ["CT", "SR"]


@pytest.mark.parametrize("way", WAYS)
def test_seg_sr_and_picture_lie_under_the_same_study(site: Site, orthanc: Orthanc, way: str) -> None:
    site = sending(site, way, **EVERYTHING)
    study, _ = measured(
        site, orthanc, chest_series(header={"IssuerOfPatientID": "HOSP", "StudyDescription": "CT chest"})
    )
    assert send(site) == 3
    assert modalities(orthanc, study) == ["CT", "OT", "SEG", "SR"]
    assert len(orthanc.rest("GET", "/studies")) == 1
    (ct, *_), (seg,), (sr,), (picture,) = (orthanc.tags(study, kind) for kind in ("CT", "SEG", "SR", "OT"))
    same = (
        "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID", "StudyInstanceUID", "StudyDate",
        "StudyTime", "StudyID", "AccessionNumber", "StudyDescription",
    )  # fmt: skip
    for one in (seg, sr, picture):
        assert {key: one.get(key, "") for key in same} == {key: ct.get(key, "") for key in same}
        assert one["Manufacturer"] == "Acinus"
        assert "not a diagnosis" in one["SeriesDescription"]
    evidence = str(sr["CurrentRequestedProcedureEvidenceSequence"])
    assert seg["SOPInstanceUID"] in evidence
    assert ct["SOPInstanceUID"] in evidence
    assert open_outgoing(site.settings).counts() == {"waiting": 0, "sent": 3, "parked": 0}


@pytest.mark.skipif(system_program("findscu") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("way", WAYS)
def test_findscu_finds_seg_and_sr_among_the_series(site: Site, orthanc: Orthanc, tmp_path: Path, way: str) -> None:
    """A workstation that knows nothing of us asks the PACS by C-FIND what the study has."""
    site = sending(site, way)
    study, _ = measured(site, orthanc, chest_series())
    assert send(site) == 2
    (ct, *_) = orthanc.tags(study, "CT")
    orthanc.rest("PUT", "/modalities/finder", json=["FINDER", "127.0.0.1", 104])
    keys = (
        "QueryRetrieveLevel=SERIES",
        f"StudyInstanceUID={ct['StudyInstanceUID']}",
        "Modality",
        "SeriesDescription",
        "SeriesInstanceUID",
    )
    asked = [argument for key in keys for argument in ("-k", key)]
    subprocess.run(
        [str(system_program("findscu")), "-S", "-X", "-od", str(tmp_path), "-aet", "FINDER", "-aec", TITLE, *asked, "127.0.0.1", str(orthanc.dicom_port)],
        capture_output=True, check=True,
    )  # fmt: skip
    answers = [pydicom.dcmread(path, force=True) for path in tmp_path.glob("rsp*.dcm")]
    assert sorted(one.Modality for one in answers) == ["CT", "SEG", "SR"]
    own = {one["SeriesInstanceUID"] for kind in ("SEG", "SR") for one in orthanc.tags(study, kind)}
    assert {one.SeriesInstanceUID for one in answers if one.Modality != "CT"} == own
    assert all("not a diagnosis" in one.SeriesDescription for one in answers if one.Modality != "CT")


@pytest.mark.parametrize("way", WAYS)
def test_sent_again_nothing_doubles(site: Site, orthanc: Orthanc, way: str) -> None:
    site = sending(site, way)
    study, _ = measured(site, orthanc, chest_series())
    assert send(site) == 2
    outgoing = open_outgoing(site.settings)
    outgoing._connection.execute("UPDATE pacs_outgoing SET state = 'waiting', settled_s = NULL")  # as after a kill
    seg = outgoing.path(outgoing.due()[0].study_key, 1, "seg")
    shutil.copy(site.store().folder(outgoing.due()[0].study_key) / "seg.dcm", seg)
    before = orthanc.content(study, "SEG"), orthanc.content(study, "SR")
    assert send(site) == 2
    assert (orthanc.content(study, "SEG"), orthanc.content(study, "SR")) == before
    assert outgoing.counts()["sent"] == 2


def test_a_record_that_changes_sends_no_new_report(site: Site, orthanc: Orthanc) -> None:
    site = sending(site, "stow")
    _, key = measured(site, orthanc, chest_series())
    assert send(site) == 2
    site.store()._connection.execute("UPDATE finding SET version = version + 1, measured_at = measured_at + 1")
    sender = open_sender(site.settings)
    assert sender.queue_new(0) == 1
    assert sender.step() == 0
    assert sender.queue_new(0) == 0, "looked at once"
    assert sender.queue(key), "by hand neither"
    assert open_outgoing(site.settings).counts() == {"waiting": 0, "sent": 2, "parked": 0}


def test_a_later_version_names_the_one_it_follows(site: Site, orthanc: Orthanc) -> None:
    site = sending(site, "stow")
    series = chest_series()
    late = series.dataset(15)
    for index in range(15):
        study = orthanc.rest("POST", "/instances", content=as_bytes(series.dataset(index)))["ParentStudy"]
    rule = (PullRule(days=36_500),)
    open_puller(site.settings).by_rule(rule, 10)
    site.measure()
    assert send(site) == 2
    orthanc.rest("POST", "/instances", content=as_bytes(late))
    open_puller(site.settings).by_rule(rule, 10)
    site.measure()
    assert send(site) == 2
    first, second = sorted(orthanc.tags(study, "SR"), key=lambda one: int(one["InstanceNumber"]))
    assert "PredecessorDocumentsSequence" not in first
    (predecessor,) = second["PredecessorDocumentsSequence"]
    (series_of,) = predecessor["ReferencedSeriesSequence"]
    assert predecessor["StudyInstanceUID"] == str(uid("study"))
    assert series_of["SeriesInstanceUID"] == first["SeriesInstanceUID"]
    assert series_of["ReferencedSOPSequence"][0]["ReferencedSOPInstanceUID"] == first["SOPInstanceUID"]
    assert sorted(one["InstanceNumber"] for one in orthanc.tags(study, "SEG")) == ["1", "2"]
    assert len(pydicom.dcmread(site.store().folder(site.measure()) / "sr.dcm").PredecessorDocumentsSequence) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_pacs_that_is_down_gets_it_later(site: Site, orthanc: Orthanc, way: str) -> None:
    down = sending(site, way, port=free_port(), dicomweb=f"https://localhost:{free_port()}/dicom-web")
    study, _ = measured(site, orthanc, chest_series())
    with down.running("pacs"):
        wait_for(lambda: bool(open_outgoing(down.settings).stuck()))
    (stuck,) = open_outgoing(down.settings).stuck()
    assert (stuck.object, stuck.code) == ("seg", "peer-unreachable")
    assert open_outgoing(down.settings).counts() == {"waiting": 2, "sent": 0, "parked": 0}
    up = sending(site, way)
    assert open_outgoing(up.settings).retry_parked() == 1
    with up.running("pacs"):
        wait_for(lambda: open_outgoing(up.settings).counts()["sent"] == 2)
    assert modalities(orthanc, study) == ["CT", "SEG", "SR"]


def test_what_was_measured_before_goes_by_hand_only(site: Site, orthanc: Orthanc) -> None:
    study, key = measured(site, orthanc, chest_series())
    site = sending(site, "c-store")
    assert send(site) == 0
    sender = open_sender(site.settings)
    assert sender.queue(key)
    assert sender.step() == 2
    assert modalities(orthanc, study) == ["CT", "SEG", "SR"]


@pytest.mark.skipif(system_program("storescp") is None, reason="dcmtk is not installed")
def test_dcmtk_takes_the_objects_and_reads_the_report(site: Site, orthanc: Orthanc, tmp_path: Path) -> None:
    """Another foreign peer: storescp receives, dsrdump prints the report, dcmdump the segmentation."""
    port = free_port()
    got = tmp_path / "got"
    got.mkdir()
    scp = subprocess.Popen([str(system_program("storescp")), "-od", str(got), "-aet", "PACS", str(port)])
    try:
        site = sending(site, "c-store", host="127.0.0.1", port=port, **EVERYTHING)
        measured(site, orthanc, chest_series())
        wait_for(lambda: send(site) > 0 or open_outgoing(site.settings).retry_parked() < 0, 30)
    finally:
        scp.terminate()
        scp.wait(10)
    files = {pydicom.dcmread(path, stop_before_pixels=True).Modality: path for path in got.iterdir()}
    assert set(files) == {"SEG", "SR", "OT"}
    report = subprocess.run(["dsrdump", str(files["SR"])], capture_output=True, text=True, check=True).stdout
    assert "Imaging Measurement Report" in report
    assert "Ground glass opacity" in report
    dump = subprocess.run(
        ["dcmdump", "+P", "SegmentLabel", str(files["SEG"])], capture_output=True, text=True, check=True
    )
    assert "[Ground glass]" in dump.stdout


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("header", [{}, {"AccessionNumber": None, "StudyID": None, "PatientBirthDate": None}])
def test_what_the_pacs_holds_is_valid(site: Site, orthanc: Orthanc, tmp_path: Path, header: dict[str, object]) -> None:
    site = sending(site, "stow", **EVERYTHING)
    study, _ = measured(site, orthanc, chest_series(header=header))
    assert send(site) == 3
    for modality in ("SEG", "SR", "OT"):
        (content,) = orthanc.content(study, modality)
        path = tmp_path / f"{modality}.dcm"
        path.write_bytes(content)
        said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]
        assert errors == [], modality
