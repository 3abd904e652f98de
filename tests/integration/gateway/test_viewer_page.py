"""A reader's browser from the first visit to a report held by the hospital; what the screen shows; what the browser asks for."""

import io
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from protocol.reading import AmendmentOpened, ReportReceipt, ReportSigned
from tests.fakes.gateway import CLAIM, REQUEST, STUDY, write_study
from tests.integration.gateway.conftest import LiveGateway

pytestmark = pytest.mark.e2e

PATIENCE_SECONDS = 60
EARLIER = "5" * 32
TWO_FRAMES = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"


def text_of(browser: webdriver.Chrome, id_: str) -> str:
    return browser.find_element(By.ID, id_).text


def wait(browser: webdriver.Chrome, script: str) -> None:
    WebDriverWait(browser, PATIENCE_SECONDS).until(lambda b: b.execute_script(f"return Boolean({script})"))


def thumbprint_of(browser: webdriver.Chrome, origin: str) -> str:
    browser.get(f"{origin}/reader")
    wait(browser, "document.getElementById('thumbprint').textContent.length === 43")
    return text_of(browser, "thumbprint")


def open_study(browser: webdriver.Chrome, live: LiveGateway, jkt: str) -> None:
    token = live.beside.centre.grant(jkt, now=datetime.now(UTC))
    browser.get("about:blank")
    browser.get(f"{live.origin}/session#{token}")
    wait(
        browser,
        "location.pathname.startsWith('/view/') || document.querySelector('#message')?.textContent.includes('(')",
    )


def picture(browser: webdriver.Chrome, where: str = "#canvas") -> NDArray[np.int16]:
    """Return a canvas as the reader sees it, (rows, columns, RGB)."""
    png = browser.find_element(By.CSS_SELECTOR, where).screenshot_as_png
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.int16)


def has_cross_hairs(seen: NDArray[np.int16]) -> bool:
    """Say whether lines of the cross-hairs' green are there."""
    red, green, blue = seen[..., 0], seen[..., 1], seen[..., 2]
    return int(((green - red > 70) & (green - blue > 4)).sum()) > 100


