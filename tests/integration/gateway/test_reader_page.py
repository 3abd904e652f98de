"""What the page does when something is not as it should be: what it says, what it lets the reader do next, and to whom a key belongs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.fakes.gateway import CLAIM, REQUEST
from tests.integration.gateway.conftest import LiveGateway
from tests.integration.gateway.test_viewer_page import fill_in, open_study, press, text_of, thumbprint_of, wait

pytestmark = pytest.mark.e2e

# Fails for what it is told to, as a line, a proxy or nobody would; counts what is asked.
INSTEAD = """
window.instead = { "/vol/": "line" };
window.asked = [];
const fetched = window.fetch;
window.fetch = async (address, options = {}) => {
  window.asked.push(`${options.method ?? "GET"} ${address}`);
  const [, how] = Object.entries(window.instead).find(([begins]) => address.startsWith(begins)) ?? [];
  if (how === "line") throw new TypeError("Failed to fetch");
  if (how === "proxy") return new Response("<html>Bad Gateway</html>", { status: 502 });
  if (how === "other") return Response.json({ code: "not-found", detail: "There is nothing of that name that you may see." }, { status: 404 });
  if (how === "slow") await new Promise((resolve) => setTimeout(resolve, 1500));
  const answer = await fetched(address, options);
  return how === "unmeasured" ? new Response(answer.body, { status: answer.status }) : answer;
};
"""


def told(browser: webdriver.Chrome, id_: str) -> str:
    wait(browser, f"!['', 'Sending …'].includes(document.getElementById('{id_}').textContent)")
    return text_of(browser, id_)


def instead(browser: webdriver.Chrome, **how: str) -> None:
    browser.execute_script("window.instead = arguments[0]", {f"/{begins}": one for begins, one in how.items()})


@pytest.fixture
def page(live: LiveGateway, browser: webdriver.Chrome) -> webdriver.Chrome:
    """A reader whose images do not come, for nobody answers."""
    jkt = thumbprint_of(browser, live.origin)
    live.beside.keys.approve(jkt, name="Dr Patient")
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": INSTEAD})
    open_study(browser, live, jkt)
    wait(browser, "document.getElementById('desk')?.dataset.state === 'failed'")
    live.beside.book.claim_opened(CLAIM)  # who has seen nothing may say nothing
    return browser


@contextmanager
def session_over(live: LiveGateway) -> Iterator[None]:
    """While the reader is in the middle of something the grant ends; later the read is opened again."""
    connection = live.beside.book.connection
    (ends,) = connection.execute("SELECT expires_s FROM gateway_sessions").fetchone()
    connection.execute("UPDATE gateway_sessions SET expires_s = 1")
    yield
    connection.execute("UPDATE gateway_sessions SET expires_s = ?", (ends,))


def test_a_form_says_what_is_wrong_and_loses_nothing(page: webdriver.Chrome, live: LiveGateway) -> None:
    fill_in(page)
    zone = page.find_element(By.NAME, "right.upper")
    zone.clear()
    zone.send_keys("9")
    assert text_of(page, "total") == "–", "nine is no score, and a sum with it none"
    zone.clear()
    zone.send_keys("0")
    assert text_of(page, "total") == "9"
    percent = page.find_element(By.NAME, "ggo_percent")
    percent.clear()
    percent.send_keys("150")
    page.find_element(By.CSS_SELECTOR, "input[name=agrees][value=yes]").click()
    submit = page.find_element(By.ID, "submit")

    instead(page, reports="proxy")
    submit.click()
    assert told(page, "message") == "The hospital answers with error 502. Try again in a minute."
    instead(page, reports="other")  # a second read of the hospital took the cookie
    submit.click()
    wait(page, "document.getElementById('message').textContent.includes('shows this browser another read now')")
    instead(page, reports="line")
    submit.click()
    wait(page, "document.getElementById('message').textContent.includes('cannot be reached')")
    instead(page)
    with session_over(live):
        submit.click()
        wait(page, "document.getElementById('message').textContent.includes('Open the read again')")
    guarded = "return !dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert page.execute_script(guarded), "the page asks before it throws words away"
    submit.click()
    wait(page, "document.getElementById('message').textContent.includes('holds version 1')")
    assert not page.execute_script(guarded)
    (kept,) = live.beside.reports.of_request(REQUEST)
    assert kept.report.content.measurement.agrees, "a percent that nobody sees any more did not stand in the way"


def test_a_question_is_asked_once_and_an_ended_session_is_said(page: webdriver.Chrome, live: LiveGateway) -> None:
    ask, question = page.find_element(By.CSS_SELECTOR, "#ask button"), page.find_element(By.NAME, "text")
    with session_over(live):
        question.send_keys("Contrast?")
        ask.click()
        assert "Open the read again from the worklist in another tab" in told(page, "asked")
    instead(page, messages="slow")
    page.execute_script("window.asked = []")
    ask.click()
    page.execute_script("document.getElementById('ask').requestSubmit()")
    ask.click()
    wait(page, "document.getElementById('asked').textContent.includes('stands still')")
    assert [one for one in page.execute_script("return window.asked") if one.startswith("POST")] == [
        f"POST /messages/{CLAIM}"
    ]
    assert len(live.beside.messages.of_claim(CLAIM)) == 1

    with session_over(live):
        left = "document.getElementById('desk').dataset.expires = String(Math.floor(Date.now() / 1000) + 300)"
        page.execute_script(left)
        wait(page, "document.getElementById('clock').textContent.startsWith('grant ended')")
    another_tab = (
        "new BroadcastChannel('session').postMessage({ request: arguments[0], until: Date.now() / 1000 + 500 })"
    )
    page.execute_script(another_tab, "0" * 32)
    time.sleep(1.2)
    assert text_of(page, "clock").startswith("grant ended"), "another read's session is not this one's"
    page.execute_script(another_tab, REQUEST)
    wait(page, "document.getElementById('clock').textContent.startsWith('grant 8:')")


def test_images_that_did_not_come_are_asked_for_again_and_keys_belong_to_what_has_the_focus(
    page: webdriver.Chrome,
) -> None:
    said = text_of(page, "loading-text")
    assert said.startswith("The study cannot be shown whole: The hospital cannot be reached. Check your network")
    instead(page, vol="unmeasured")  # somebody between leaves the length out
    page.execute_script("WebGL2RenderingContext.prototype.getError = () => WebGL2RenderingContext.OUT_OF_MEMORY")
    page.find_element(By.ID, "again").click()
    wait(page, "document.getElementById('loading-text').textContent.includes('no room for it')")
    page.execute_script("WebGL2RenderingContext.prototype.getError = () => 0")
    page.find_element(By.ID, "again").click()
    wait(page, "document.getElementById('desk').dataset.state === 'shown'")
    assert not page.find_element(By.ID, "again").is_displayed()

    place = text_of(page, "place")
    first = page.find_element(By.CSS_SELECTOR, "input[name=rsna_class]")
    first.click()
    first.send_keys(Keys.ARROW_DOWN)
    assert page.execute_script("return document.getElementById('form').elements.rsna_class.value") == "indeterminate"
    page.find_element(By.ID, "submit").send_keys(Keys.PAGE_DOWN)
    time.sleep(0.3)
    assert page.execute_script("return document.querySelector('.report').scrollTop") > 0, (
        "the report scrolls by its keys"
    )
    assert text_of(page, "place") == place
    page.find_element(By.ID, "opacity").send_keys("m")
    assert page.find_element(By.CSS_SELECTOR, "[data-window='-160,240']").get_attribute("aria-pressed") == "true"
    press(page, Keys.ARROW_UP)
    assert text_of(page, "place") != place

    page.execute_script(
        "document.getElementById('canvas').getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()"
    )
    wait(page, "document.getElementById('desk').dataset.state === 'lost'")
    assert "let go of the images. Load this page again" in text_of(page, "loading-text")


def test_a_hospital_that_does_not_answer_lets_nobody_wait(browser: webdriver.Chrome, live: LiveGateway) -> None:
    thumbprint_of(browser, live.origin)
    source = INSTEAD.replace('"/vol/"', '"/session"')
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    browser.get("about:blank")
    browser.get(f"{live.origin}/session#a.b.c")
    wait(browser, "document.getElementById('heading').textContent !== 'Opening the study'")
    assert "open the read again from your worklist" in text_of(browser, "message")
