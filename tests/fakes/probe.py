"""A child that reads hostile files one after the other, with bounds on memory and time: `python -m tests.fakes.probe scan|intake HOME`.

One path comes in on each line of standard input; one JSON line goes out: the code (null for a volume, or for an instance that is stored),
seconds, and by how many MiB the peak of its memory lies above the start. If it dies, the parent knows at which file.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from client.infer.nifti import read_mask
from client.infer.scan import read_scan
from client.receive.intake import Intake, spool_file
from protocol.errors import FederationError
from tests.fakes.node_home import Home

MOST_SECONDS, MOST_MIB = 20, 1536


def scan(path: Path) -> str | None:
    if path.suffix in {".nii", ".gz"}:
        code_of(lambda: read_mask(path, most=2))
    return code_of(lambda: read_scan(path))


def code_of(act: Callable[[], object]) -> str | None:
    try:
        act()
    except FederationError as error:
        return error.code.value
    return None


def taker(home: Home) -> Callable[[Path], str | None]:
    intake = Intake(home.store(), home.pseudonyms)

    def take(path: Path) -> str | None:
        spooled = spool_file(path, home.settings.home / "spool")
        taken = intake.take(spooled)
        spooled.unlink()
        return taken.code.value if taken.code is not None else None

    return take


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    act = scan if sys.argv[1] == "scan" else taker(Home(Path(sys.argv[2])))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + (MOST_MIB << 20),) * 2)
    before = peak_mib()
    for line in sys.stdin:
        signal.alarm(MOST_SECONDS)  # its default ends the process
        began = time.process_time()
        code = act(Path(line.rstrip("\n")))
        spent = time.process_time() - began
        signal.alarm(0)  # the parent may be slow to name the next file
        sys.stdout.write(json.dumps({"code": code, "seconds": spent, "mib": peak_mib() - before}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
