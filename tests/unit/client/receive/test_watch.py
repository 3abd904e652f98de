"""The watched folder: whole files only, durable before they are put away, what cannot be used in quarantine, nothing twice."""

import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from client.infer.source import every_file
from client.receive.intake import Intake
from client.receive.watch import FolderWatch
from client.sections import WatchSettings
from protocol.codes import Code
from protocol.errors import UnavailableError
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.node_home import Clock, Home

SETTLE = 5.0
SERIES = plain_series(4)


class Watched:
    """A folder, a watch over it, and time that the test moves."""

    def __init__(self, tmp_path: Path, **rest: object) -> None:
        self.home = Home(tmp_path / "home")
        self.folder = tmp_path / "in"
        self.folder.mkdir()
        watch = WatchSettings.model_validate({"folder": self.folder, "settle_seconds": SETTLE} | rest)
        settings = self.home.settings.model_copy(update={"watch": watch})
        self.clock = Clock()
        store = self.home.store()
        self.watch = FolderWatch(store, Intake(store, self.home.pseudonyms), settings, every_file, self.clock)

    def put(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def look(self, after: float = SETTLE) -> int:
        """Look, let time pass, look again; return how many files were taken."""
        before = self.watch.step()
        self.clock.now += after
        return before + self.watch.step()

    def stored(self) -> int:
        store = self.home.store()
        return sum(len(store.instances(study.study_key)) for study in store.studies())

    def quarantined(self) -> list[str]:
        return sorted(one.code for one in self.home.store().quarantined())


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def zipped(path: Path, members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    content = path.read_bytes()
    path.unlink()
    return content


def slice_bytes(index: int = 0) -> bytes:
    return as_bytes(SERIES.dataset(index))


def test_a_whole_file_is_taken_and_removed(watched: Watched) -> None:
    watched.put("CANARY^NAME/a.dcm", slice_bytes(0))
    watched.put("b", slice_bytes(1))
    assert watched.look(SETTLE - 1) == 0, "it may still grow"
    assert watched.look(1) == 2
    assert (watched.stored(), watched.quarantined()) == (2, [])
    assert [path for path in watched.folder.rglob("*") if path.is_file()] == []
    assert list((watched.home.settings.instances.parent / "watched").iterdir()) == []


def test_a_file_that_grows_is_waited_for(watched: Watched) -> None:
    content = slice_bytes()
    path = watched.put("a.dcm", content[:200])
    watched.look(SETTLE - 1)
    path.write_bytes(content[:400])
    assert watched.look(SETTLE - 1) == 0
    path.write_bytes(content)
    assert watched.look() == 1
    assert (watched.stored(), watched.quarantined()) == (1, [])


def test_a_file_that_a_program_still_writes_is_waited_for(watched: Watched) -> None:
    """It stands still for as long as one likes: the program has it open."""
    content = slice_bytes()
    with (watched.folder / "a.dcm").open("wb") as file:
        file.write(content[:300])
        file.flush()
        assert watched.look(10 * SETTLE) == 0
        file.write(content[300:])
    assert watched.look() == 1
    assert (watched.stored(), watched.quarantined()) == (1, [])


@pytest.mark.parametrize("name", ["a.dcm.part", "a.filepart", ".a.dcm", "a.tmp", "a.dcm~", ".hidden/a.dcm"])
def test_what_calls_itself_unfinished_is_left_until_it_is_renamed(watched: Watched, name: str) -> None:
    path = watched.put(name, slice_bytes())
    assert watched.look() == 0
    path.rename(watched.folder / "whole.dcm")
    assert watched.look() == 1
    assert watched.stored() == 1


def test_a_file_that_changes_while_it_is_copied_is_not_taken(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    from client.receive import watch

    path = watched.put("a.dcm", slice_bytes()[:2000])
    plain = watch.spool_file

    def slow(source: Path, folder: Path) -> Path:
        copy = plain(source, folder)
        path.write_bytes(slice_bytes())
        return copy

    monkeypatch.setattr(watch, "spool_file", slow)
    assert watched.look() == 0
    monkeypatch.undo()
    assert watched.look() == 1
    assert (watched.stored(), watched.quarantined()) == (1, []), "the half of it left no trace"


def test_a_zip_is_unpacked_and_what_is_no_ct_in_it_is_kept_aside(watched: Watched) -> None:
    members = {f"../../{n}.dcm": slice_bytes(n) for n in range(4)} | {"README.txt": b"from the scanner"}
    watched.put("study.zip", zipped(watched.folder / "z", members))
    assert watched.look() == 1
    assert (watched.stored(), watched.quarantined()) == (4, ["unreadable"])
    assert not watched.folder.parent.joinpath("0.dcm").exists()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda _: b"no DICOM", "unreadable"),
        (lambda _: b"", "unreadable"),
        (lambda _: as_bytes(SERIES.dataset(0, Modality="MR")), "not-ct"),
        (lambda path: zipped(path, {"a": b"x" * 100})[:60], "unreadable"),
        (lambda path: zipped(path, {}), "unreadable"),
        (lambda path: zipped(path, {"bomb": bytes(80 << 20)}), "unreadable"),
        (lambda _: b"\x89PNG....", "unreadable"),
    ],
)
def test_what_cannot_be_used_goes_to_quarantine(watched: Watched, make: Callable[[Path], bytes], code: str) -> None:
    content = make(watched.folder / "z")
    watched.put("odd", content)
    assert watched.look() == 1
    assert (watched.stored(), watched.quarantined()) == (0, [code])
    assert watched.home.store().quarantined()[0].path.read_bytes() == content, "and nothing of it is lost"
    assert not (watched.folder / "odd").exists()


