"""Two people at two browsers read the same case: neither page ever shows one of them what the other one wrote."""

from collections.abc import Callable

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import WebDriverWait

from registry_api.reading.lifecycle import State
from tests.integration.gateway.conftest import wait_for
from tests.integration.gateway.test_viewer_page import fill_in, wait
from tests.integration.reading.conftest import Network
from tests.integration.reading.test_whole_read import post, state, view

pytestmark = pytest.mark.e2e


class Person:
    """A reader at a browser of their own: the worklist in one window, the hospital's page in another."""

    def __init__(self, network: Network, browser: webdriver.Chrome, name: str) -> None:
        self.network, self.browser, self.name = network, browser, name
        self.reader_id, api_key = network.add_reader(name)
        browser.get(f"{network.gateway}/reader")
        wait(browser, "document.getElementById('thumbprint').textContent.length === 43")
        self.jkt = browser.find_element(By.ID, "thumbprint").text
        network.node.keys.approve(self.jkt, name=name)
        browser.get(f"{network.registry}/login")
        browser.find_element(By.NAME, "api_key").send_keys(api_key)
        press(browser, "Log in")

    def opens(self) -> None:
        """Claim the next case and look at it."""
        press(self.browser, "Claim the next case")
        self.browser.find_element(By.NAME, "jkt").send_keys(self.jkt)
        self.browser.find_element(By.XPATH, "//main//button[normalize-space()='Open the study']").click()
        WebDriverWait(self.browser, 30).until(expected_conditions.number_of_windows_to_be(2))
        self.turn_to(-1)
        wait(self.browser, "document.getElementById('open') !== null")
        self.browser.find_element(By.ID, "open").click()
        wait(self.browser, "document.getElementById('desk')?.dataset.state === 'shown'")

    def reports(self, impression: str) -> str:
        """Write a report beside the images; return its hash."""
        fill_in(self.browser)
        self.browser.find_element(By.NAME, "impression").send_keys(f" {impression}")
        self.browser.find_element(By.ID, "submit").click()
        wait(self.browser, "!document.getElementById('kept').hidden")
        return self.browser.find_element(By.ID, "sha256").text

    def signs(self) -> None:
        """Go back to the worklist and sign."""
        self.turn_to(0)
        self.browser.get(f"{self.network.registry}/worklist")
        press(self.browser, "Sign this report")

    def turn_to(self, window: int) -> None:
        self.browser.switch_to.window(self.browser.window_handles[window])

    def sees(self, request_id: str) -> str:
        """Return all that both windows hold, and what the registry and the hospital answer to their scripts."""
        look = "const done = arguments[1]; fetch(arguments[0]).then((one) => one.text()).then(done)"
        claim = next(slot.claim_id for slot in view(self.network, request_id).slots if slot.reader_id == self.reader_id)
        self.turn_to(-1)
        seen = [self.browser.page_source]
        seen += [self.browser.execute_async_script(look, f"/{what}/{claim}") for what in ("reports", "messages")]
        self.turn_to(0)
        for page in ("/worklist", "/statistics"):
            self.browser.get(f"{self.network.registry}{page}")
            seen.append(self.browser.page_source)
        seen += [self.browser.execute_async_script(look, f"/v1/reads{path}") for path in ("", f"/{request_id}")]
        return "\n".join(seen)


@pytest.mark.slow
def test_two_people_read_the_same_case_blind_of_each_other(
    network: Network, browsers: Callable[..., webdriver.Chrome]
) -> None:
    request_id = post(network, reads=2)
    # Small windows: the viewer draws every pixel of them in software.
    first, second = (Person(network, browsers(name, size="800,600"), name) for name in ("Dr First", "Dr Second"))
    hashes = {}
    for person, other in ((first, None), (second, first)):
        person.opens()
        if other is not None:
            refuse_traces(person.sees(request_id), other, hashes)
            person.turn_to(-1)
        hashes[person.name] = person.reports(f"Seen by {person.name} alone.")
    wait_for(lambda: {slot.state for slot in view(network, request_id).slots} == {State.PRELIMINARY})
    for person, other in ((second, first), (first, second)):
        seen = person.sees(request_id)
        assert hashes[person.name] in seen
        refuse_traces(seen, other, hashes)
    for person in (first, second):
        person.signs()
    wait_for(lambda: state(network, request_id) is State.DELIVERED)
    kept = network.node.reports.of_request(request_id)
    assert {one.report_sha256 for one in kept} == set(hashes.values())
    assert view(network, request_id).agreed


def refuse_traces(seen: str, other: Person, hashes: dict[str, str]) -> None:
    """Nothing of the other one's report or person stands in what was seen."""
    for trace in (hashes[other.name], other.reader_id, other.name, other.jkt, f"Seen by {other.name}"):
        assert trace not in seen


def press(browser: webdriver.Chrome, words: str) -> None:
    """Press the button with these words and wait until its page has gone."""
    button = browser.find_element(By.XPATH, f"//main//button[normalize-space()='{words}']")
    button.click()
    WebDriverWait(browser, 30).until(expected_conditions.staleness_of(button))
    wait(browser, "document.readyState === 'complete'")
