"""How fast instances are received: this node's receiver, dcmtk's storescp and Orthanc, the same 1,000 real slices, in turns.

Sender is dcmtk's `storescu`, once over one association and once over four at a time with a quarter of the slices each. Every receiver
starts anew with an empty store; the time runs from the start of the first sender to the end of the last; then the instances are counted
where the receiver keeps them. `TCP_NODELAY=1` stands in every program's environment: without it storescp and Orthanc stall 44 ms per
instance (Nagle against delayed acknowledgements) and the comparison would flatter us.

What an acknowledgement is worth differs. Ours: data set and name forced to the disk and indexed in a database with `synchronous=FULL`.
Orthanc: `SyncStorageArea` as it comes (file forced to the disk), indexed. storescp `--fork +B`: written as it came, neither.

Slices are those of `../shared/data/ct_dicom` under new UIDs, or made-up ones where that folder is absent.

Goal: `rate_vs_orthanc` ≥ 1. `rate_vs_storescp` has none: it does not force anything to the disk and keeps no index.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from bench.peers import system_program
from bench.table import Goal, Table, main, median_ratio

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "ct_dicom" / "acrin013_axial.zip"
GOALS = {"rate_vs_orthanc": Goal(1.0, at_most=False), "rate_vs_orthanc_four": Goal(1.0, at_most=False)}
CALLER, CALLED = "BENCH", "ACINUS"
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
ASSOCIATIONS = {"one": 1, "four": 4}


@dataclass(frozen=True, slots=True)
class Peer:
    """A receiver: how it is started on a port with a folder of its own, and how its instances are counted."""

    start: Callable[[Path, int], list[str]]
    count: Callable[[Path, int], int]


def measure(quick: bool) -> Table:
    """Send to every receiver in turns."""
    slices, rounds = (200, 1) if quick else (1000, 3)
    table = Table(goals=GOALS)
    peers = _present(table)
    with tempfile.TemporaryDirectory(prefix="bench-receive-") as scratch:
        sources = write_slices(Path(scratch, "slices"), slices)
        megabytes = sum(path.stat().st_size for folder in sources for path in folder.iterdir()) / 1e6
        for name, parallel in ASSOCIATIONS.items():
            seconds = _turns(peers, Path(scratch), sources, parallel, rounds)
            for peer, spent in seconds.items():
                table.add(
                    f"{peer}, {name} association{'s' * (parallel > 1)}", "rate", slices / median(spent), "instances/s"
                )
                table.add(
                    f"{peer}, {name} association{'s' * (parallel > 1)}", "rate", megabytes / median(spent), "MB/s"
                )
            _compare(table, seconds, "" if parallel == 1 else f"_{name}")
    table.remarks.append(
        f"{slices} slices, {megabytes:.0f} MB, {'real' if REAL.exists() else 'made up'}; {rounds} rounds."
    )
    return table


def write_slices(folder: Path, count: int) -> list[Path]:
    """Write `count` slices under new UIDs into four folders; return the folders."""
    folders = [folder / str(number) for number in range(max(ASSOCIATIONS.values()))]
    for one in folders:
        one.mkdir(parents=True)
    study, series = generate_uid(), generate_uid()
    for index, dataset in enumerate(islice(cycle(_sources()), count)):
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(folders[index * len(folders) // count] / f"{index:04d}.dcm", enforce_file_format=True)
    return folders


def _sources() -> list[FileDataset]:
    if REAL.exists():
        with zipfile.ZipFile(REAL) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            found = [dcmread(BytesIO(archive.read(name)), force=True) for name in names]
        return [one for one in found if one.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian]
    from tests.fakes.ct_series import plain_series

    return list(plain_series(40, 512).datasets())


def _turns(
    peers: dict[str, Peer], scratch: Path, sources: list[Path], parallel: int, rounds: int
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(rounds):
        for name, peer in peers.items():
            seconds[name].append(_send_all(peer, scratch / "store", sources, parallel))
        print(f"{parallel} at a time: round {number + 1} of {rounds}", file=sys.stderr)
    return seconds


def _send_all(peer: Peer, store: Path, sources: list[Path], parallel: int) -> float:
    """Start a receiver, send everything, count what arrived; return the seconds of sending."""
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir()
    port = _free_port()
    groups = [sources[n::parallel] for n in range(parallel)]
    with _running(peer.start(store, port), port):
        began = time.perf_counter()
        senders = [subprocess.Popen(_sender(port, group), env=ENVIRONMENT) for group in groups]
        failed = [sender.wait() for sender in senders]
        spent = time.perf_counter() - began
        sent = sum(len(list(folder.iterdir())) for folder in sources)
        held = peer.count(store, port)
    if any(failed) or held != sent:
        raise RuntimeError(f"{held} of {sent} arrived, exit codes {failed}")
    return spent


def _sender(port: int, folders: list[Path]) -> list[str]:
    return [
        str(system_program("storescu")),
        "-q",
        "-aet",
        CALLER,
        "-aec",
        CALLED,
        "+sd",
        "127.0.0.1",
        str(port),
        *map(str, folders),
    ]


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not listen")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# The receivers.


def _node(store: Path, port: int) -> list[str]:
    from client.deidentify.pseudonyms import KEY_FILE, make_key

    make_key(store / "keys" / KEY_FILE)
    (store / "node.toml").write_text(
        f'[dicom]\nport = {port}\nae_title = "{CALLED}"\nallowed_callers = ["{CALLER}"]\nminimum_free_mb = 64\n',
        encoding="utf-8",
    )
    return [sys.executable, "-m", "client.cli", "--home", str(store), "run", "--only", "receiver"]


def _storescp(store: Path, port: int) -> list[str]:
    return [str(system_program("storescp")), "-q", "--fork", "+B", "-od", str(store), str(port)]


def _orthanc(store: Path, port: int) -> list[str]:
    settings = {
        "StorageDirectory": str(store), "IndexDirectory": str(store), "DicomAet": CALLED, "DicomPort": port,
        "HttpPort": _free_port(), "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
    }  # fmt: skip
    path = store / "orthanc.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return ["Orthanc", str(path)]


def _count_of_orthanc(store: Path, _port: int) -> int:
    port = json.loads((store / "orthanc.json").read_text(encoding="utf-8"))["HttpPort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/statistics", timeout=30) as answer:
        return int(json.load(answer)["CountInstances"])


def _count_files(pattern: str) -> Callable[[Path, int], int]:
    return lambda store, _port: sum(1 for _ in store.glob(pattern))


PEERS = {
    "this node": (None, Peer(_node, _count_files("store/instances/*/*.dcm"))),
    "storescp": ("storescp", Peer(_storescp, _count_files("CT.*"))),
    "Orthanc": ("Orthanc", Peer(_orthanc, _count_of_orthanc)),
}


def _present(table: Table) -> dict[str, Peer]:
    """Return the receivers that are installed; the others are said to be absent."""
    found = {name: peer for name, (program, peer) in PEERS.items() if program is None or system_program(program)}
    table.remarks += [f"{name} is not installed here." for name in PEERS if name not in found]
    return found


def _compare(table: Table, seconds: dict[str, list[float]], suffix: str) -> None:
    for peer, name in (("Orthanc", "rate_vs_orthanc"), ("storescp", "rate_vs_storescp")):
        if peer in seconds:
            table.ratios[name + suffix] = median_ratio(seconds[peer], seconds["this node"])


if __name__ == "__main__":
    main("receive", __doc__ or "", measure)
