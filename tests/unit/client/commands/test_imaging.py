"""The imaging commands as a script uses them: one JSON document, exit codes, nothing half-written."""

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import nibabel
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from client import cli
from client.commands import imaging, labels
from client.infer.nifti import write_nifti, zyx_to_nifti
from protocol.errors import FederationError
from tests.fakes.ct_series import CtSeries, as_bytes, plain_series
from tests.fakes.node_home import Home
from tests.fakes.scans import chest, chest_series

pytestmark = pytest.mark.usefixtures("remembered")


def program() -> typer.Typer:
    app = typer.Typer()

    @app.callback()
    def main(home: Annotated[Path, typer.Option(readable=False)] = Path("/nonexistent/node")) -> None:
        """As the node's own program: the home stands before the verb."""

    imaging.add_to(app)
    labels.add_to(app)
    return app


def run(*words: str | Path) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(program(), [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    (home.settings.home / "node.toml").write_text("[dicom]\nminimum_free_mb = 1\n")
    return home


def test_quantify_without_a_node(tmp_path: Path) -> None:
    chest_series().write(tmp_path / "in")
    code, said = run("quantify", tmp_path / "in", "--json", "--out", tmp_path / "out", "--device", "cpu")
    assert (code, said["ok"], said["model_release"]) == (0, True, "ggo@0")
    keys = {"ggo_fraction", "consolidation_fraction", "opacity_fraction", "lung_volume_ml"}
    assert set(said["per_lung"]) == {"right", "left"}
    assert set(said["per_third"]) == {"upper", "middle", "lower"}
    for share in (said, *said["per_lung"].values(), *said["per_third"].values()):
        assert keys <= set(share)
    low, high = said["opacity_interval"]
    assert low <= said["opacity_fraction"] <= high
    assert said["seconds"]["total"] > 0
    assert "thick-slices" in said["quality"]
    assert sorted(said["files"]) == sorted(path.name for path in (tmp_path / "out").iterdir())
    mask = nibabel.load(tmp_path / "out" / "mask.nii.gz")
    lungs = nibabel.load(tmp_path / "out" / "lungs.nii.gz")
    assert mask.shape == (64, 64, 16)
    inside = np.asarray(lungs.dataobj) > 0
    found = np.asarray(mask.dataobj)
    assert np.count_nonzero((found == 1) & inside) / inside.sum() == pytest.approx(said["ggo_fraction"], abs=1e-4)


def test_quantify_for_a_person(tmp_path: Path) -> None:
    chest_series().write(tmp_path / "in")
    result = CliRunner().invoke(program(), ["quantify", str(tmp_path / "in"), "--device", "cpu"])
    assert result.exit_code == 0
    assert "Measurement aid, not a diagnosis" in result.stdout
    assert "quality flags" in result.stdout


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path: path.write_bytes(as_bytes(plain_series(1).dataset(0, Modality="MR"))), "not-ct"),
        (lambda path: path.write_bytes(b"junk"), "unreadable"),
        (lambda path: None, "not-found"),
        (lambda path: path.write_bytes(as_bytes(CtSeries(hu=np.zeros((1, 64, 64), np.int16)).dataset(0))), "not-hu"),
    ],
)
def test_a_refusal_is_json_and_exit_2(tmp_path: Path, make: Any, code: str) -> None:
    path = tmp_path / "x"
    make(path)
    status, said = run("quantify", path, "--json", "--device", "cpu")
    assert (status, said["ok"], said["code"]) == (2, False, code)
    assert set(said) == {"ok", "code", "message"}


def test_a_device_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    chest_series().write(tmp_path / "in")
    status, said = run("quantify", tmp_path / "in", "--json", "--device", "gpu")
    assert (status, said["code"]) == (2, "bad-setting")


def test_a_refusal_without_json_is_left_to_the_rim(tmp_path: Path) -> None:
    with pytest.raises(FederationError):
        run("quantify", tmp_path / "none")


