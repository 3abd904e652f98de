"""The reader's settings by forms: there or away, shifts on the wall clock, conflicts; and the worklist's next case."""

import html
import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from protocol.reading import ReadPost
from registry_api.main import create_app
from registry_api.people.roles import Role
from registry_api.reading.agreements import change_terms, with_reader
from registry_api.reading.availability import Availability, availability
from registry_api.reading.tables import AgreementTerms
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.readers import ready_reader
from tests.unit.registry_api.conftest import ORIGIN, Registry
from tests.unit.registry_api.pages.test_pages import Outline
from tests.unit.registry_api.reading.conftest import post
from tests.unit.registry_api.reading.test_routes import arrives

__all__ = ["post"]


class Page:
    """A reader who is logged in on the pages."""

    def __init__(self, client: AsgiClient, registry: Registry) -> None:
        self.client, self.registry = client, registry
        registry.enrol("northport")
        with registry.runtime.database.writing() as session:
            self.reader = ready_reader(session, now=registry.clock())
        assert client.post("/login", data={"api_key": self.reader.api_key}).status_code == 303
        found = re.search(r'name="csrf" value="([^"]+)"', client.get("/availability").text)
        assert found is not None
        self.csrf = html.unescape(found[1])

    def send(self, path: str, **fields: object) -> int:
        return self.client.post(path, data={"csrf": self.csrf} | fields).status_code

    def text(self, path: str = "/availability") -> str:
        return html.unescape(self.client.get(path).text)

    def settings(self) -> Availability:
        with self.registry.runtime.database.reading() as session:
            return availability(session, self.reader.person_id, now=self.registry.clock())


@pytest.fixture
def page(registry: Registry) -> Iterator[Page]:
    with AsgiClient(create_app(registry.runtime), base_url=ORIGIN) as client:
        yield Page(client, registry)


def test_a_reader_says_that_they_are_away_and_comes_back(page: Page) -> None:
    assert "No shift is on file" in page.text()
    assert page.send("/availability/declare", says="away", hours=5) == 303
    assert "You said that you are away" in page.text()
    assert page.send("/availability/declare", says="available", hours=5) == 303
    assert "You said that you are available" in page.text()
    assert page.send("/availability/declare", says="nothing", hours=5) == 303
    assert "No shift is on file" in page.text()


def test_a_weekly_shift_is_added_by_the_wall_clock_and_removed(page: Page) -> None:
    """It is Wednesday, 12:00 UTC: 09:00 in São Paulo."""
    shift = {
        "time_zone": "America/Sao_Paulo",
        "begins": "08:00",
        "ends": "16:00",
        "day": ["MO", "WE"],
        "every": 2,
        "capacity": "3",
    }
    assert page.send("/availability/shifts", **shift) == 303
    text = page.text()
    assert "You are on a shift" in text
    assert "04 Mar 16:00" in text
    for words in ("08:00–16:00", "Monday", "Wednesday", "every 2 weeks", "America/Sao_Paulo, 3 reads at once"):
        assert words in text
    ((number, kept),) = page.settings().shifts
    assert (kept.rule, kept.starts_at.hour) == ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE", 11)
    assert page.send("/availability/shifts/remove", shift_id=number) == 303
    assert page.settings().shifts == ()
    assert page.send("/availability/shifts/remove", shift_id=number) == 404


def test_a_night_shift_ends_on_the_next_day(page: Page) -> None:
    shift = {"time_zone": "UTC", "begins": "22:00", "ends": "06:00", "day": ["TU"]}
    assert page.send("/availability/shifts", **shift) == 303
    ((_, kept),) = page.settings().shifts
    assert (kept.ends_at - kept.starts_at).total_seconds() == 8 * 3600
    assert "You are on no shift now" in page.text()


def test_a_shift_that_makes_no_sense_is_refused(page: Page) -> None:
    mistakes: list[dict[str, object]] = [
        {"day": []}, {"time_zone": "Atlantis"}, {"begins": "late"}, {"every": 0}, {"capacity": "many"}, {"day": ["someday"]},
    ]  # fmt: skip
    for wrong in mistakes:
        shift = {"time_zone": "UTC", "begins": "08:00", "ends": "16:00", "day": ["MO"]} | wrong
        assert page.send("/availability/shifts", **shift) == 422, wrong
    assert page.settings().shifts == ()


def test_a_conflict_is_declared_and_taken_back(page: Page) -> None:
    assert page.send("/availability/conflicts", site="northport", holds="true") == 303
    assert page.settings().conflicts == ("northport",)
    assert page.send("/availability/conflicts", site="northport", holds="false") == 303
    assert page.settings().conflicts == ()


def test_what_is_on_file_is_shown_with_its_evidence(page: Page) -> None:
    text = page.text()
    for words in ("register:4711", "XA", "Privileges granted by hospitals: northport", page.reader.person_id):
        assert words in text


def test_forms_need_their_token_and_a_reader(page: Page, bearer: Callable[..., dict[str, str]]) -> None:
    assert page.client.post("/availability/declare", data={"says": "away"}).status_code == 403
    page.client.post("/logout", data={"csrf": page.csrf})
    assert page.client.get("/availability", headers=bearer(Role.MINISTRY)).status_code == 403
    assert page.client.get("/availability").status_code == 303


def test_every_field_has_its_label_and_no_script_is_inline(page: Page) -> None:
    outline = Outline(page.client.get("/availability").text)
    assert "script" not in outline.tags
    assert outline.fields - {""} <= outline.labels


def test_the_next_case_is_offered_first_and_left_to_others(page: Page, post: Callable[..., ReadPost]) -> None:
    assert "Nothing that you may claim" in page.text("/worklist")
    for number in range(2):
        arrives(page.registry, post(f"{number:032x}"))
        page.registry.clock.pass_(seconds=1)
    text = page.text("/worklist")
    assert "Claim the next case" in text
    assert "You may leave 3 more to others" in text
    assert page.send("/worklist/skip", request_id=f"{0:032x}", reason="no-time") == 303
    assert "You may leave 2 more to others" in page.text("/worklist")
    assert page.send("/worklist/skip", request_id=f"{0:032x}", reason="no-time") == 409
    assert page.send("/worklist/claim", request_id=f"{1:032x}") == 303
    assert "data-claim" in page.text("/worklist")


def test_a_long_queue_is_shown_from_its_beginning(page: Page, post: Callable[..., ReadPost]) -> None:
    for number in range(55):
        arrives(page.registry, post(f"{number:032x}"))
    text = page.text("/worklist")
    assert "The first 50 of 55." in text
    assert f"{54:032x}" not in text


def test_the_page_says_until_when_and_for_what_agreements_run(page: Page) -> None:
    now = page.registry.clock()
    for ends, word in ((now + timedelta(days=10), "until"), (now, '<strong class="masked">ended</strong>')):
        with page.registry.runtime.database.writing() as session:
            terms = AgreementTerms(expires_at=ends, pool=True)
            change_terms(session, with_reader(session, "northport", page.reader.person_id), terms)
        shown = f"Agreements: northport, once half of the time is gone, {word} {ends:%Y-%m-%d %H:%M} UTC."
        assert shown in page.text()
