"""A gateway that really listens, with certificates of its own, and a browser that trusts nothing else."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium import webdriver

from client.gateway.serve import serve
from client.gateway.viewer import find_bundle
from protocol.errors import UnavailableError
from tests.fakes.certificates import make_certificate
from tests.fakes.gateway import GatewayUnderTest
from tests.fakes.ports import free_port

START_SECONDS = 20


@dataclass
class LiveGateway:
    """A listening gateway. `inside` is built in its server's thread and must only be read; `beside` has a connection of this thread."""

    origin: str
    port: int
    ca: Path
    home: Path
    inside: GatewayUnderTest
    beside: GatewayUnderTest


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveGateway]:
    port = free_port()
    origin = f"https://localhost:{port}"
    ca = make_certificate(tmp_path / "keys")
    made: list[GatewayUnderTest] = []
    stop = threading.Event()

    def run() -> None:
        gateway = GatewayUnderTest(tmp_path, origin=origin, real_time=True)
        made.append(gateway)
        serve(gateway.app, host="127.0.0.1", port=port, keys=tmp_path / "keys", stop=stop)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: bool(made) and listens(port))
    beside = GatewayUnderTest.__new__(GatewayUnderTest)
    beside.open_beside(made[0], tmp_path)
    beside.write_study()
    yield LiveGateway(origin, port, ca, tmp_path, made[0], beside)
    stop.set()
    thread.join(START_SECONDS)
    assert not thread.is_alive()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(holds: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Wait until `holds`, or fail."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A headless Chromium that can reach this machine only."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium and chromedriver are not installed")
    try:
        find_bundle(tmp_path)
    except UnavailableError:
        pytest.skip("the viewer's bundle is not installed (npm ci)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.accept_insecure_certs = True
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-default-apps", "--no-first-run", "--window-size=1440,900", f"--user-data-dir={tmp_path / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
    ):  # fmt: skip
        options.add_argument(flag)
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.set_page_load_timeout(60)
    yield chrome
    chrome.quit()
