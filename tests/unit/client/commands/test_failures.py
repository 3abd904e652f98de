"""One code for each way in which `quantify` and `ingest` fail: every line of the reference is triggered, and nothing else comes out."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.config import disable_value_validation
from pydicom.uid import JPEGExtended12Bit
from typer.testing import CliRunner

from client import cli
from tests.fakes.ct_series import CtSeries, as_bytes, plain_series
from tests.fakes.node_home import Home
from tests.fakes.scans import chest_series
from tests.unit.client.infer.test_slices import enhanced
from tests.unit.models.grids import phantom

pytestmark = pytest.mark.usefixtures("remembered")

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "reference" / "quantify.md").read_text(encoding="utf-8")
LATE = {"disk-full", "missing-certificate", "node-fault"}
"""Codes that end with exit code 5; the others end with 2."""

Make = Callable[[Path], list[str | Path]]
"""Prepares a folder and returns the words behind the verb."""


def file(content: bytes) -> Make:
    def make(folder: Path) -> list[str | Path]:
        (folder / "x").write_bytes(content)
        return [folder / "x"]

    return make


def series(one: CtSeries, *, skip: int | None = None) -> Make:
    def make(folder: Path) -> list[str | Path]:
        for index, path in enumerate(one.write(folder / "in")):
            if index == skip:
                path.unlink()
        return [folder / "in"]

    return make


def ct(**changes: object) -> bytes:
    with disable_value_validation():
        return as_bytes(plain_series(1).dataset(0, **changes))


def tilted() -> CtSeries:
    class Tilted(CtSeries):
        def position(self, index: int) -> np.ndarray:
            return np.add(self.origin_mm, (0.0, 2.0 * index, 5.0 * index))

    return Tilted(hu=plain_series(6).hu)


def phases(folder: Path) -> list[str | Path]:
    first, second = plain_series(3), CtSeries(hu=plain_series(3).hu + np.int16(9))
    first.write(folder / "in")
    for index in range(3):
        (folder / "in" / f"again{index}.dcm").write_bytes(
            as_bytes(second.dataset(index, SOPInstanceUID=f"2.25.9{index}"))
        )
    return [folder / "in"]


def extended() -> bytes:
    dataset = plain_series(1).dataset(0)
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    dataset.BitsStored, dataset.HighBit = 12, 11
    from pydicom.encaps import encapsulate

    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].VR = "OB"
    return as_bytes(dataset)


def belly() -> CtSeries:
    """The two lowest slices of a phantom."""
    volume = phantom(1, 0.0).volume
    return CtSeries(hu=volume.hu[:2], step_mm=volume.spacing_mm[0], pixel_mm=volume.spacing_mm[1:])


def chest(folder: Path) -> list[str | Path]:
    chest_series().write(folder / "in")
    return [folder / "in"]


def out_is_a_file(folder: Path) -> list[str | Path]:
    (folder / "out").write_text("mine")
    return [folder, "--out", folder / "out"]


def out_below_a_file(folder: Path) -> list[str | Path]:
    (folder / "mine").write_text("mine")
    return [*chest(folder), "--out", folder / "mine" / "out"]


def bad_zip(folder: Path) -> list[str | Path]:
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("bomb", bytes(80 << 20))
    return [folder / "x.zip"]


QUANTIFY: list[tuple[str, str, Make]] = [
    ("no file", "not-found", lambda folder: [folder / "nothing"]),
    ("noise", "unreadable", file(b"noise")),
    ("empty", "unreadable", file(b"")),
    ("cut", "unreadable", file(ct()[:-50])),
    ("an empty folder", "unreadable", lambda folder: [folder]),
    ("a bomb", "unreadable", bad_zip),
    ("rows", "unreadable", file(ct(Rows=65_535))),
    ("no geometry", "unreadable", file(ct(PixelSpacing=None))),
    ("frames that are not described", "unreadable", file(as_bytes(enhanced(3))[:-100])),
    ("a damaged volume", "unreadable", file(b"\x1f\x8b" + bytes(50))),
    ("another modality", "not-ct", file(ct(Modality="MR"))),
    ("a picture", "not-ct", file(b"\x89PNG\r\n\x1a\n" + bytes(400))),
    ("8 bits", "not-hu", file(ct(BitsAllocated=8, BitsStored=8, HighBit=7))),
    ("another scale", "not-hu", file(ct(RescaleType="OD"))),
    ("never rescaled", "not-hu", file(as_bytes(CtSeries(hu=np.zeros((1, 64, 64), np.int16)).dataset(0)))),
    ("a scout", "localizer", file(ct(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))),
    ("coronal", "not-axial", series(plain_series(3, orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0)))),
    ("tilt", "gantry-tilt", series(tilted())),
    ("a gap", "missing-slices", series(plain_series(8), skip=3)),
    ("two phases", "mixed-geometry", phases),
    ("JPEG Extended", "unsupported-transfer-syntax", file(extended())),
    ("no lung", "no-lung", series(belly())),
    ("a device", "bad-setting", lambda folder: [*chest(folder), "--device", "gpu"]),
    ("out is a file", "bad-request", out_is_a_file),
    ("out cannot be made", "disk-full", out_below_a_file),
]


def ended(home: Path, verb: str, *words: str | Path) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(cli.app, ["--home", str(home), verb, *map(str, words), "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, json.loads(result.stdout)


def codes_of_table(heading: str) -> set[str]:
    part = PAGE.split(heading)[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    return {code for row in rows for code in re.findall(r"`([a-z-]+)`", row)}


@pytest.mark.parametrize(
    ("make", "code"), [(make, code) for _, code, make in QUANTIFY], ids=[name for name, _, _ in QUANTIFY]
)
def test_quantify_fails_with_one_code(tmp_path: Path, make: Make, code: str) -> None:
    folder = tmp_path / "CANARY"
    folder.mkdir()
    status, said = ended(tmp_path / "none", "quantify", *make(folder))
    assert (status, said["code"]) == (5 if code in LATE else 2, code)
    assert said["ok"] is False
    sentence = str(said["message"])
    assert not any(canary in sentence for canary in ("19600102", "ACC-77", "CANARY^NAME", "PAT-1"))


def test_damaged_releases_are_said(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").settings.home
    (home / "models").mkdir()
    (home / "models" / "current.json").write_text("damaged")
    assert ended(home, "quantify", *chest(tmp_path))[1]["code"] == "missing-certificate"


def test_every_line_of_quantifys_table_is_triggered() -> None:
    elsewhere = {"missing-certificate", "node-fault"}  # above; and tests/unit/client/commands/test_imaging.py
    assert codes_of_table("## Refusals") == {code for _, code, _ in QUANTIFY} | elsewhere


# ingest


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    (home.settings.home / "node.toml").write_text("[dicom]\nminimum_free_mb = 1\n")
    return home


def test_ingest_fails_with_one_code(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, noise = home.settings.home, tmp_path / "noise"
    noise.write_bytes(b"noise")
    seen = {
        "not-found": ended(place, "ingest", tmp_path / "nothing"),
        "unreadable": ended(place, "ingest", noise),
        "bad-request": ended(place, "ingest"),
        "bad-setting": ended(tmp_path / "none", "ingest", noise),
    }
    assert ended(place, "ingest", "--remeasure", "nobody")[1]["code"] == "not-found"
    assert ended(place, "ingest", *bad_zip(tmp_path))[1]["code"] == "unreadable"
    plain_series(1).write(tmp_path / "in")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _fd: (_ for _ in ()).throw(OSError(28, "full")))
        seen["disk-full"] = ended(place, "ingest", tmp_path / "in")
    (home.settings.keys / "pseudonym.key").unlink()
    seen["missing-certificate"] = ended(place, "ingest", tmp_path / "in")
    assert {code: (status, said["code"]) for code, (status, said) in seen.items()} == {
        code: (5 if code in LATE else 2, code) for code in seen
    }
    assert set(seen) == codes_of_table("It fails as a whole with one code")


def test_ingest_says_of_each_file_and_study_what_became_of_it(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    plain_series(1, study="scout", header={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}).write(folder)
    plain_series(8, study="gap", name="gap").write(folder)
    (folder / "gap-037.dcm").unlink()
    (folder / "mr.dcm").write_bytes(ct(Modality="MR"))
    (folder / "broken.dcm").write_bytes(ct(StudyInstanceUID=None))
    (folder / "z.dcm").write_bytes(
        as_bytes(plain_series(8, study="gap", name="gap").dataset(0, AccessionNumber="OTHER"))
    )
    status, said = ended(home.settings.home, "ingest", folder)
    assert status == 2, "nothing was measured"
    assert said["quarantined"] == {"already-exists": 1, "not-ct": 1, "unreadable": 1}
    studies = said["studies"]
    assert isinstance(studies, list)
    assert sorted(one["code"] for one in studies) == ["localizer", "missing-slices"]
