"""DICOMweb of the granted study: nothing else can be found, nothing says whose it is, and voxels lie where they lay."""

import gzip
import json

import numpy as np
import pytest
from pydicom.dataset import Dataset

from client.gateway.app import routes
from client.gateway.dicom_json import DicomStudy
from client.gateway.rim import event_of
from client.gateway.voxels import unpack
from protocol.reading import ReadOpened
from tests.fakes.gateway import CLAIM, REQUEST, STUDY, GatewayUnderTest, a_post, asymmetric_volume

ROOT = "/dicom-web/studies"


@pytest.fixture
def inside(gateway: GatewayUnderTest) -> GatewayUnderTest:
    gateway.enter()
    return gateway


def found(gateway: GatewayUnderTest, path: str) -> list[Dataset]:
    answer = gateway.ask("GET", path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/dicom+json"
    return [Dataset.from_json(one) for one in answer.json()]


def series_of(gateway: GatewayUnderTest) -> str:
    (study,) = found(gateway, ROOT)
    (series,) = found(gateway, f"{ROOT}/{study.StudyInstanceUID}/series")
    return f"{ROOT}/{study.StudyInstanceUID}/series/{series.SeriesInstanceUID}"


def pixels(gateway: GatewayUnderTest, series: str, instance: Dataset) -> np.ndarray:
    answer = gateway.ask("GET", f"{series}/instances/{instance.SOPInstanceUID}/frames/1")
    boundary = answer.headers["Content-Type"].split("boundary=")[1].encode()
    _, part, rest = answer.content.split(b"--" + boundary)
    assert rest == b"--\r\n"
    head, body = part.split(b"\r\n\r\n", 1)
    assert b"transfer-syntax=1.2.840.10008.1.2.1" in head
    return np.frombuffer(body[:-2], "<i2").reshape(instance.Rows, instance.Columns)


def test_there_is_one_study_whatever_is_asked(inside: GatewayUnderTest) -> None:
    inside.book.post(a_post("9" * 32), study_key="8" * 32)
    for question in ("", "?PatientID=*", "?StudyInstanceUID=1.2.3", "?limit=500&offset=0"):
        (study,) = found(inside, ROOT + question)
        assert study.PatientID == REQUEST
        assert study.NumberOfStudyRelatedInstances == 24


def test_every_voxel_is_where_the_volume_has_it(inside: GatewayUnderTest) -> None:
    hu, _ = asymmetric_volume()
    series = series_of(inside)
    instances = found(inside, f"{series}/metadata")
    assert [one.InstanceNumber for one in instances] == list(range(1, 25))
    for index in (0, 11, 23):
        one = instances[index]
        assert np.array_equal(pixels(inside, series, one), hu[index])
        assert [float(mm) for mm in one.ImagePositionPatient] == [0.0, 0.0, 3.0 * index]
        assert [float(part) for part in one.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
        assert [float(mm) for mm in one.PixelSpacing] == [2, 2]
        assert float(one.SliceThickness) == 3
        assert (one.RescaleSlope, one.RescaleIntercept, one.PixelRepresentation) == (1, 0, 1)


def test_all_ways_to_the_metadata_agree(inside: GatewayUnderTest) -> None:
    series = series_of(inside)
    study = series.split("/series")[0]
    every = found(inside, f"{study}/metadata")
    assert every == found(inside, f"{series}/metadata") == found(inside, f"{series}/instances")
    assert found(inside, f"{series}/instances/{every[3].SOPInstanceUID}/metadata") == [every[3]]


def test_nothing_in_it_was_in_a_header(inside: GatewayUnderTest) -> None:
    said = json.dumps([one.to_json_dict() for one in found(inside, f"{series_of(inside)}/metadata")])
    assert STUDY not in said
    assert CLAIM not in said
    (one, *_) = found(inside, f"{series_of(inside)}/metadata")
    assert one.PatientIdentityRemoved == "YES"
    empty = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName")
    assert all(not one[name].value for name in empty)


def test_another_read_of_the_study_has_other_uids(inside: GatewayUnderTest) -> None:
    voxels = unpack(inside.studies / STUDY / "ct.nii.gz")
    one, other = DicomStudy(REQUEST, voxels), DicomStudy("7" * 32, voxels)
    uids = [uid for study in (one, other) for uid in (study.study_uid, study.series_uid, study.instance_uid(0))]
    assert len(set(uids)) == 6
    assert all(len(uid) <= 64 for uid in uids)


@pytest.mark.parametrize(
    "path",
    [
        f"{ROOT}/1.2.3/series", f"{ROOT}/1.2.3/metadata", "{study}/series/1.2.3/metadata", "{study}/series/1.2.3/instances",
        "{series}/instances/1.2.3/metadata", "{series}/instances/1.2.3/frames/1", "{series}/instances/{instance}/frames/2",
        "{series}/instances/{instance}/frames/1,2", "{series}/instances/{instance}", "{series}", "{study}", "/dicom-web/series",
        "/dicom-web/instances", "{study}/instances", "{series}/instances/{instance}/rendered", "{study}/archive",
    ],
)  # fmt: skip
def test_what_is_not_granted_looks_absent_and_no_object_goes_out_whole(inside: GatewayUnderTest, path: str) -> None:
    series = series_of(inside)
    (one, *_) = found(inside, f"{series}/instances")
    asked = path.format(study=series.split("/series")[0], series=series, instance=one.SOPInstanceUID)
    answer = inside.ask("GET", asked)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_without_a_session_there_is_nothing(gateway: GatewayUnderTest) -> None:
    assert gateway.ask("GET", ROOT).json()["code"] == "unauthenticated"
    assert gateway.ask("GET", f"{ROOT}/1.2/metadata").json()["code"] == "unauthenticated"


def test_the_first_frame_is_the_first_look(inside: GatewayUnderTest) -> None:
    series = series_of(inside)
    (one, *_) = found(inside, f"{series}/instances")
    assert inside.gate.parcels == []
    for _ in range(2):
        pixels(inside, series, one)
    assert inside.gate.parcels == [ReadOpened(request_id=REQUEST, claim_id=CLAIM, fence=1)]


def test_every_request_is_in_the_audit_chain_under_the_reads_id(inside: GatewayUnderTest) -> None:
    inside.audit.clear()
    series_of(inside)
    inside.ask("GET", f"{ROOT}/1.2.3/metadata")
    rows = [("gateway.dicomweb", REQUEST, verdict) for verdict in ("answered-200", "answered-200", "not-found")]
    assert inside.audit == rows


def test_a_volume_with_a_text_in_its_header_is_not_shown(inside: GatewayUnderTest) -> None:
    path = inside.studies / STUDY / "ct.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[148:153] = b"SMITH"
    path.write_bytes(gzip.compress(bytes(content)))
    assert inside.ask("GET", ROOT).json()["code"] == "policy-shape"


def test_every_route_that_touches_a_study_is_audited() -> None:
    same_for_everybody = {"/", "/health", "/reader", "/viewer/niivue.umd.js"}
    assert {path for path in routes() if event_of("POST", path) is None} == same_for_everybody
