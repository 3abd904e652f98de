"""The real program against a full disk, a taken port and unreadable files: one sentence, the right exit code, nothing half-written, nobody's name.

The full disk is a small tmpfs in a mount namespace of its own, so nothing stays mounted; /proc lets the test look into it.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.dicom_peer import CALLER, answers, send, wait_for
from tests.fakes.node_home import Home
from tests.fakes.ports import free_port
from tests.fakes.scans import chest_series

NODE = [sys.executable, "-m", "client.cli"]
ROOT = Path(__file__).resolve().parents[3]
CANARIES = ("CANARY", "19600102", "ACC-77", "20260112")
"""What `CtSeries` plants in headers: a name, a birth date, an accession number, a study date."""


def can_mount() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    trial = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="no mount namespaces here: a full disk cannot be made")


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def on_small_disk(place: Path, kilobytes: int, script: str) -> list[str]:
    """Return the command that runs a shell script in which a tmpfs of that size lies at `place`."""
    mount = f'mount -t tmpfs -o size={kilobytes}k none "{place}" && {script}'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount]


def run(command: list[str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    whole = [*command, *(str(word) for word in words)]
    return subprocess.run(whole, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)


def shell(*words: str | Path) -> str:
    return " ".join(f'"{word}"' for word in (*NODE, *words))


@contextmanager
def running(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home", port=free_port(), allowed_callers=[CALLER])
    (home.settings.home / "node.toml").write_text(
        f'[dicom]\nport = {home.settings.dicom.port}\nallowed_callers = ["{CALLER}"]\nminimum_free_mb = 1\nquiet_seconds = 0.2\n'
    )
    return home


@pytest.mark.slow
@needs_mount
def test_results_on_a_full_disk_are_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    chest_series().write(tmp_path / "in")
    small = tmp_path / "small"
    small.mkdir()
    measure = shell("quantify", tmp_path / "in", "--json", "--device", "cpu", "--out", small / "out")
    script = f'{measure}; echo "exit $?"; find "{small}" -type f | wc -l; mount -o remount,size=16m "{small}"; {measure} >&2; ls "{small}/out"'
    done = run(on_small_disk(small, 64, script))
    said, status, left, *files = done.stdout.splitlines()
    assert (json.loads(said)["code"], status, left.strip()) == ("disk-full", "exit 5", "0")
    assert "No space left" in json.loads(said)["message"]
    assert "Traceback" not in done.stderr
    assert files == ["lungs.nii.gz", "mask.nii.gz", "picture.png", "report.html", "seg.dcm", "sr.dcm"], (
        "and well again with more room"
    )


@needs_mount
def test_what_is_taken_in_on_a_full_disk_is_whole_or_absent(home: Home, tmp_path: Path) -> None:
    plain_series(12, 256).write(tmp_path / "in")  # 128 kB each
    small = tmp_path / "small"
    small.mkdir()
    inside = small / "home"
    ingest = shell("--home", inside, "ingest", tmp_path / "in", "--json")
    script = (
        f'cp -r "{home.settings.home}" "{inside}"; {ingest}; echo "exit $?"; find "{inside}" -name "*.part" | wc -l;'
        f' find "{inside}/store/ingested" -type f | wc -l; find "{inside}/store/instances" -name "*.dcm" -size -129k | wc -l;'
        f' mount -o remount,size=32m "{small}"; {ingest}; find "{inside}/store/instances" -name "*.dcm" | wc -l'
    )
    done = run(on_small_disk(small, 900, script))
    said, status, drafts, spooled, cut, again, kept = done.stdout.splitlines()
    assert (json.loads(said)["code"], status) == ("disk-full", "exit 5")
    assert [int(count) for count in (drafts, spooled, cut)] == [0, 0, 0], "no draft, no spool, nothing cut short"
    assert json.loads(again)["studies"], "with more room the rest is taken in"
    assert int(kept) == 12
    assert not any(canary in done.stdout + done.stderr for canary in CANARIES)


@needs_mount
def test_a_receiver_on_a_small_disk_refuses_and_goes_on_when_there_is_room(home: Home, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    inside = small / "home"
    script = (
        f'cp -r "{home.settings.home}" "{inside}"; head -c 5000000 /dev/zero > "{small}/ballast";'
        f" exec {shell('--home', inside, 'run', '--only', 'receiver')}"
    )
    with running(on_small_disk(small, 8192, script)) as process:
        wait_for(lambda: answers(home.settings.dicom.port))
        statuses = send(home, plain_series(40, 256).datasets())
        held = Path("/proc", str(process.pid), "root", str(small).lstrip("/"))
        accepted = statuses.count(0x0000)
        assert set(statuses) == {0x0000, 0xA700}
        assert len(list(held.glob("home/store/instances/*/*.dcm"))) == accepted, "kept is what was acknowledged"
        assert list(held.glob("home/store/incoming/*")) == []
        (held / "ballast").unlink()
        rest = [one for one, status in zip(plain_series(40, 256).datasets(), statuses, strict=True) if status]
        assert send(home, rest[:8]) == [0x0000] * 8, "the sender comes again, and nobody had to start anything"


def test_a_taken_port_is_one_sentence_and_exit_5(home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", home.settings.dicom.port))
        other.listen()
        done = run(NODE, "--home", home.settings.home, "run", "--only", "receiver")
    assert done.returncode == 5
    (sentence,) = done.stderr.splitlines()
    assert str(home.settings.dicom.port) in sentence
    assert sentence.endswith("[port-taken]")


def damaged(name: str, content: bytes) -> tuple[str, bytes, str]:
    return name, content, "unreadable"


ONE = as_bytes(plain_series(1, 64).dataset(0))


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        damaged("CANARY^cut.dcm", ONE[:2000]),
        damaged("CANARY^torn.zip", b"PK\x03\x04" + ONE),
        ("CANARY^mr.dcm", as_bytes(plain_series(1).dataset(0, Modality="MR")), "not-ct"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unreadable_file_is_one_sentence_without_what_it_holds(
    home: Home, tmp_path: Path, name: str, content: bytes, code: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    done = run(NODE, "--home", home.settings.home, "quantify", path, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.endswith(f"[{code}]")
    assert "CANARY" not in sentence
    assert not (tmp_path / "out").exists()
    logs = "".join(log.read_text() for log in home.settings.logs.glob("*"))
    assert "CANARY" not in logs


@pytest.mark.slow
def test_a_node_at_work_leaves_nobody_in_its_logs_and_its_database(home: Home) -> None:
    """Receiver and worker as programs of their own; good, odd and damaged instances, all with names in them."""
    folder = home.settings.home
    with running([*NODE, "--home", str(folder), "run", "--only", "receiver"]) as receiver:
        wait_for(lambda: receiver.poll() is not None or answers(home.settings.dicom.port))
        send(home, chest_series(study="good").datasets())
        send(
            home, plain_series(1, study="scout", header={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}).datasets()
        )
        send(home, plain_series(1, header={"Modality": "MR"}).datasets())
        send(home, plain_series(1, header={"StudyInstanceUID": None}).datasets())
    with running([*NODE, "--home", str(folder), "run", "--only", "worker"]) as worker:
        wait_for(lambda: worker.poll() is not None or home.store().counts()["received"] == 0, 300)
    assert home.store().counts() == {"received": 0, "measured": 1, "refused": 1, "quarantined": 2}
    said = b"".join(path.read_bytes() for path in (*folder.glob("logs/*"), *folder.glob("node.db*")))
    assert b"receiver.quarantined" in said
    assert b"study.measured" in said
    uids = [str(chest_series(study="good").dataset(0).StudyInstanceUID), "PAT-1"]
    assert [word for word in (*CANARIES, *uids) if word.encode() in said] == []