def test_moving_keeps_the_place_and_never_overwrites(tmp_path: Path) -> None:
    watched = Watched(tmp_path, after="move", moved_to=tmp_path / "done")
    for index in (0, 1):
        watched.put("today/a.dcm", slice_bytes(index))
        assert watched.look() == 1
    kept = sorted(path.name for path in (tmp_path / "done" / "today").iterdir())
    assert (kept[0], len(kept)) == ("a.dcm", 2)
    assert watched.stored() == 2


def test_the_same_file_again_changes_nothing(watched: Watched) -> None:
    for _ in range(2):
        watched.put("a.dcm", slice_bytes())
        watched.put("odd", b"odd")
        assert watched.look() == 2
    assert (watched.stored(), watched.quarantined()) == (1, ["unreadable"])
    assert watched.home.store().studies()[0].revision == 1


def test_without_room_everything_stays_where_it_is(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    path = watched.put("a.dcm", slice_bytes())
    monkeypatch.setattr("client.receive.watch.free_mb", lambda _folder: 0)
    with pytest.raises(UnavailableError) as caught:
        watched.look()
    assert caught.value.code is Code.DISK_FULL
    assert path.exists()
    monkeypatch.undo()
    assert watched.look() == 1


def test_a_disk_that_fails_takes_nothing_away(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    path = watched.put("a.dcm", slice_bytes())
    monkeypatch.setattr("os.fsync", lambda _fd: (_ for _ in ()).throw(OSError(5, "I/O")))
    with pytest.raises(UnavailableError):
        watched.look()
    monkeypatch.undo()
    assert path.exists()
    assert watched.stored() == 0
    assert watched.look() == 1


def test_links_are_not_followed(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "secret.dcm").write_bytes(slice_bytes())
    (watched.folder / "link.dcm").symlink_to(tmp_path / "secret.dcm")
    (watched.folder / "up").symlink_to(tmp_path)
    assert watched.look() == 0
    assert (tmp_path / "secret.dcm").exists()


def test_names_stay_out_of_the_logs(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "client")
    watched.put("CANARY^NAME.dcm", b"CANARY")
    watched.put("CANARY.zip", b"PK\x03\x04CANARY")
    watched.look()
    said = " ".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records if "watch" in record.name)
    assert "watch.quarantined" in said
    assert "CANARY" not in said


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_passed_over_and_the_rest_is_taken(watched: Watched) -> None:
    watched.put("a.dcm", slice_bytes()).chmod(0)
    watched.put("b.dcm", slice_bytes(1))
    assert watched.look() == 1
    assert watched.stored() == 1


def test_a_folder_that_is_not_there_is_waited_for(watched: Watched) -> None:
    watched.folder.rmdir()
    assert watched.look() == 0
    watched.put("a.dcm", slice_bytes())
    assert watched.look() == 1
