"""Turnaround, agreement and kappa against sums done by hand; and who may see whose."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.case import RsnaClass
from protocol.reading import ReadPost
from registry_api.reading.comparison import Coded, Difference
from registry_api.reading.figures import SignedRead, agreement, cohen_kappa, nearest_rank, pairs_of, turnaround
from registry_api.reading.groups import set_group
from registry_api.reading.lifecycle import Purpose
from registry_api.reading.tally import Scope, Statistics, statistics
from tests.unit.registry_api.reading.conftest import NOW
from tests.unit.registry_api.reading.story import CODED, Story, delivered, opened, receipt

START = datetime(2026, 3, 1, tzinfo=UTC)
CODES = Coded(RsnaClass.TYPICAL, 5, 9, critical=False)


def read(minutes: float, *, request: str = "1" * 32, due: float = 60, purpose: Purpose = Purpose.READ) -> SignedRead:
    return SignedRead(
        request_id=request, site="northport", reader_id="a" * 32, group=None, purpose=purpose, opened_at=START,
        due_at=START + timedelta(minutes=due), preliminary_at=START + timedelta(minutes=minutes / 2),
        signed_at=START + timedelta(minutes=minutes), coded=CODES,
    )  # fmt: skip


def test_turnaround_of_ten_reads() -> None:
    found = turnaround([read(minutes) for minutes in (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)])
    assert (found.reads, found.signed_median_minutes, found.signed_p90_minutes) == (10, 55, 90)
    assert (found.preliminary_median_minutes, found.preliminary_p90_minutes) == (27.5, 45)
    assert found.breached == 4


def test_nothing_read_has_no_turnaround() -> None:
    found = turnaround([])
    assert (found.reads, found.signed_median_minutes, found.signed_p90_minutes, found.breached) == (0, None, None, 0)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_the_nearest_rank_is_a_value_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = nearest_rank(ordered, share)
    assert found in ordered
    assert sum(one <= found for one in ordered) >= share * len(ordered) - 1e-6  # type: ignore[operator]


def test_kappa_of_the_textbook() -> None:
    """Two raters, 50 subjects: 20 both yes, 5 and 10 apart, 15 both no. Observed 0.7, by chance 0.5."""
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert cohen_kappa(pairs) == pytest.approx(0.4)


@pytest.mark.parametrize("pairs", [[], [("typical", "typical")] * 7])
def test_kappa_is_none_where_chance_explains_everything(pairs: list[tuple[str, str]]) -> None:
    assert cohen_kappa(pairs) is None


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1))
def test_kappa_is_at_most_one_and_the_same_both_ways(pairs: list[tuple[str, str]]) -> None:
    found = cohen_kappa(pairs)
    assert found is None or found <= 1 + 1e-9
    assert found == pytest.approx(cohen_kappa([(b, a) for a, b in pairs]))


def test_agreement_counts_in_what_readers_differ() -> None:
    other = Coded(RsnaClass.ATYPICAL, 5, 9, critical=True)
    found = agreement([(CODES, CODES), (CODES, other), (other, CODES)])
    assert (found.double_reads, found.agreed) == (3, 1)
    assert found.differences == {
        Difference.RSNA_CLASS: 2, Difference.CORADS: 0, Difference.SEVERITY_SCORE: 0, Difference.CRITICAL: 2,
    }  # fmt: skip


def test_who_decides_is_no_part_of_a_pair() -> None:
    two = [read(10), read(20)]
    assert pairs_of([*two, read(30, purpose=Purpose.ADJUDICATION)]) == {"1" * 32: tuple(two)}
    assert pairs_of([read(10), read(20, request="2" * 32)]) == {}


@pytest.fixture
def told(story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]) -> tuple[Story, str, str]:
    """A double read at northport that agrees, and a single one at southbay by the first reader, who reads with a group."""
    first, second = add_reader("A", sites=("northport", "southbay")), add_reader("B")
    with story.database.writing() as session:
        set_group(session, first, group="Night readers")
    reads = (("1" * 32, "northport", first), ("1" * 32, "northport", second), ("2" * 32, "southbay", first))
    story.arrives(post("1" * 32, reads_required=2))
    story.arrives(post("2" * 32), site="southbay")
    for request, site, reader in reads:
        claim = story.claims(reader, request)
        story.wait(minutes=10)
        story.arrives(opened(claim), site=site)
        story.arrives(receipt(claim, coded=CODED), site=site)
        story.wait(minutes=10)
        story.signs(claim, reader)
        story.arrives(delivered(claim), site=site)
    return story, first, second


def seen(story: Story, scope: Scope) -> Statistics:
    until = story.now + timedelta(seconds=1)
    return story.look(lambda session: statistics(session, scope, since=NOW, until=until))


def test_the_coordinator_sees_groups_and_hospitals(told: tuple[Story, str, str]) -> None:
    story, _, _ = told
    found = seen(story, Scope())
    assert found.overall.turnaround.reads == 3
    assert found.overall.turnaround.signed_median_minutes == 40
    assert found.overall.turnaround.preliminary_p90_minutes == 50
    assert {name: one.turnaround.reads for name, one in found.hospitals.items()} == {"northport": 2, "southbay": 1}
    assert {name: one.turnaround.reads for name, one in found.groups.items()} == {"Night readers": 2}
    assert (found.overall.agreement.double_reads, found.overall.agreement.agreed) == (1, 1)
    assert found.hospitals["southbay"].agreement.double_reads == 0
    assert found.groups["Night readers"].agreement.double_reads == 1


def test_a_reader_and_a_hospital_see_their_own_and_no_table_of_others(told: tuple[Story, str, str]) -> None:
    story, _, second = told
    mine, site = seen(story, Scope(reader_id=second)), seen(story, Scope(site="southbay"))
    assert (mine.overall.turnaround.reads, mine.overall.agreement.double_reads) == (1, 1)
    assert site.overall.turnaround.reads == 1
    for found in (mine, site):
        assert (found.groups, found.hospitals) == ({}, {})


def test_an_amendment_changes_no_turnaround(told: tuple[Story, str, str]) -> None:
    story, first, _ = told
    before = seen(story, Scope(reader_id=first)).overall.turnaround
    claim = next(one for one in story.notices("southbay") if one.kind == "claim-made")
    story.wait(hours=5)
    story.amends(claim, first)  # type: ignore[arg-type]
    story.arrives(receipt(claim, version=2, report_sha256="5e" * 32), site="southbay")  # type: ignore[arg-type]
    story.signs(claim, first, sha256="5e" * 32)  # type: ignore[arg-type]
    assert seen(story, Scope(reader_id=first)).overall.turnaround == before


def test_what_is_older_is_not_counted(told: tuple[Story, str, str]) -> None:
    story, _, _ = told
    later = story.now + timedelta(days=1)
    found = story.look(lambda session: statistics(session, Scope(), since=later, until=later + timedelta(days=1)))
    assert found.overall.turnaround.reads == 0


def test_reviews_count_for_who_was_reviewed(told: tuple[Story, str, str], add_reader: Callable[..., str]) -> None:
    story, first, second = told
    reviewer = add_reader("C", sites=("southbay",))
    story.draws()
    claim = story.claims(reviewer, "2" * 32)
    story.arrives(opened(claim), site="southbay")
    story.scores(claim, reviewer, 3)
    assert seen(story, Scope(reader_id=first)).overall.reviews == {1: 0, 2: 0, 3: 1, 4: 0}
    for other in (second, reviewer):
        assert sum(seen(story, Scope(reader_id=other)).overall.reviews.values()) == 0
    assert seen(story, Scope()).groups["Night readers"].reviews[3] == 1
