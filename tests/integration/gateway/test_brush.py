"""The brush in a real browser: what it draws, what goes to the hospital for it, what is taken back, and what happens when the line fails."""

import hashlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By

from client.gateway.strokes import compose, sha256_of
from tests.fakes.gateway import CLAIM, REQUEST, STUDY, write_study
from tests.integration.gateway.conftest import LiveGateway, wait_for
from tests.integration.gateway.test_viewer_page import TWO_FRAMES, open_study, press, text_of, thumbprint_of, wait

pytestmark = pytest.mark.e2e

SHAPE = (24, 200, 200)

# Notes what goes to the hospital for a drawing, and fails as often as it is told.
WATCH = """
window.sent = [];
window.failing = 0;
const fetched = window.fetch;
window.fetch = async (address, options = {}) => {
  if (!/^\\/masks\\//.test(address) || options.method !== "PUT") return fetched(address, options);
  if (window.failing > 0) { window.failing -= 1; throw new TypeError("Failed to fetch"); }
  const answer = await fetched(address, options);
  window.sent.push({ kind: options.headers["Content-Type"], bytes: options.body.byteLength, status: answer.status });
  return answer;
};
"""
BRUSH = "import('/static/view.js').then(async ({ brush }) => arguments[0](await (async () => { %s })()))"


