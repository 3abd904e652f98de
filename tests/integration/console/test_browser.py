"""The staff page in a real browser, served over TLS: a person logs in, sorts the quarantine, and two people change the policy.

Set `ACINUS_PICTURES` to a folder to keep a picture of every page, on a desk and on a phone.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from client import staffroom
from client.console.app import create_app
from client.gate.keys import make_gateway_certificate
from client.gateway.serve import serve
from client.staff.accounts import BY_COMMAND
from client.staff.passwords import Cost
from client.staff.roles import GRANTED, Role
from client.store.records import SignedScores
from deploy.local.chromium import find_chromium, open_chromium
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.node_home import Home
from tests.fakes.ports import free_port
from tests.unit.client.console.conftest import FIRST, PASSWORD, Staff

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium or chromedriver is not installed"),
]
CHEAP = Cost(n=16, r=1, p=1)
PAGES = (
    "",
    "studies",
    "quarantine",
    "labels",
    "ledger",
    "reads",
    "policy",
    "policy/edit",
    "staff",
    "network",
    "password",
)


class Node:
    """A node with a past, and its console on a port of this machine."""

    def __init__(self, folder: Path) -> None:
        staff = Staff(Home(folder / "home"))
        self.home, self.store = staff.home, staff.store
        self.measured = staff.receive("measured")
        staff.receive("odd", Modality="MR")
        staff.measure(self.measured)
        for source, sha256 in (("radiology", "a" * 64), ("Dr Example", "b" * 64)):
            staff.store.labels.keep_mask(self.measured, grid="grid", source=source, sha256=sha256)
        read = staff.receive("read")
        staff.measure(read)
        for key in (self.measured, read):
            staff.store.labels.keep_scores(
                SignedScores(
                    study_key=key, reader_id="c" * 32, points=((3, 2), (2, 1), (0, 1)), reported_at=2e6, signed_at=2e6
                )
            )
        self.home.desk().hear_staff(self.measured, {"pcr": "positive", "clinical_question": "Pneumonia?"})
        staff.refuse(staff.receive("refused"))
        staff.spend()
        for name, role in (("anna", Role.ADMINISTRATOR), ("berta", Role.ADMINISTRATOR), ("tom", Role.TECHNICIAN)):
            staff.hire(name, role)
        staff.hire("everything", *GRANTED)
        self.accounts = staff.accounts
        port = free_port()
        console = self.home.settings.console.model_copy(update={"port": port})
        self.settings = self.home.settings.model_copy(update={"console": console})
        self.address = f"https://localhost:{port}"
        make_gateway_certificate(self.settings.keys, site_name="Northport", gateway=self.address, now=datetime.now(UTC))

    @contextmanager
    def served(self) -> Iterator[None]:
        stop = threading.Event()

        def run() -> None:  # everything on the ward belongs to this thread
            ward = staffroom.open_ward(self.settings, token=None, cost=CHEAP)
            port = self.settings.console.port
            serve(
                create_app(ward), host="127.0.0.1", port=port, keys=self.settings.keys, stop=stop, setting="[console]"
            )

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=20)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    with node.served():
        yield node


class Browser:
    """One person at one browser; uses no script, as the pages have none."""

    def __init__(self, node: Node, width: int) -> None:
        assert CHROMIUM is not None
        self.chrome = open_chromium(CHROMIUM, "--ignore-certificate-errors", width=width)
        self._node, self._width = node, width

    def go(self, path: str) -> None:
        self.chrome.get(f"{self._node.address}/{path}")

    def log_in(self, name: str, password: str = PASSWORD) -> None:
        self.go("login")
        self.type("#name", name)
        self.type("#password", password + Keys.ENTER)
        self.until(lambda: "/login" not in self.chrome.current_url)

    def type(self, selector: str, words: str) -> None:
        self.chrome.find_element(By.CSS_SELECTOR, selector).send_keys(words)

    def click(self, selector: str) -> None:
        self.chrome.find_element(By.CSS_SELECTOR, selector).click()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait; the page may be exchanged for the next one while it is looked at."""
        passing = (NoSuchElementException, StaleElementReferenceException)
        WebDriverWait(self.chrome, 60, ignored_exceptions=passing).until(lambda _: holds())

    def says(self, words: str) -> bool:
        return words in self.chrome.find_element(By.TAG_NAME, "main").text

    def picture(self, name: str) -> None:
        folder = os.environ.get("ACINUS_PICTURES")
        if folder:
            height = self.chrome.execute_script("return document.documentElement.scrollHeight")
            metrics = {"width": self._width, "height": max(900, height), "deviceScaleFactor": 1, "mobile": False}
            self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            self.chrome.save_screenshot(str(Path(folder) / f"{name.replace('/', '-') or 'overview'}-{self._width}.png"))

    def overflows(self) -> bool:
        """Whether the page itself, not a table in it, is wider than the screen."""
        return bool(self.chrome.execute_script("return document.documentElement.scrollWidth > window.innerWidth"))


