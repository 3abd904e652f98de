"""What a claim and a heartbeat ask of the database: so many statements, and none more. A count, for time depends on the machine (ADR 0181)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import event

from protocol.reading import GrantRenewed, Priority, ReadPost
from registry_api.database import Database
from registry_api.people.keys import caller_by_key
from registry_api.people.roles import Role
from registry_api.people.service import add_person
from registry_api.reading.grants import GrantSigner, make_grant, renew_grant
from registry_api.reading.heartbeats import heartbeat
from registry_api.reading.turns import next_case, take
from tests.unit.registry_api.reading.conftest import NOW
from tests.unit.registry_api.reading.story import Story, opened


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """Note the statements; what begins, commits and locks SQLite's file is none."""
    asked: list[str] = []

    def note(*call: object) -> None:
        asked.append(" ".join(str(call[2]).split()[:3]))

    event.listen(database.engine, "before_cursor_execute", note)
    yield asked
    event.remove(database.engine, "before_cursor_execute", note)
    asked[:] = [one for one in asked if not one.startswith("BEGIN")]


@pytest.fixture
def reader(story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]) -> str:
    """A reader of two hospitals, where five reads wait; another one holds something."""
    for number in range(4):
        story.arrives(post(f"{number:032x}"))
    story.arrives(post(f"{4:032x}"), site="southbay")
    story.claims(add_reader("Other"), f"{3:032x}")
    return add_reader(sites=("northport", "southbay"))


def test_a_claim_asks_seven_times(story: Story, reader: str) -> None:
    def claims_next() -> list[str]:
        first = story.look(lambda session: next_case(session, reader, now=story.now))
        assert first is not None
        with counted(story.database) as asked, story.database.writing() as session:
            take(session, first.request_id, reader, now=story.now)
        return asked

    asked = claims_next()
    assert len(asked) == 7, asked
    assert claims_next() == asked, "nothing is remembered, and nothing grows with what is held"


def test_looking_what_comes_next_asks_twice(story: Story, reader: str) -> None:
    with counted(story.database) as asked, story.database.reading() as session:
        first = next_case(session, reader, now=story.now)
    assert first is not None
    assert len(asked) == 2, asked


def test_a_heartbeat_asks_three_times_and_three_times_more_for_a_grant(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    reader, signer = add_reader(), GrantSigner(Ed25519PrivateKey.generate())
    story.arrives(post("a" * 32, priority=Priority.STAT))
    claim = story.claims(reader, "a" * 32)
    story.arrives(opened(claim))
    with story.database.writing() as session:
        make_grant(session, claim.claim_id, reader, jkt="j" * 43, signer=signer, now=story.now)

    def beat() -> list[str]:
        with counted(story.database) as asked, story.database.writing() as session:
            held = heartbeat(session, claim.claim_id, reader, now=story.now)
            renew_grant(session, claim.claim_id, reader, signer=signer, now=story.now)
        assert held.lease_until == story.now + timedelta(minutes=20) == story.slot("a" * 32).lease_until
        return asked

    story.wait(seconds=20)
    assert len(beat()) == 3
    assert not any(isinstance(one, GrantRenewed) for one in story.notices())
    story.wait(minutes=5)
    assert len(beat()) == 6
    assert isinstance(story.notices()[-1], GrantRenewed)


def test_a_caller_is_found_by_one_question(database: Database) -> None:
    with database.writing() as session:
        added = add_person(session, "A", role=Role.READER, now=NOW)
    with counted(database) as asked, database.reading() as session:
        found = caller_by_key(session, added.api_key, now=NOW)
        assert caller_by_key(session, added.api_key[:-1], now=NOW) is None
    assert found is not None
    assert (found.id, found.role, found.scopes) == (added.person_id, "reader", None)
    assert len(asked) == 2
