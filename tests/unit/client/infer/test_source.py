"""What may be named, and what hostile archives cannot do."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from client.infer import source
from client.infer.source import Kind, dicom_files, kind_of, kind_of_head
from protocol.codes import Code
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.outcomes import code_of

ONE = as_bytes(plain_series(1).dataset(0))


def packed(members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (ONE, Kind.DICOM),
        (b"II*\0" + bytes(124) + b"DICM", Kind.DICOM),
        (b"PK\x03\x04", Kind.ZIP),
        (b"\x1f\x8b", Kind.NIFTI),
        (b"\x5c\x01\0\0" + bytes(340) + b"n+1\0", Kind.NIFTI),
        (b"\x89PNG\r\n", Kind.PICTURE),
        (b"\xff\xd8\xff\xe0", Kind.PICTURE),
        (b"ObjectType = Image", Kind.UNKNOWN),
        (b"", Kind.UNKNOWN),
    ],
)
def test_kinds_by_first_bytes(head: bytes, kind: Kind) -> None:
    assert kind_of_head(head) is kind


def test_a_folder_yields_its_dicom_in_order_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.dcm").write_bytes(ONE)
    (tmp_path / "a.txt").write_text("report")
    (tmp_path / "one").write_bytes(ONE)
    (tmp_path / "link").symlink_to(tmp_path / "one")
    assert [path.name for path in dicom_files(tmp_path) if isinstance(path, Path)] == ["one", "two.dcm"]


def test_a_zip_yields_bytes_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    path.write_bytes(packed({"../../evil.dcm": ONE, "/abs.dcm": ONE, "notes.txt": b"x"}))
    assert list(dicom_files(path)) == [ONE, ONE]
    assert [entry.name for entry in tmp_path.iterdir()] == ["study.zip"]
    assert not (tmp_path.parent.parent / "evil.dcm").exists()


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.zip"
    path.write_bytes(packed({"a.dcm": ONE[:132] + bytes(200 << 20)}))
    assert path.stat().st_size < 1 << 20
    assert code_of(lambda: list(dicom_files(path))) is Code.UNREADABLE
    path.write_bytes(packed({f"{n}.dcm": ONE for n in range(5)}))
    monkeypatch.setattr(source, "MOST_ARCHIVE_BYTES", 2 * len(ONE))
    assert code_of(lambda: list(dicom_files(path))) is Code.UNREADABLE
    monkeypatch.setattr(source, "MOST_FILES", 3)
    assert code_of(lambda: list(dicom_files(path))) is Code.UNREADABLE


@pytest.mark.parametrize("cut", [10, 200, -30])
def test_damaged_zips_are_unreadable(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.zip"
    path.write_bytes(packed({"a.dcm": ONE, "b.dcm": ONE})[:cut])
    assert code_of(lambda: list(dicom_files(path))) is Code.UNREADABLE


def test_a_forged_size_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "forged.zip"
    content = bytearray(packed({"a.dcm": ONE * 50}))
    size = (len(ONE) * 50).to_bytes(4, "little")
    path.write_bytes(content.replace(size, (16).to_bytes(4, "little")))
    assert code_of(lambda: list(dicom_files(path))) is Code.UNREADABLE


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    assert code_of(lambda: kind_of(tmp_path / "no")) is Code.NOT_FOUND


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "closed"
    path.write_bytes(ONE)
    path.chmod(0)
    assert code_of(lambda: kind_of(path)) is Code.UNREADABLE
