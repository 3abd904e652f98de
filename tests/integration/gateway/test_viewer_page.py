"""A reader's browser from the first visit to a report held by the hospital; what the screen shows; what the browser asks for."""

import io
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from protocol.reading import ReportReceipt
from tests.fakes.gateway import REQUEST
from tests.integration.gateway.conftest import LiveGateway

pytestmark = pytest.mark.e2e

PATIENCE_SECONDS = 60
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


def picture(browser: webdriver.Chrome) -> NDArray[np.int16]:
    """Return the canvas as the reader sees it, (rows, columns, RGB)."""
    png = browser.find_element(By.ID, "canvas").screenshot_as_png
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.int16)


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
    wait(browser, "document.getElementById('desk')?.dataset.state")
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


def test_the_patients_right_is_on_the_left_of_the_screen_and_the_overlay_comes_off(
    live: LiveGateway, browser: webdriver.Chrome
) -> None:
    """The phantom has a bright block on the patient's left only, and opacity on the patient's right only."""
    jkt = thumbprint_of(browser, live.origin)
    live.beside.keys.approve(jkt, name="Dr Browser")
    open_study(browser, live, jkt)
    wait(browser, "document.getElementById('desk')?.dataset.state === 'shown'")
    for layout in ("axial", "coronal"):
        browser.find_element(By.CSS_SELECTOR, f"[data-layout={layout}]").click()
        browser.execute_async_script(TWO_FRAMES)
        seen = picture(browser)
        inner = seen[int(0.1 * len(seen)) : int(0.9 * len(seen)), int(0.06 * seen.shape[1]) : int(0.94 * seen.shape[1])]
        bright = (inner > 235).all(axis=2)
        cyan = is_overlay(inner)
        assert bright.sum() > 500
        assert cyan.sum() > 500
        assert columns_of(bright) > 0.55, "the patient's left must be on the screen's right"
        assert columns_of(cyan) < 0.45, "the patient's right must be on the screen's left"

    shown = int(is_overlay(picture(browser)).sum())
    browser.find_element(By.ID, "overlay").click()
    browser.execute_async_script(TWO_FRAMES)
    assert int(is_overlay(picture(browser)).sum()) < shown / 20