def test_ingest_measures_and_says_what_became_of_each(home: Home, tmp_path: Path) -> None:
    chest_series(study="good").write(tmp_path / "in" / "good")
    plain_series(1, study="scout", header={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}).write(
        tmp_path / "in" / "s"
    )
    (tmp_path / "in" / "mr.dcm").write_bytes(as_bytes(plain_series(1).dataset(0, Modality="MR")))
    (tmp_path / "in" / "notes.txt").write_text("x")
    code, said = run("--home", home.settings.home, "ingest", tmp_path / "in", "--json")
    assert (code, said["ok"], said["quarantined"]) == (0, True, {"not-ct": 1})
    outcomes = {study["outcome"]: study for study in said["studies"]}
    assert outcomes["refused"]["code"] == "localizer"
    assert 0 <= outcomes["measured"]["ggo_fraction"] <= 1
    assert outcomes["measured"]["model_release"] == "ggo@0"
    again = run("--home", home.settings.home, "ingest", tmp_path / "in", "--json")[1]
    assert again["studies"] == said["studies"], "taking it in twice changes nothing"
    key = outcomes["measured"]["study_key"]
    code, said = run("--home", home.settings.home, "ingest", "--remeasure", key, "--json")
    assert (code, said["studies"][0]["study_key"]) == (0, key)
    finding = home.store().finding(key)
    assert finding is not None
    assert (finding.version, finding.verdict) == (2, None)


