"""How long a reader far away waits for images: a 512 × 512 × 300 study over an emulated line of 100 Mbit/s and 80 ms, in a real browser.

A gateway with its own TLS, a line in user space in front of it (`bench/line.py`), headless Chromium that draws in software (no graphics card). The clock runs
from the navigation to the viewer page; *scrolls* means that the page has moved a slice and drawn it. `blocked` is the longest time in which the page's own
thread answered nothing: input, scrolling and typing wait for as long. The study is a body of air and soft tissue with the noise of a scanner, so that it packs
about as badly as a real one.

Goals: `coarse_seconds` ≤ 5, `full_seconds` ≤ 20.
"""

import gzip
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench.table import Goal, Table, main
from client.gateway.serve import serve
from client.store.coarse import HEADER_BYTES, coarse_copy
from deploy.local.browser import reading_browser
from deploy.local.chromium import find_chromium
from deploy.local.reader import Hospital
from tests.fakes.certificates import make_certificate
from tests.fakes.gateway import STUDY, GatewayUnderTest, asymmetric_volume, write_volume
from tests.fakes.ports import free_port

GOALS = {"coarse_seconds": Goal(5.0), "full_seconds": Goal(20.0)}
NOISE_HU = 25.0
PATIENCE_S = 300

# Runs in the page from its first moment: the longest silence of the page's thread, by the time it began.
WATCH = """
window.silences = []; let last = performance.now();
setInterval(() => { const now = performance.now(); if (now - last > 100) window.silences.push([last, now - last]); last = now; }, 10);
"""


def measure(quick: bool) -> Table:
    """Open the study once over the line and once without it."""
    shape = (100, 256, 256) if quick else (300, 512, 512)
    table = Table(goals=GOALS)
    found = find_chromium()
    if found is None:
        table.remarks.append("Chromium or its driver is not installed: nothing was measured.")
        return table
    with tempfile.TemporaryDirectory(prefix="bench-viewer-") as scratch:
        home = Path(scratch)
        megabytes = write_noisy_study(home / "studies" / STUDY, shape)
        for case, far in (("over the line", True), ("on this machine", False)):
            seen = open_study(home / case.replace(" ", "-"), home / "studies", found, far=far)
            for metric, value in seen.items():
                table.add(case, metric, value, "s")
            if far:
                table.ratios = {f"{name}_seconds": seen[f"{name} scrolls"] for name in ("coarse", "full")}
    table.remarks.append(f"{' × '.join(map(str, shape[::-1]))} voxels, {megabytes:.0f} MB packed; drawn in software.")
    return table


def write_noisy_study(folder: Path, shape: tuple[int, int, int]) -> float:
    """Write a study as the worker does and return the megabytes of its volume."""
    hu, mask = asymmetric_volume(shape)
    noise = np.random.default_rng(7).normal(0, NOISE_HU, shape[1:]).astype(np.int16)
    for index in range(shape[0]):
        hu[index] += np.roll(noise, (index * 37, index * 91), (0, 1))
    folder.mkdir(parents=True)
    for name, values in (("ct", hu), ("mask", mask)):
        path = folder / f"{name}.nii.gz"
        write_volume(path, values)
        with gzip.open(path) as file:
            header = file.read(HEADER_BYTES)
        (folder / f"{name}-coarse.nii.gz").write_bytes(coarse_copy(header, values))
    return (folder / "ct.nii.gz").stat().st_size / 1e6


def open_study(home: Path, studies: Path, found: tuple[str, str], *, far: bool) -> dict[str, float]:
    """Open the viewer page once and return seconds by what they were spent for."""
    home.mkdir()
    (home / "browser").mkdir()
    (home / "studies").symlink_to(studies)
    port, front = free_port(), free_port()
    seen_at = front if far else port
    with gateway_on(home, port, seen_at) as gateway, line(front, port, needed=far):
        hospital = Hospital(f"https://localhost:{seen_at}", home / "keys" / "gateway.pem")
        with reading_browser(found, hospital, home / "browser") as browser:
            return _watch(browser, gateway)


def _watch(browser: Any, gateway: GatewayUnderTest) -> dict[str, float]:
    chrome = browser._chrome  # noqa: SLF001 - the page's own clock is asked, not the demo's
    gateway.keys.approve(browser.thumbprint, name="Dr Bench")
    chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    browser.open(gateway.centre.grant(browser.thumbprint, now=datetime.now(UTC)))
    end = time.monotonic() + PATIENCE_S
    state = "return document.getElementById('desk')?.dataset.state"
    while chrome.execute_script(state) not in {"shown", "failed"} and time.monotonic() < end:
        time.sleep(0.2)
    if chrome.execute_script(state) != "shown":
        raise RuntimeError(chrome.execute_script("return document.getElementById('loading-text').textContent"))
    marks = chrome.execute_script(
        "return Object.fromEntries(performance.getEntriesByType('mark').map((mark) => [mark.name, mark.startTime / 1000]))"
    )
    silences = chrome.execute_script("return window.silences")
    before = [length / 1000 for began, length in silences if began / 1000 < marks["coarse"]]
    behind = [length / 1000 for began, length in silences if began / 1000 >= marks["coarse"]]
    return {
        "coarse arrived": marks["coarse arrived"], "coarse scrolls": marks["coarse"],
        "full arrived": marks["full arrived"], "full scrolls": marks["full"],
        "blocked before the preview": max(before, default=0.0), "blocked behind the preview": max(behind, default=0.0),
    }  # fmt: skip


@contextmanager
def gateway_on(home: Path, port: int, seen_at: int) -> Iterator[GatewayUnderTest]:
    """Serve a gateway on its own TLS; yield the same node on a connection of this thread's own."""
    make_certificate(home / "keys")
    made: list[GatewayUnderTest] = []
    stop = threading.Event()

    def run() -> None:
        made.append(GatewayUnderTest(home, origin=f"https://localhost:{seen_at}", real_time=True))
        serve(made[0].app, host="127.0.0.1", port=port, keys=home / "keys", stop=stop)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not made:
            time.sleep(0.05)
        beside = GatewayUnderTest.__new__(GatewayUnderTest)
        beside.open_beside(made[0], home)
        time.sleep(0.5)
        yield beside
    finally:
        stop.set()
        thread.join()


@contextmanager
def line(listen: int, target: int, *, needed: bool) -> Iterator[None]:
    """Run the emulated line as a process of its own, if it is needed."""
    if not needed:
        yield
        return
    process = subprocess.Popen([sys.executable, "-m", "bench.line", str(listen), str(target)])
    try:
        time.sleep(1)
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main("viewer", __doc__ or "", measure)
