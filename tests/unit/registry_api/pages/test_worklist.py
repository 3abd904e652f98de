"""The worklist by its forms: what asks something of the reader first, what is finished apart; and the coordinator's list."""

import html
import re

from protocol.reading import Priority
from registry_api.people.roles import Role
from registry_api.reading.claims import Claim
from registry_api.reading.lifecycle import State
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.readers import ready_reader
from tests.unit.registry_api.conftest import Registry
from tests.unit.registry_api.pages.test_availability import Page, page
from tests.unit.registry_api.reading.conftest import REQUEST, post
from tests.unit.registry_api.reading.story import Story, delivered, opened, receipt

__all__ = ["page", "post"]


def delivered_read(page: Page, post) -> tuple[Story, Claim]:
    """Let the reader of the page sign a read that the hospital gets, and a day go by."""
    story = Story(page.registry.runtime.database, page.registry.clock())
    story.arrives(post(priority=Priority.STAT))
    claim = story.claims(page.reader.person_id, REQUEST)
    for step in (opened, receipt):
        story.arrives(step(claim))
    story.signs(claim, page.reader.person_id)
    story.arrives(delivered(claim))
    page.registry.clock.pass_(hours=5)
    story.now = page.registry.clock()
    return story, claim


def test_what_is_signed_is_set_apart_and_never_called_overdue(page: Page, post) -> None:
    story, claim = delivered_read(page, post)
    finished = page.text("/worklist")
    assert "None in hand" in finished
    assert "Finished (1)" in finished
    assert "overdue" not in finished
    assert f'data-claim="{claim.claim_id}"' not in finished
    assert page.send("/worklist/amend", claim_id=claim.claim_id, fence=claim.fence) == 303
    amending = page.text("/worklist")
    assert "Finished" not in amending
    assert "open for an amendment until" in amending
    assert f'data-claim="{claim.claim_id}" data-state="delivered"' in amending, "grants are renewed while it is open"
    assert story.state(REQUEST) is State.DELIVERED


def test_the_coordinator_gives_a_read_to_a_reader_by_name(registry: Registry, client: AsgiClient, post) -> None:
    registry.enrol("northport")
    with registry.runtime.database.writing() as session:
        people = [ready_reader(session, name, now=registry.clock()) for name in ("Dr First", "Dr <Second>")]
    story = Story(registry.runtime.database, registry.clock())
    story.arrives(post())
    story.claims(people[0].person_id, REQUEST)
    key = registry.add(Role.COORDINATOR).api_key
    assert client.post("/login", data={"api_key": key}).status_code == 303
    shown = client.get("/worklist").text
    assert "Dr First" in shown
    assert "<Second>" not in shown
    options = dict(re.findall(r'<option value="([0-9a-f]{32})">([^<]+)<', shown))
    assert {html.unescape(name): one for one, name in options.items()} == {"Dr <Second>": people[1].person_id}
    csrf = html.unescape(re.search(r'name="csrf" value="([^"]+)"', shown)[1])  # type: ignore[index]
    sent = {"csrf": csrf, "request_id": REQUEST, "number": 1, "reader_id": people[1].person_id}
    assert client.post("/worklist/reassign", data=sent).status_code == 303
    assert story.slot(REQUEST).reader_id == people[1].person_id
