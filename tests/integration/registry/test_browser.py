"""The pages in a real browser: a ministry logs in by form and reads its counts, on a desk and on a phone."""

import base64
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from deploy.local.chromium import find_chromium, open_chromium
from registry_api.cases.service import accept_case
from registry_api.database import Database, open_engine
from registry_api.enrolment.tables import SiteRow
from registry_api.pages.language import COOKIE as LANGUAGE_COOKIE
from registry_api.people.roles import Role
from registry_api.people.service import add_person
from registry_api.units.service import ensure_unit
from tests.integration.registry.conftest import Program
from tests.integration.registry.test_postgresql import case

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium or chromedriver is not installed"),
]


PICTURE = """
const done = arguments[0];
drawn(document.querySelector("a[data-picture]").href).then(async (file) => {
  const picture = await createImageBitmap(file);
  done([[file.type === "image/png" && file.size > 5000, picture.width, picture.height]]);
});
"""
"""The first chart of the page, as the button would save it."""


@pytest.fixture
def browser() -> Iterator[Callable[[int], webdriver.Chrome]]:
    opened = []

    def start(width: int) -> webdriver.Chrome:
        assert CHROMIUM is not None
        opened.append(open_chromium(CHROMIUM, "--ignore-certificate-errors", width=width))
        return opened[-1]

    yield start
    for one in opened:
        one.quit()


def fill(program: Program) -> str:
    """Two hospitals, one week, one release; return a ministry's key."""
    database, now = Database(open_engine(f"sqlite:///{program.home}/registry.db")), datetime.now(UTC)
    with database.writing() as session:
        ensure_unit(session, "XA-N")
        session.add_all([SiteRow(site=name, region="XA-N", enrolled_at=now) for name in ("north-a", "north-b")])
        session.flush()
        for number in range(36):
            severity = "severe" if number % 9 == 0 else "mild"
            record = case(number, epi_week="2025-W30", severity_band=severity)
            accept_case(session, f"north-{'ab'[number % 2]}", record, now)
        key = add_person(session, "Ministry of Health", role=Role.MINISTRY, region="XA", now=now).api_key
    database.close()
    program.json("release", "build")
    return key


def picture(page: webdriver.Chrome, width: int, folder: Path) -> None:
    """Keep what the page looks like: in the folder that `ACINUS_ARTEFACTS` names, else beside the test's other files."""
    folder = Path(os.environ.get("ACINUS_ARTEFACTS", folder))
    folder.mkdir(parents=True, exist_ok=True)
    height = page.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, 8000), "scale": 1}
    taken = page.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    file = folder / f"registry-{width}.png"
    file.write_bytes(base64.b64decode(taken["data"]))
    assert file.stat().st_size > 20_000


WALK = """
window.walked = [];
document.addEventListener("focusin", ({target: one}) => {
  const box = one.getBoundingClientRect(), look = getComputedStyle(one), before = walked.at(-1)?.[0];
  const drawn = box.width > 0 && box.height > 0 && box.left >= 0;
  const marked = look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 1;
  const follows = !before || Boolean(before.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING);
  walked.push([one, drawn && marked && follows]);
});
return [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")].filter((one) => one.checkVisibility()).length;
"""
"""Notes what gets the focus, and whether it is drawn, marked and behind what had it before; says how many stops the page has."""

WALKED = "return walked.map(([one, holds]) => [one.className, Boolean(one.closest('main')), holds])"


def walk_by_keyboard(page: webdriver.Chrome) -> None:
    """Go through the page by the keyboard alone: every stop in the order of the page, past the head by the skip link, a table opened."""
    page.refresh()
    stops = page.execute_script(WALK)
    press(page, Keys.TAB * stops)
    walked = page.execute_script(WALKED)
    assert (len(walked), walked[0][0]) == (stops, "skip")
    assert all(holds for _, _, holds in walked), walked
    page.refresh()
    page.execute_script(WALK)
    press(page, Keys.TAB + Keys.ENTER + Keys.TAB)
    assert [within for _, within, _ in page.execute_script(WALKED)] == [False, True]
    page.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert page.find_element(By.CSS_SELECTOR, "details table").is_displayed()


def press(page: webdriver.Chrome, keys: str) -> None:
    ActionChains(page, duration=0).send_keys(keys).perform()


@pytest.mark.slow
def test_a_ministry_reads_its_counts(program: Program, browser, tmp_path: Path) -> None:
    key = fill(program)
    for width in (1280, 390):
        page = browser(width)
        page.get(f"{program.origin}/registry")
        page.find_element(By.ID, "api_key").send_keys(key)
        page.find_element(By.CSS_SELECTOR, "main button").click()
        WebDriverWait(page, 10).until(lambda one: one.find_elements(By.CSS_SELECTOR, "tbody tr"))
        cells = [cell.text for cell in page.find_elements(By.CSS_SELECTOR, "#counts tbody tr:first-child > *")]
        assert cells == ["2025-W30", "35", "0", "withheld", "0", "1–10"]
        assert page.find_element(By.CSS_SELECTOR, "svg.chart rect.bar").size["height"] > 50
        assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert len(page.find_elements(By.CSS_SELECTOR, ".saving button")) == len(
            page.find_elements(By.CSS_SELECTOR, "svg.chart")
        )
        assert page.execute_async_script(PICTURE) == [[True, 720 * 3, 250 * 3]]
        picture(page, width, tmp_path)
        if width > 1000:
            walk_by_keyboard(page)
        page.find_element(By.LINK_TEXT, "Français").click()
        WebDriverWait(page, 10).until(lambda one: one.find_element(By.TAG_NAME, "h1").text == "Scanners thoraciques")
        assert page.get_log("browser") == [], "the page asked for something it may not have"
        page.find_element(By.CSS_SELECTOR, "header button").click()
        WebDriverWait(page, 10).until(lambda one: one.find_elements(By.LINK_TEXT, "Se connecter"))
        assert [cookie["name"] for cookie in page.get_cookies()] == [LANGUAGE_COOKIE]