@pytest.fixture
def browse(node: Node) -> Iterator[Callable[..., Browser]]:
    opened: list[Browser] = []

    def start(width: int = 1300) -> Browser:
        opened.append(Browser(node, width))
        return opened[-1]

    yield start
    for one in opened:
        one.chrome.quit()


@pytest.mark.slow
def test_a_technician_retries_and_two_administrators_change_the_policy(
    node: Node, browse: Callable[..., Browser]
) -> None:
    node.store.quarantined()[0].path.write_bytes(as_bytes(plain_series(1, study="mended").dataset(0)))
    first = browse()
    first.log_in("tom")
    first.go("quarantine")
    assert first.says("The object is not a CT image.")
    first.click("input[name=sha256]")
    first.click("form[action='/quarantine/retry'] button:not(.danger)")
    first.until(lambda: first.says("1 taken in"))
    assert node.store.quarantined() == []

    first.click(".who button")
    first.until(lambda: "/login" in first.chrome.current_url)
    first.log_in("anna")
    first.go("policy/edit")
    first.type("#text", Keys.CONTROL + Keys.END)
    first.type("#text", "minimum_cohort = 3\n")
    first.click("main button")
    first.until(lambda: first.says("A change waits"))
    first.picture("policy-own")
    assert first.says("You cannot confirm this one")
    before = node.settings.policy.read_text()

    second = browse()
    second.log_in("berta")
    second.go("policy")
    assert second.says("training runs with fewer patients".capitalize())
    second.picture("policy-waiting")
    second.click("main form[action$='/confirm'] button")
    assert node.settings.policy.read_text() == before, "the browser wants the box ticked first"
    second.click("input[name=sure]")
    second.click("main form[action$='/confirm'] button")
    second.until(lambda: second.says("proposed by anna, confirmed by berta"))
    assert node.settings.policy.read_text() == before + "minimum_cohort = 3\n"


def test_a_first_log_in_ends_in_a_password_of_ones_own(node: Node, browse: Callable[..., Browser]) -> None:
    node.accounts.add("vera", FIRST, frozenset({Role.VIEWER}), by=BY_COMMAND)
    browser = browse(390)
    browser.log_in("vera", FIRST)
    browser.until(lambda: browser.says("Somebody else gave you your password"))
    browser.type("#present", FIRST)
    browser.type("#password", PASSWORD)
    browser.type("#again", PASSWORD + Keys.ENTER)
    browser.until(lambda: browser.says("Latest studies"))


@pytest.mark.parametrize("width", [pytest.param(1300, marks=pytest.mark.slow), 390])
def test_every_page_fits_a_desk_and_a_phone(node: Node, browse: Callable[..., Browser], width: int) -> None:
    browser = browse(width)
    browser.go("login")
    browser.picture("login")
    browser.log_in("everything")
    for page in (*PAGES, f"studies/{node.measured}"):
        browser.go(page)
        browser.picture("study" if page.startswith("studies/") else page)
        assert not browser.overflows(), page
        assert not browser.says("That did not work"), page
    browser.go("quarantine")
    browser.click("input[name=sha256]")
    browser.click("button.danger")
    browser.until(lambda: browser.says("Remove the bytes for good"))
    browser.picture("discard")
    assert not browser.overflows()


def test_the_keyboard_is_enough(node: Node, browse: Callable[..., Browser]) -> None:
    """Skip link first, then every link of the head; the focus is seen."""
    browser = browse()
    browser.log_in("tom")
    browser.go("studies")
    seen = []
    for _ in range(8):
        browser.chrome.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.chrome.switch_to.active_element
        seen.append(element.get_attribute("href") or element.tag_name)
        assert element.value_of_css_property("outline-style") == "solid", element.text
    assert seen[0].endswith("#main")
    assert any(one.endswith("/quarantine") for one in seen)