def test_ingest_of_nothing_usable_is_exit_2(home: Home, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    code, said = run("--home", home.settings.home, "ingest", tmp_path / "notes.txt", "--json")
    assert (code, said["code"]) == (2, "unreadable")
    assert run("--home", home.settings.home, "ingest", "--json")[1]["code"] == "bad-request"
    assert run("--home", home.settings.home, "ingest", "--remeasure", "nobody", "--json")[1]["code"] == "not-found"


def test_ingest_without_a_node_says_what_to_do(tmp_path: Path) -> None:
    code, said = run("--home", tmp_path / "no", "ingest", tmp_path, "--json")
    assert (code, said["code"]) == (2, "bad-setting")


def test_deidentify_copies_what_is_clean(tmp_path: Path) -> None:
    plain_series(3).write(tmp_path / "in")
    (tmp_path / "in" / "b.dcm").write_bytes(as_bytes(plain_series(1).dataset(0, BurnedInAnnotation="YES")))
    (tmp_path / "in" / "s.dcm").write_bytes(as_bytes(plain_series(1).dataset(0, SeriesDescription="Dose Report")))
    code, said = run("deidentify", tmp_path / "in", tmp_path / "out", "--json")
    assert (code, said) == (0, {"ok": True, "written": 3, "left_out": {"burned-in": 1, "screen": 1}})
    copies = list((tmp_path / "out").rglob("*.dcm"))
    assert len(copies) == 3
    assert all(b"CANARY" not in path.read_bytes() for path in copies)
    assert len({path.parent for path in copies}) == 1, "one study, one folder"


def test_deidentify_keeps_the_device_where_it_is_asked_to(tmp_path: Path) -> None:
    plain_series(1, header={"StationName": "CT-EAST"}).write(tmp_path / "in")
    for out, words in (("plain", ()), ("device", ("--keep-device",))):
        run("deidentify", tmp_path / "in", tmp_path / out, "--json", *words)
        (copy,) = (tmp_path / out).rglob("*.dcm")
        assert (b"CT-EAST" in copy.read_bytes()) is (out == "device")


def test_deidentify_under_the_sites_key_is_repeatable(home: Home, tmp_path: Path) -> None:
    plain_series(1).write(tmp_path / "in")
    for out in ("one", "two"):
        run("--home", home.settings.home, "deidentify", tmp_path / "in", tmp_path / out, "--json")
    one, two = (next((tmp_path / out).rglob("*.dcm")) for out in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert one.name == two.name


def test_labels_come_in_and_go_out(home: Home, tmp_path: Path) -> None:
    chest_series().write(tmp_path / "in")
    (study,) = run("--home", home.settings.home, "ingest", tmp_path / "in", "--json")[1]["studies"]
    volume = nibabel.load(home.settings.studies / study["study_key"] / "ct.nii.gz")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    (tmp_path / "masks").mkdir()
    values = chest().opacity.transpose(2, 1, 0)
    write_nifti(tmp_path / "masks" / "good.nii.gz", values, affine)
    write_nifti(tmp_path / "masks" / "off.nii.gz", *zyx_to_nifti(chest().opacity[1:], np.eye(4)))
    code, said = run("--home", home.settings.home, "label", "import", tmp_path / "masks", "--json")
    assert (code, said["ok"]) == (2, False)
    assert said["imported"] == [{"file": "good.nii.gz", "study_key": study["study_key"]}]
    assert said["refused"] == [{"file": "off.nii.gz", "code": "no-label-match"}]
    code, said = run("--home", home.settings.home, "label", "export", tmp_path / "out", "--json")
    assert (code, [one["source"] for one in said["exported"]]) == (0, ["import"])
    out = np.asarray(nibabel.load(tmp_path / "out" / f"{study['study_key']}_label.nii.gz").dataobj)
    assert np.array_equal(out, values)
    assert run("--home", home.settings.home, "label", "import", tmp_path / "none", "--json")[1]["code"] == "not-found"


def test_a_fault_is_one_sentence_without_its_text(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Errors of libraries quote headers; where there is no home there is no log either, and Python would print them."""

    def stumble() -> None:
        raise ValueError("invalid PatientName CANARY^NAME")

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(cli, "app", stumble)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capfd.readouterr()
    assert ended.value.code == 5
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "node-fault" in said.err
    assert "CANARY" not in said.err


def test_an_output_folder_that_is_a_file_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    code, said = run("quantify", tmp_path / "nothing", "--json", "--out", tmp_path / "out")
    assert (code, said["code"]) == (2, "bad-request")
    assert (tmp_path / "out").read_text() == "mine"


def test_results_of_another_scan_do_not_stay_beside_new_ones(tmp_path: Path) -> None:
    chest_series().write(tmp_path / "in")
    out = tmp_path / "out"
    run("quantify", tmp_path / "in", "--json", "--out", out, "--device", "cpu")
    assert {path.name for path in out.iterdir()} == {
        "mask.nii.gz",
        "lungs.nii.gz",
        "picture.png",
        "report.html",
        "seg.dcm",
        "sr.dcm",
    }
    before = (out / "mask.nii.gz").read_bytes()
    volume = chest(2, 0.4).volume
    turned, affine = zyx_to_nifti(volume.hu, np.diag([*volume.spacing_mm, 1.0])[[2, 1, 0, 3]])
    write_nifti(tmp_path / "scan.nii.gz", turned, affine)
    said = run("quantify", tmp_path / "scan.nii.gz", "--json", "--out", out, "--device", "cpu")[1]
    assert (
        {path.name for path in out.iterdir()}
        == {"mask.nii.gz", "lungs.nii.gz", "picture.png", "report.html"}
        == set(said["files"])
    )
    assert (out / "mask.nii.gz").read_bytes() != before


def test_beside_a_node_of_somebody_else_the_shipped_weights_measure(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged on purpose: whoever may not look into the home must not stumble over what is in it."""
    (home.settings.home / "models").mkdir()
    (home.settings.home / "models" / "current.json").write_text("damaged")
    chest_series().write(tmp_path / "in")
    words = ("--home", home.settings.home, "quantify", tmp_path / "in", "--json", "--device", "cpu")
    assert run(*words)[1]["code"] == "missing-certificate"
    monkeypatch.setattr("os.access", lambda *_: False)
    code, said = run(*words)
    assert (code, said["model_release"]) == (0, "ggo@0")


def test_the_program_itself_does_not_ask_to_read_the_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("os.path.isfile", lambda _path: False)
    result = CliRunner().invoke(cli.app, ["--home", str(home.settings.home), "quantify", "nothing", "--json"])
    assert (result.exit_code, json.loads(result.stdout)["code"]) == (2, "not-found")
