"""Durable files: old or new, never half; the disk's refusals become one code."""

import os
import time
from pathlib import Path

import pytest

from client.store.files import adopt, disk_faults, sweep_drafts, write_durably
from protocol.codes import Code
from protocol.errors import UnavailableError


def test_content_arrives_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.json"
    write_durably(path, b"one")
    write_durably(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path], "no draft stays behind"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError) as caught:
        write_durably(path, b"new")
    assert caught.value.code is Code.DISK_FULL
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path], "a full disk is not filled with drafts"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("place", ["free", "taken"])
def test_nothing_of_a_file_that_cannot_be_adopted_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, place: str
) -> None:
    spooled, path = tmp_path / "spool", tmp_path / "store" / "a.dcm"
    spooled.write_bytes(b"instance")
    if place == "taken":
        write_durably(path, b"before")
    elif call == "replace":
        monkeypatch.setattr(Path, "hardlink_to", _no_link)

    def full(*_arguments: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(UnavailableError):
        adopt(spooled, path)
    assert [found.name for found in path.parent.iterdir()] == (["a.dcm"] if place == "taken" else [])
    assert spooled.exists()


def _no_link(_self: Path, _target: Path) -> None:
    raise OSError(18, "another device")


@pytest.mark.parametrize("linkable", [True, False])
def test_an_adopted_file_is_complete_and_its_spool_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linkable: bool
) -> None:
    spooled = tmp_path / "spool"
    spooled.write_bytes(b"instance")
    if not linkable:
        monkeypatch.setattr(Path, "hardlink_to", _no_link)
    path = tmp_path / "store" / "a.dcm"
    adopt(spooled, path)
    assert path.read_bytes() == b"instance"
    assert spooled.exists()
    spooled.unlink()
    assert path.read_bytes() == b"instance"


def test_drafts_of_the_dead_are_swept(tmp_path: Path) -> None:
    write_durably(tmp_path / "kept.json", b"x")
    (tmp_path / ".kept.json.0a1b2c3d.part").write_bytes(b"half")
    assert sweep_drafts(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


def test_a_draft_that_may_have_a_living_writer_stays(tmp_path: Path) -> None:
    draft = tmp_path / ".kept.json.0a1b2c3d.part"
    draft.write_bytes(b"half")
    os.utime(draft, (0, 0))
    assert sweep_drafts(tmp_path, before=time.time() - 3600) == 0, "its name is young, whatever its content says"
    assert sweep_drafts(tmp_path, before=time.time() + 1) == 1


def test_the_message_names_no_path() -> None:
    with pytest.raises(UnavailableError) as caught, disk_faults():
        Path("/nonexistent-DOE^JANE/x").write_bytes(b"")
    assert "DOE" not in str(caught.value)