def is_overlay(seen: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return which pixels are bluer than anything but the overlay of ground glass (the cross-hairs are greener)."""
    red, green, blue = seen[..., 0], seen[..., 1], seen[..., 2]
    return (blue - red > 50) & (blue - green > 8)


def columns_of(chosen: NDArray[np.bool_]) -> float:
    """Return the mean column of the chosen pixels, as a share of the width."""
    return float(np.nonzero(chosen)[1].mean() / chosen.shape[1])


def requested(browser: webdriver.Chrome) -> list[str]:
    entries = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    return [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]


def fill_in(browser: webdriver.Chrome) -> None:
    """Fill in the form as a person would."""
    browser.find_element(By.CSS_SELECTOR, "input[name=rsna_class][value=typical]").click()
    browser.find_element(By.CSS_SELECTOR, "select[name=corads] option[value='5']").click()
    for field, points in zip(browser.find_elements(By.CSS_SELECTOR, ".zones input"), (0, 1, 2, 1, 3, 2), strict=True):
        field.send_keys(str(points))
    browser.find_element(By.CSS_SELECTOR, "input[name=agrees][value=no]").click()
    browser.find_element(By.NAME, "ggo_percent").send_keys("14.5")
    browser.find_element(By.NAME, "consolidation_percent").send_keys("2")
    browser.find_element(By.NAME, "impression").send_keys("Peripheral ground glass on the right.")


def test_a_reader_reads_in_the_browser(live: LiveGateway, browser: webdriver.Chrome) -> None:
    jkt = thumbprint_of(browser, live.origin)
    open_study(browser, live, jkt)
    assert "reader-not-approved" in text_of(browser, "message")
    assert text_of(browser, "thumbprint") == jkt

    live.beside.keys.approve(jkt, name="Dr Browser")
    assert thumbprint_of(browser, live.origin) == jkt
    open_study(browser, live, jkt)
    wait(browser, "['shown', 'failed'].includes(document.getElementById('desk')?.dataset.state)")
    assert browser.execute_script("return document.getElementById('desk').dataset.state") == "shown"
    assert "#" not in browser.current_url
    assert browser.execute_script("return document.cookie") == ""

    fill_in(browser)
    assert text_of(browser, "total") == "9"
    browser.find_element(By.ID, "submit").click()
    wait(browser, "!document.getElementById('kept').hidden")
    (kept,) = live.beside.reports.of_request(REQUEST)
    assert text_of(browser, "sha256") == kept.report_sha256
    assert kept.report.content.impression == "Peripheral ground glass on the right."
    assert kept.report.severity_score == 9
    assert kept.report.reader_key == jkt
    receipt = live.inside.gate.parcels[-1]
    assert isinstance(receipt, ReportReceipt)
    assert receipt.report_sha256 == kept.report_sha256

    urls = requested(browser)
    assert f"{live.origin}/vol/{REQUEST}/ct.nii.gz" in urls
    outside = [url for url in urls if "://" in url and not url.startswith((live.origin + "/", "chrome://"))]
    assert outside == []
    refused = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert [line for line in refused if "403" not in line] == []


def assert_radiological(browser: webdriver.Chrome, where: str = "#canvas") -> None:
    """The bright block of the patient's left is on the screen's right, the opacity of the patient's right on its left."""
    browser.execute_async_script(TWO_FRAMES)
    seen = picture(browser, where)
    inner = seen[int(0.1 * len(seen)) : int(0.9 * len(seen)), int(0.06 * seen.shape[1]) : int(0.94 * seen.shape[1])]
    bright = (inner > 245).all(axis=2)
    cyan = is_overlay(inner)
    assert bright.sum() > 500
    assert cyan.sum() > 500
    assert columns_of(bright) > 0.55, "the patient's left must be on the screen's right"
    assert columns_of(cyan) < 0.45, "the patient's right must be on the screen's left"


def press(browser: webdriver.Chrome, *keys: str) -> None:
    browser.find_element(By.TAG_NAME, "body").send_keys(*keys)
    browser.execute_async_script(TWO_FRAMES)


# Lets the preview come and holds the full volume back until the test says so.
HOLD_BACK = r"""
const fetched = window.fetch;
window.fetch = async (address, ...rest) => {
  if (/^\/vol\/.*\/ct.nii.gz$/.test(address)) await new Promise((resolve) => { window.letGo = resolve; });
  return fetched(address, ...rest);
};
"""


@pytest.fixture
def preview(live: LiveGateway, browser: webdriver.Chrome) -> webdriver.Chrome:
    """The viewer with the preview of a phantom that is finer than a preview; the full study waits for `window.letGo()`."""
    write_study(live.beside.studies / STUDY, shape=(24, 200, 200))
    write_study(live.beside.studies / EARLIER, shape=(8, 100, 100), slice_mm=9.0)
    live.beside.book.connection.execute("INSERT INTO read_priors VALUES (?, ?, 41)", (REQUEST, EARLIER))
    jkt = thumbprint_of(browser, live.origin)
    live.beside.keys.approve(jkt, name="Dr Browser")
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": HOLD_BACK})
    open_study(browser, live, jkt)
    wait(browser, "document.getElementById('desk')?.dataset.state === 'preview' && window.letGo")
    return browser


def what_is_filled_in(browser: webdriver.Chrome) -> dict[str, list[str]]:
    """Return every field of the form that says something, as the browser would send it."""
    entries = browser.execute_script("return [...new FormData(document.getElementById('form'))]")
    said: dict[str, list[str]] = {}
    for name, value in entries:
        if value:
            said.setdefault(name, []).append(value)
    return said


@pytest.mark.slow
def test_the_form_goes_on_from_the_readers_last_version(live: LiveGateway, browser: webdriver.Chrome) -> None:
    jkt = thumbprint_of(browser, live.origin)
    live.beside.keys.approve(jkt, name="Dr Browser")
    open_study(browser, live, jkt)
    wait(browser, "document.getElementById('desk')?.dataset.state === 'shown'")
    fill_in(browser)
    for chosen in (
        "[name=signs][value=consolidation]", "[name=signs][value=nodules]", "[name=critical]", "[name=bsti] [value=classic]",
        "[name=quality] option[value='1']",
    ):  # fmt: skip
        browser.find_element(By.CSS_SELECTOR, chosen).click()
    browser.find_element(By.NAME, "incidental").send_keys("A rib.")
    said = what_is_filled_in(browser)
    assert (said["signs"], said["impression"]) == (
        ["consolidation", "nodules"],
        ["Peripheral ground glass on the right."],
    )
    browser.find_element(By.ID, "submit").click()
    wait(browser, "!document.getElementById('kept').hidden")
    (kept,) = live.beside.reports.of_request(REQUEST)

    open_study(browser, live, jkt)
    wait(browser, "!document.getElementById('kept').hidden")
    assert what_is_filled_in(browser) == said
    assert (text_of(browser, "total"), text_of(browser, "sha256")) == ("9", kept.report_sha256)
    assert browser.find_element(By.NAME, "ggo_percent").is_displayed()

    signed = ReportSigned(request_id=REQUEST, claim_id=CLAIM, fence=1, report_sha256=kept.report_sha256)
    assert live.beside.reports.sign(signed)
    live.beside.book.reopened(AmendmentOpened(request_id=REQUEST, claim_id=CLAIM, fence=1))
    open_study(browser, live, jkt)
    wait(browser, "document.getElementById('message').textContent.includes('is signed')")
    assert what_is_filled_in(browser) == said
    assert not browser.find_element(By.ID, "kept").is_displayed()
    browser.find_element(By.NAME, "impression").send_keys(" And on the left.")
    browser.find_element(By.ID, "submit").click()
    wait(browser, "document.getElementById('message').textContent.includes('version 2')")
    newest = live.beside.reports.of_request(REQUEST)[0].report.content
    assert newest == kept.report.content.model_copy(
        update={"impression": f"{kept.report.content.impression} And on the left."}
    )


def test_the_viewer_shows_left_and_right_and_changes_nothing_behind_the_readers_back(
    preview: webdriver.Chrome, live: LiveGateway
) -> None:
    assert text_of(preview, "place") == "slice 13 of 24 · -850 HU · preview"
    for key in "32":
        press(preview, key)
        assert_radiological(preview)
    press(preview, Keys.ARROW_UP, Keys.ARROW_UP, Keys.PAGE_DOWN, "m")
    assert text_of(preview, "place").startswith("slice 5 of 24")

    preview.execute_script("window.letGo()")
    wait(preview, "document.getElementById('desk').dataset.state === 'shown'")
    assert text_of(preview, "place") == "slice 5 of 24 · -850 HU"
    pressed = preview.find_elements(By.CSS_SELECTOR, ".tools [aria-pressed=true]")
    assert [button.text for button in pressed if button.is_displayed()] == ["Axial", "Mediastinum"]
    black = (picture(preview) < 20).all(axis=2).mean()
    press(preview, "l")
    assert (picture(preview) < 20).all(axis=2).mean() < black - 0.1, "air is black in the mediastinal window only"
    for key in "32":
        press(preview, key)
        assert_radiological(preview)

    press(preview, "3", Keys.ARROW_UP)
    assert text_of(preview, "place").startswith("slice 102 of 200"), "a coronal layout counts coronal slices"
    press(preview, Keys.ARROW_DOWN, "2")
    assert has_cross_hairs(picture(preview))
    shown = int(is_overlay(picture(preview)).sum())
    press(preview, "o")
    assert int(is_overlay(picture(preview)).sum()) < shown / 20
    assert_a_line_is_measured(preview)
    press(preview, "o")
    assert_the_earlier_study_is_beside(preview)
    assert_the_brush_draws_where_it_is_seen(preview, live)


def assert_a_line_is_measured(browser: webdriver.Chrome) -> None:
    """A line dragged over the axial plane is as long as the voxels below it, in mm."""
    press(browser, "d")
    canvas = browser.find_element(By.ID, "canvas")
    pixel_mm = 400 / min(canvas.size["width"], canvas.size["height"])  # 200 voxels of 2 mm fill the shorter side
    drag = ActionChains(browser).move_to_element_with_offset(canvas, -60, 0).click_and_hold()
    drag.move_by_offset(120, 0).release().perform()
    lines = "import('/static/view.js').then((page) => arguments[0](page.stage.measured()))"
    (measured,) = browser.execute_async_script(lines)
    assert measured == pytest.approx(120 * pixel_mm, rel=0.06)
    press(browser, "c")
    assert browser.execute_async_script(lines) == []
    press(browser, "d")


def assert_the_earlier_study_is_beside(browser: webdriver.Chrome) -> None:
    """Right and left are right there too, and it moves with the present study; then it is put away."""
    press(browser, "p")
    wait(browser, "document.getElementById('prior').dataset.state === 'shown'")
    assert_radiological(browser, "#prior canvas")
    place = browser.find_element(By.CSS_SELECTOR, "#prior .place")
    before = int(place.text.split()[1])
    assert before == round(5 / 24 * 8), "it opens as high as the present study stands"
    press(browser, Keys.ARROW_UP, Keys.ARROW_UP, Keys.ARROW_UP)
    assert int(place.text.split()[1]) == before + 1, "three slices of 3 mm are one of 9 mm"
    press(browser, Keys.END)
    press(browser, *[Keys.ARROW_UP] * 7)
    assert text_of(browser, "place").startswith("slice 8 of 24")
    assert int(place.text.split()[1]) == before + 1, "beyond its ends it goes on counting"
    press(browser, *[Keys.ARROW_DOWN] * 3)
    press(browser, "p")
    assert not browser.find_element(By.ID, "prior").is_displayed()


def assert_the_brush_draws_where_it_is_seen(browser: webdriver.Chrome, live: LiveGateway) -> None:
    """A stroke on the left of the screen is on the patient's right in what the hospital keeps."""
    browser.execute_async_script(TWO_FRAMES)
    press(browser, "x")
    wait(browser, "document.getElementById('correct').getAttribute('aria-pressed') === 'true'")
    browser.find_element(By.CSS_SELECTOR, "#brushes [data-label='2']").click()
    canvas = browser.find_element(By.ID, "canvas")
    drag = ActionChains(browser).move_to_element_with_offset(canvas, -100, -60).click_and_hold()
    drag.move_by_offset(10, 10).move_by_offset(20, 10).release().perform()
    browser.find_element(By.ID, "keep").click()
    wait(browser, "document.getElementById('corrected').className !== 'faint'")
    assert "Held by the hospital" in text_of(browser, "corrected")
    (kept,) = (live.beside.studies / STUDY).glob("reader-*.seg.dcm")
    labels = np.frombuffer(kept.read_bytes(), np.uint8, offset=len(b"Dr Browser")).reshape(24, 200, 200)
    _, rows, columns = np.nonzero(labels == 2)
    assert len(columns) > 20
    assert columns.max() < 100, "columns count from the patient's right"
    assert rows.max() < 100, "rows count from the front"
    assert (labels == 1).sum() > 1000, "the machine's own labels are still there"
