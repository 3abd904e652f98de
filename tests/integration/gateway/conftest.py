"""A gateway that really listens, with certificates of its own, and a browser that trusts nothing else."""

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
from deploy.local.chromium import find_chromium, open_chromium
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
def browsers(tmp_path: Path) -> Iterator[Callable[..., webdriver.Chrome]]:
    """Start headless Chromiums that can reach this machine only; each has a profile of its own, by the name that it is given."""
    found = find_chromium()
    if found is None:
        pytest.skip("Chromium and chromedriver are not installed")
    try:
        find_bundle(tmp_path)
    except UnavailableError:
        pytest.skip("the viewer's bundle is not installed (npm ci)")
    opened: list[webdriver.Chrome] = []

    def start(name: str, *, size: str = "1440,900") -> webdriver.Chrome:
        chrome = open_chromium(
            found, "--ignore-certificate-errors", f"--window-size={size}", f"--user-data-dir={tmp_path / name}",
            webgl=True, log={"performance": "ALL", "browser": "ALL"},
        )  # fmt: skip
        opened.append(chrome)
        chrome.set_page_load_timeout(60)
        return chrome

    yield start
    for one in opened:
        one.quit()


@pytest.fixture
def browser(browsers: Callable[..., webdriver.Chrome]) -> webdriver.Chrome:
    """One of them."""
    return browsers("profile")
