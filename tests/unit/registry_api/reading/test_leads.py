"""The lead of a group sees its readers' load, turnaround and agreement, and nobody else's."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.reading import ReadPost
from registry_api.people.service import disable_person
from registry_api.reading.groups import set_group
from registry_api.reading.leads import GroupFigures, group_figures, led_group
from tests.unit.registry_api.reading.conftest import NOW
from tests.unit.registry_api.reading.story import CODED, Story, opened, receipt

GROUP = "Night readers"
Readers = dict[str, str]


@pytest.fixture
def readers(story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]) -> Readers:
    """A lead who signed two reads, a member who signed one and holds another, and a stranger who signed one."""
    found = {name: add_reader(name) for name in ("Lead", "Member", "Stranger")}
    with story.database.writing() as session:
        set_group(session, found["Lead"], group=GROUP, leads=True)
        set_group(session, found["Member"], group=GROUP)
    for number, name in enumerate(("Lead", "Lead", "Member", "Stranger")):
        story.arrives(post(f"{number:032x}"))
        claim = story.claims(found[name], f"{number:032x}")
        story.arrives(opened(claim))
        story.arrives(receipt(claim, coded=CODED))
        story.wait(minutes=10 * (number + 1))
        story.signs(claim, found[name])
    story.arrives(post("f" * 32))
    story.claims(found["Member"], "f" * 32)
    return found


def seen(story: Story, lead: str) -> GroupFigures:
    until = story.now + timedelta(seconds=1)
    return story.look(lambda session: group_figures(session, lead, since=NOW, until=until))


def test_the_lead_sees_the_groups_readers_and_no_others(story: Story, readers: Readers) -> None:
    found = seen(story, readers["Lead"])
    assert [(one.name, one.held, one.figures.turnaround.reads) for one in found.members] == [
        ("Lead", 0, 2), ("Member", 1, 1),
    ]  # fmt: skip
    assert (found.group, found.overall.turnaround.reads) == (GROUP, 3)
    assert found.members[0].figures.turnaround.signed_median_minutes == 15
    assert found.gini == pytest.approx(1 / 6)


@pytest.mark.parametrize("who", ["Member", "Stranger"])
def test_who_leads_no_group_sees_none(story: Story, readers: Readers, who: str) -> None:
    assert story.look(lambda session: led_group(session, readers[who])) is None
    with pytest.raises(RefusedError) as refused:
        seen(story, readers[who])
    assert refused.value.code is Code.FORBIDDEN


def test_who_left_the_network_is_no_member_any_more(story: Story, readers: Readers) -> None:
    with story.database.writing() as session:
        disable_person(session, readers["Member"], now=story.now)
    assert [one.name for one in seen(story, readers["Lead"]).members] == ["Lead"]
