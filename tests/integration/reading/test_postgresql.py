"""The races of claiming on a real PostgreSQL: the same tests as on SQLite, and double reads under many readers."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlmodel import select

from protocol.codes import Code
from protocol.errors import FederationError
from protocol.reading import Priority, ReadPost
from registry_api.database import Database, open_engine
from registry_api.enrolment.tables import SiteRow
from registry_api.reading.claims import Claim
from registry_api.reading.grants import GrantSigner, make_grant, renew_grant, revoke_grant
from registry_api.reading.heartbeats import heartbeat
from registry_api.reading.questions import accept_answered
from registry_api.reading.readers import set_capacity
from registry_api.reading.tables import GrantRow, ReaderRow, ReadRequestRow, SlotRow
from registry_api.reading.turns import take
from registry_api.schema import migrate
from tests.integration.registry.test_driver import Watched, line_of
from tests.integration.registry.test_postgresql import needs_postgresql, url
from tests.unit.registry_api.reading.conftest import NOW, REQUEST, add_reader, post, story
from tests.unit.registry_api.reading.story import (
    CODED,
    Story,
    acknowledged,
    answered,
    asked,
    delivered,
    opened,
    receipt,
)
from tests.unit.registry_api.reading.test_race import (
    test_of_a_thousand_racing_claims_exactly_one_wins,
    test_of_many_claims_at_once_exactly_one_wins,
    test_one_reader_claiming_everything_at_once_stays_within_capacity,
)
from tests.unit.registry_api.reading.test_statements import (
    reader,
    test_a_caller_is_found_by_one_question,
    test_a_claim_asks_seven_times,
    test_a_heartbeat_asks_three_times_and_three_times_more_for_a_grant,
    test_looking_what_comes_next_asks_twice,
)

__all__ = [
    "add_reader",
    "post",
    "reader",
    "story",
    "test_a_caller_is_found_by_one_question",
    "test_a_claim_asks_seven_times",
    "test_a_heartbeat_asks_three_times_and_three_times_more_for_a_grant",
    "test_looking_what_comes_next_asks_twice",
    "test_of_a_thousand_racing_claims_exactly_one_wins",
    "test_of_many_claims_at_once_exactly_one_wins",
    "test_one_reader_claiming_everything_at_once_stays_within_capacity",
    "url",
]

pytestmark = needs_postgresql


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    migrate(engine)
    made = Database(engine)
    with made.writing() as session:
        for site in ("northport", "southbay"):
            origin = f"https://{site}.example:9443"
            session.add(SiteRow(site=site, region="XA-N", gateway_origin=origin, enrolled_at=NOW))
    yield made
    made.close()


def test_two_first_changes_of_one_reader_are_both_kept(database: Database, add_reader: Callable[..., str]) -> None:
    """The second comes while the first has made the row and not committed it."""
    reader, made = add_reader(), Event()
    with database.reading() as session:
        assert session.get(ReaderRow, reader) is None

    def second() -> None:
        assert made.wait(10)
        with database.writing() as session:
            set_capacity(session, reader, capacity_stat=1)

    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(second)
        with database.writing() as session:
            set_capacity(session, reader, capacity=3)
            made.set()
            wait([later], timeout=0.5)
        later.result(10)
    with database.reading() as session:
        row = session.get(ReaderRow, reader)
        assert row is not None
        assert (row.capacity, row.capacity_stat) == (3, 1)


def test_two_slots_go_to_two_of_many_readers(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    readers = [add_reader(f"Reader {number}") for number in range(10)]
    for number in range(3):
        request = f"{number:032x}"
        story.arrives(post(request, reads_required=2))

        def race(reader: str, request: str = request) -> Claim | Code:
            try:
                return story.claims(reader, request)
            except FederationError as error:
                return error.code

        with ThreadPoolExecutor(len(readers)) as pool:
            outcomes = list(pool.map(race, readers))
        won = [outcome for outcome in outcomes if isinstance(outcome, Claim)]
        assert sorted(claim.number for claim in won) == [1, 2]
        assert Counter(outcome for outcome in outcomes if isinstance(outcome, Code)) == {Code.ILLEGAL_TRANSITION: 8}
        for claim in won:
            story.releases(claim, readers[outcomes.index(claim)])


def test_sweeping_and_signing_at_once_leave_one_truth(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    """The lease ends in the second in which the reader signs: either it is signed, or the slot is open, and never both."""
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    story.wait(hours=1)

    def sign() -> str:
        try:
            return story.signs(claim, reader).value
        except FederationError as error:
            return error.code.value

    with ThreadPoolExecutor(2) as pool:
        signed, _ = pool.submit(sign), pool.submit(story.sweeps)
        assert signed.result() == "stale-fence"
    story.sweeps()  # both may have met the other's lock; the sweep that comes every five seconds meets none
    assert story.state(REQUEST) == "open"


def test_two_readers_who_sign_at_once_and_disagree_open_one_slot(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    readers = [add_reader("A"), add_reader("B")]
    apart = [CODED, CODED.model_copy(update={"corads": 2})]
    for number in range(8):
        request = f"{number:032x}"
        story.arrives(post(request, reads_required=2))
        held = [story.claims(reader, request) for reader in readers]
        for claim, coded in zip(held, apart, strict=True):
            story.arrives(opened(claim))
            story.arrives(receipt(claim, coded=coded))
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(story.signs, held, readers)) == ["signed", "signed"]
        numbers = story.look(lambda s, r=request: s.exec(select(SlotRow.number).where(SlotRow.request_id == r)).all())
        assert sorted(numbers) == [1, 2, 3], "neither nor both saw the other's signature"


def test_of_two_answers_at_once_the_longer_pause_counts_for_the_request(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    readers = [add_reader("A"), add_reader("B")]
    story.arrives(post(reads_required=2))
    longer, shorter = (story.claims(reader, REQUEST) for reader in readers)
    for claim in (longer, shorter):
        story.arrives(opened(claim))
        story.arrives(asked(claim))
        story.wait(minutes=5)

    with ThreadPoolExecutor(1) as pool, story.database.writing() as session:
        accept_answered(session, story.site, answered(longer), story.now)
        session.flush()
        second = pool.submit(story.arrives, answered(shorter))
        wait([second], timeout=0.5)
        session.commit()
        second.result(30)
    due = story.look(lambda session: session.get_one(ReadRequestRow, REQUEST).due_at)
    assert due == story.slot(REQUEST, longer.number).due_at > story.slot(REQUEST, shorter.number).due_at


def test_a_grant_that_is_renewed_while_it_is_revoked_is_revoked_with_it(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    """Else the renewal stood, and each heartbeat after it brought another one."""
    reader, signer = add_reader(), GrantSigner(Ed25519PrivateKey.generate())
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    with story.database.writing() as session:
        make_grant(session, claim.claim_id, reader, jkt="a" * 43, signer=signer, now=story.now)
        jti = session.exec(select(GrantRow.jti)).one()
    story.wait(minutes=6)

    def revoke() -> None:
        with story.database.writing() as session:
            revoke_grant(session, jti, reader_id=reader, now=story.now)

    with ThreadPoolExecutor(1) as pool, story.database.writing() as session:
        heartbeat(session, claim.claim_id, reader, now=story.now)
        assert renew_grant(session, claim.claim_id, reader, signer=signer, now=story.now)
        revoking = pool.submit(revoke)
        wait([revoking], timeout=0.5)
        session.commit()
        revoking.result(30)
    revoked = story.look(lambda session: session.exec(select(GrantRow.revoked_at)).all())
    assert revoked == [story.now, story.now]


def test_a_whole_life(story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]) -> None:
    reader = add_reader()
    story.arrives(post(priority=Priority.STAT))
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    story.wait(minutes=45)
    story.escalates()
    assert story.signs(claim, reader) == "signed"
    story.wait(minutes=10)
    story.escalates()
    story.arrives(delivered(claim))
    story.arrives(acknowledged(claim))
    assert story.events(REQUEST) == [
        "posted", "claimed", "opened", "submitted", "widened", "signed", "delivery-failed", "delivered", "acknowledged",
    ]  # fmt: skip
    assert story.state(REQUEST) == "closed"


def test_a_claim_waits_for_the_database_five_times_and_a_heartbeat_three_times(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    """What nobody asks anything of goes out with the next statement or the commit; the caller's key is one more."""
    reader, signer = add_reader(), GrantSigner(Ed25519PrivateKey.generate())
    for number in range(3):
        story.arrives(post(f"{number:032x}"))

    def claimed(number: int) -> Claim:
        with story.database.writing() as session:
            return take(session, f"{number:032x}", reader, now=story.now)

    def beaten(claim: Claim) -> None:
        with story.database.writing() as session:
            heartbeat(session, claim.claim_id, reader, now=story.now)
            renew_grant(session, claim.claim_id, reader, signer=signer, now=story.now)

    for number in range(2):
        last = claimed(number)
        story.arrives(opened(last))
        story.wait(seconds=20)
        beaten(last)
    story.wait(seconds=20)
    with story.database.engine.connect() as connection:
        line = line_of(connection)
    line._sock = watched = Watched(line._sock)
    claimed(2)
    assert watched.flushed == 5
    beaten(last)
    assert watched.flushed == 5 + 3
    line._sock = watched.inner