class Page:
    """The viewer with the brush out, and the hospital behind it."""

    def __init__(self, browser: webdriver.Chrome, live: LiveGateway) -> None:
        self.browser, self.live = browser, live
        self.own = live.beside.studies / STUDY / "mask.nii.gz"

    def take_up(self) -> None:
        wait(self.browser, "document.getElementById('desk')?.dataset.state === 'shown'")
        press(self.browser, "2", "x")
        wait(self.browser, "document.getElementById('correct').getAttribute('aria-pressed') === 'true'")

    def draw(self, label: int, *, at: tuple[int, int], by: tuple[int, int] = (40, 0), leave: bool = False) -> None:
        """Draw a line from a place beside the canvas's middle; with `leave` off the canvas before the button is let go."""
        self.browser.find_element(By.CSS_SELECTOR, f"#brushes [data-label='{label}']").click()
        canvas = self.browser.find_element(By.ID, "canvas")
        pen = ActionChains(self.browser, duration=20).move_to_element_with_offset(canvas, *at).click_and_hold()
        pen.move_by_offset(*by)
        if leave:
            pen.move_to_element(self.browser.find_element(By.ID, "corrected"))
        pen.release().perform()

    def run(self, script: str) -> Any:
        return self.browser.execute_async_script(BRUSH % script)

    @property
    def sent(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.browser.execute_script("return window.sent")
        return found

    def settled(self) -> None:
        """Wait until the hospital has every stroke."""
        wait_for(lambda: self.run("return brush.uploads.waiting.length === 0 && !brush.uploads.sending"))

    def shown(self) -> NDArray[np.uint8]:
        """What the page has, in the order of the file."""
        labels = self.run("return Array.from(brush.labels()).join('')")
        return np.frombuffer(labels.encode(), np.uint8).reshape(SHAPE) - ord("0")

    def held(self) -> NDArray[np.uint8]:
        """What the hospital has."""
        found = compose(self.live.beside.drawings.strokes(CLAIM), self.own)
        assert found is not None
        return found


def pressed(browser: webdriver.Chrome) -> list[str]:
    both = browser.find_elements(By.CSS_SELECTOR, "#measure[aria-pressed=true], #correct[aria-pressed=true]")
    return [button.get_attribute("id") for button in both]


@pytest.fixture
def page(live: LiveGateway, browser: webdriver.Chrome) -> Page:
    write_study(live.beside.studies / STUDY, shape=SHAPE)
    jkt = thumbprint_of(browser, live.origin)
    live.beside.keys.approve(jkt, name="Dr Brush")
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    open_study(browser, live, jkt)
    page = Page(browser, live)
    page.take_up()
    return page


def test_each_stroke_goes_by_itself_and_can_be_taken_back(page: Page) -> None:
    machines = page.shown()
    page.draw(2, at=(-80, -120))
    page.settled()
    (one,) = page.sent
    before = page.run("return (await brush.packed()).byteLength")
    assert (one["kind"], one["status"]) == ("application/octet-stream", 200)
    assert one["bytes"] < 150, f"{one['bytes']} bytes; the whole mask has {before}"
    drawn = page.shown()
    assert 50 < int((drawn != machines).sum()) < 600
    assert np.array_equal(page.held(), drawn)

    page.draw(1, at=(-80, 100), by=(30, 20), leave=True)
    page.settled()
    assert not np.array_equal(page.shown(), drawn)
    assert np.array_equal(page.held(), page.shown()), "a line that left the canvas is a stroke like any other"
    press(page.browser, "u")
    assert np.array_equal(page.shown(), drawn), "it is taken back alone"
    press(page.browser, "u")
    assert np.array_equal(page.shown(), machines)
    press(page.browser, "u", "u")
    assert np.array_equal(page.shown(), machines), "before the first stroke there is nothing to take back"
    page.settled()
    assert np.array_equal(page.held(), machines)
    assert len(page.sent) == 4

    page.draw(0, at=(-130, 0), by=(30, 0))
    page.browser.find_element(By.ID, "reset").click()
    assert np.array_equal(page.shown(), machines)
    press(page.browser, "u")
    assert not np.array_equal(page.shown(), machines), "starting over can be taken back as well"
    page.settled()
    assert np.array_equal(page.held(), page.shown())

    press(page.browser, "d")
    assert pressed(page.browser) == ["measure"], "the left button measures or draws"
    press(page.browser, "x")
    wait(page.browser, "document.getElementById('correct').getAttribute('aria-pressed') === 'true'")
    assert pressed(page.browser) == ["correct"]


def test_a_drawing_survives_the_page_and_is_handed_in_as_it_is_shown(page: Page) -> None:
    page.draw(2, at=(-80, -120))
    page.settled()
    drawn = page.shown()
    assert text_of(page.browser, "corrected") == "Kept by the hospital, not handed in yet."
    assert list((page.live.beside.studies / STUDY).glob("reader-*.seg.dcm")) == [], "drawn is not meant yet"
    page.browser.refresh()
    page.take_up()
    assert np.array_equal(page.shown(), drawn)
    assert text_of(page.browser, "corrected") == "Kept by the hospital, not handed in yet."
    page.draw(1, at=(-80, 100))
    page.browser.find_element(By.ID, "keep").click()
    wait(page.browser, "document.getElementById('corrected').className === 'good'")
    assert "Held by the hospital" in text_of(page.browser, "corrected")
    (kept,) = (page.live.beside.studies / STUDY).glob("reader-*.seg.dcm")
    assert kept.read_bytes() == b"Dr Brush" + page.shown().tobytes()
    assert {one["kind"] for one in page.sent} == {"application/octet-stream"}


def test_strokes_wait_for_the_line_and_a_gap_is_filled_by_the_whole(page: Page) -> None:
    page.browser.execute_script("window.failing = 1")
    page.draw(2, at=(-80, -120))
    wait(page.browser, "document.getElementById('corrected').className === 'bad'")
    assert "1 stroke is not at the hospital yet. The hospital cannot be reached." in text_of(page.browser, "corrected")
    page.settled()
    assert np.array_equal(page.held(), page.shown())

    page.live.beside.book.connection.execute("DELETE FROM read_strokes")
    page.draw(1, at=(-80, 100))
    page.settled()
    assert [one["status"] for one in page.sent] == [200, 409, 200]
    assert page.sent[-1]["kind"] == "application/gzip"
    assert np.array_equal(page.held(), page.shown())

    page.run("brush.stage.viewer.drawBitmap[0] = 1;")  # the two have come apart, and no stroke said so
    page.browser.find_element(By.ID, "keep").click()
    wait(page.browser, "document.getElementById('corrected').className === 'good'")
    assert np.array_equal(page.held(), page.shown())
    assert sha256_of(page.held()) == hashlib.sha256(page.shown().tobytes()).hexdigest()


def test_another_tab_is_not_drawn_over(page: Page) -> None:
    page.draw(2, at=(-80, -120))
    page.settled()
    strokes = page.live.beside.drawings
    strokes.add(CLAIM, 2, b"\x05\x06", base=strokes.strokes(CLAIM)[0].base, whole=False)
    held = page.held()
    page.draw(1, at=(-80, 100))
    wait(page.browser, "document.getElementById('corrected').className === 'bad'")
    assert "corrected in another tab or window" in text_of(page.browser, "corrected")
    assert np.array_equal(page.held(), held)
    page.browser.execute_async_script(TWO_FRAMES)
    assert REQUEST in page.browser.current_url
