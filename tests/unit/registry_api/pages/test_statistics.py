"""The pages of figures: each sees their own, the coordinator all, and who leads a group the group."""

import html

import pytest

from registry_api.pages.statistics import minutes
from registry_api.people.roles import Role
from registry_api.reading.groups import set_group
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.readers import ready_reader
from tests.unit.registry_api.conftest import Registry
from tests.unit.registry_api.pages.test_pages import Outline
from tests.unit.registry_api.reading.conftest import post as a_post
from tests.unit.registry_api.reading.story import CODED, Story, opened, receipt

__all__ = ["a_post"]


def text(client: AsgiClient, path: str, key: str) -> str:
    answer = client.get(path, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    assert "h1" in Outline(answer.text).tags
    return html.unescape(answer.text)


@pytest.fixture
def keys(registry: Registry, a_post: object) -> dict[str, str]:
    """A double read of Dr Lead and Dr Member, who read together, that agrees; and the coordinator."""
    registry.enrol("northport")
    story = Story(registry.runtime.database, registry.clock())
    with registry.runtime.database.writing() as session:
        people = [ready_reader(session, name, now=registry.clock()) for name in ("Dr Lead", "Dr Member")]
        for number, one in enumerate(people):
            set_group(session, one.person_id, group="Night readers", leads=number == 0)
    story.arrives(a_post("1" * 32, reads_required=2))  # type: ignore[operator]
    for one in people:
        claim = story.claims(one.person_id, "1" * 32)
        story.arrives(opened(claim))
        story.arrives(receipt(claim, coded=CODED))
        story.signs(claim, one.person_id)
    registry.clock.pass_(hours=1)
    found = {one: person.api_key for one, person in zip(("lead", "member"), people, strict=True)}
    return found | {"coordinator": registry.add(Role.COORDINATOR).api_key}


def test_a_reader_sees_their_own_figures_and_a_lead_the_way_to_the_group(
    client: AsgiClient, keys: dict[str, str]
) -> None:
    mine = text(client, "/statistics", keys["member"])
    assert "My figures" in mine
    assert "1 of 1" in mine
    assert "Dr Lead" not in mine
    assert "/statistics/group" not in mine
    assert "/statistics/group" in text(client, "/statistics", keys["lead"])
    assert "/statistics/group" in text(client, "/worklist", keys["lead"])


def test_the_lead_sees_each_reader_of_the_group(client: AsgiClient, keys: dict[str, str]) -> None:
    group = text(client, "/statistics/group?days=7", keys["lead"])
    assert "Dr Lead" in group
    assert "Dr Member" in group
    assert "0.00" in group
    answer = client.get("/v1/reads/statistics/group", headers={"Authorization": f"Bearer {keys['lead']}"}).json()
    assert [one["figures"]["turnaround"]["reads"] for one in answer["members"]] == [1, 1]


@pytest.mark.parametrize("who", ["member", "coordinator"])
def test_who_leads_no_group_gets_no_page_of_one(client: AsgiClient, keys: dict[str, str], who: str) -> None:
    for path in ("/statistics/group", "/v1/reads/statistics/group"):
        assert client.get(path, headers={"Authorization": f"Bearer {keys[who]}"}).status_code == 403


def test_the_coordinator_sees_groups_and_hospitals(client: AsgiClient, keys: dict[str, str]) -> None:
    network = text(client, "/statistics", keys["coordinator"])
    assert "Night readers" in network
    assert "northport" in network


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (0.2, "0 min"), (59.4, "59 min"), (60, "1 h"), (95, "1 h 35 min"), (30 * 60 + 5, "30 h")],
)
def test_spans_are_said_as_people_say_them(value: float | None, said: str) -> None:
    assert minutes(value) == said
