"""The rule that promotes or refuses: worse never helps, few never suffice, nobody decides alone."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codes import Code
from protocol.evaluation import Evaluation, EvaluationNotice, Group, GroupSum, Outcome
from protocol.plan import EvaluationPlan
from server.verdict import concluded

PLAN = EvaluationPlan(noise_multiplier=1.0, margin=0.02, minimum_sites=2)
NONE = 0


def said(site: int, **sums: tuple[int, int]) -> EvaluationNotice:
    """A site's answer: gain and cases by the group's name."""
    return EvaluationNotice(
        run_id="a" * 32, site=f"site-{site}", candidate_sha256="b" * 64, present_sha256="c" * 64, epsilon=1.0, delta=1e-5,
        sums=tuple(GroupSum(group=Group[name], gain=gain, cases=cases) for name, (gain, cases) in sums.items()),
    )  # fmt: skip


def reason(notices: Sequence[EvaluationNotice], plan: EvaluationPlan = PLAN) -> Code | None:
    return concluded(plan, "ggo@0", notices).reason


def outcome_of(verdict: Evaluation, group: Group) -> Outcome:
    return next(one.outcome for one in verdict.groups if one.group is group)


def test_a_candidate_that_does_as_well_may_be_promoted() -> None:
    assert reason([said(1, ALL=(0, 100)), said(2, ALL=(0, 100))]) is None


def test_a_loss_within_the_margin_is_borne() -> None:
    assert reason([said(1, ALL=(-39, 100)), said(2, ALL=(-39, 100))]) is None


def test_a_loss_beyond_the_margin_refuses() -> None:
    assert reason([said(1, ALL=(-41, 100)), said(2, ALL=(-41, 100))]) is Code.WORSE_THAN_PRESENT


def test_a_group_that_loses_refuses_whatever_the_others_gain() -> None:
    notices = [said(1, ALL=(50, 100), FEMALE=(-45, 90)), said(2, ALL=(50, 100), FEMALE=(-45, 90))]
    assert reason(notices) is Code.WORSE_THAN_PRESENT


def test_a_small_group_that_seems_to_lose_says_nothing() -> None:
    verdict = concluded(PLAN, "ggo@0", [said(1, ALL=(0, 100), MALE=(-9, 9)), said(2, ALL=(0, 100))])
    assert verdict.reason is None
    assert outcome_of(verdict, Group.MALE) is Outcome.UNSURE


def test_a_group_that_nobody_spoke_of_is_unsure() -> None:
    verdict = concluded(PLAN, "ggo@0", [said(1, ALL=(0, 100)), said(2, ALL=(0, 100))])
    assert outcome_of(verdict, Group.GE) is Outcome.UNSURE


def test_one_site_alone_promotes_nothing() -> None:
    assert reason([said(1, ALL=(500, 500))]) is Code.EVALUATION_MISSED


def test_nobody_promotes_nothing() -> None:
    assert reason([]) is Code.EVALUATION_MISSED


def test_too_few_patients_promote_nothing() -> None:
    assert reason([said(1, ALL=(5, 5)), said(2, ALL=(5, 5))]) is Code.EVALUATION_MISSED


def test_negative_counts_promote_nothing() -> None:
    assert reason([said(1, ALL=(-5, -5)), said(2, ALL=(5, -5))]) is Code.EVALUATION_MISSED


def test_more_noise_needs_more_patients() -> None:
    notices = [said(1, ALL=(0, 60)), said(2, ALL=(0, 60))]
    assert reason(notices) is None
    assert reason(notices, PLAN.model_copy(update={"noise_multiplier": 10.0})) is Code.EVALUATION_MISSED


def test_a_site_that_claims_a_million_patients_counts_for_its_share_at_most() -> None:
    honest = [said(number, ALL=(-400, 500)) for number in (1, 2, 3)]
    loud = said(4, ALL=(1_000_000, 1_000_000))
    assert reason([*honest, *honest, loud], PLAN) is Code.WORSE_THAN_PRESENT
    assert reason([*honest, *honest, loud], PLAN.model_copy(update={"most_cases": 1_000_000})) is None


def test_a_site_cannot_claim_more_gain_than_its_patients_can_have() -> None:
    honest = [said(number, ALL=(-70, 100)) for number in (1, 2)]
    assert reason([*honest, said(3, ALL=(1_000_000, 20))]) is Code.WORSE_THAN_PRESENT


def test_a_site_cannot_take_a_group_that_loses_out_of_sight_by_a_count_below_zero() -> None:
    honest = [said(number, ALL=(50, 100), FEMALE=(-45, 90)) for number in (1, 2)]
    hiding = said(3, ALL=(0, 10), FEMALE=(0, -1_000_000))
    assert reason([*honest, hiding]) is Code.WORSE_THAN_PRESENT
    assert outcome_of(concluded(PLAN, "ggo@0", [*honest, hiding]), Group.FEMALE) is Outcome.WORSE


def test_a_site_takes_no_more_patients_away_than_the_noise_of_an_honest_one() -> None:
    honest = [said(number, ALL=(10, 100)) for number in (1, 2, 3)]
    assert reason([*honest, said(4, ALL=(0, -1_000_000))]) is None


def test_a_count_that_no_honest_site_would_say_of_a_group_is_not_heard() -> None:
    honest = [said(number, ALL=(0, 100), GE=(-3, 90)) for number in (1, 2)]
    below = PLAN.minimum_group - 1
    heard = concluded(PLAN, "ggo@0", [*honest, said(3, ALL=(0, 100), GE=(-below, below))])
    assert next(one for one in heard.groups if one.group is Group.GE).sites == 2


def test_the_record_says_how_much_and_how_surely() -> None:
    verdict = concluded(PLAN, "ggo@0", [said(1, ALL=(-10, 100)), said(2, ALL=(10, 100))])
    overall = next(one for one in verdict.groups if one.group is Group.ALL)
    assert (overall.sites, overall.cases, overall.change) == (2, 200, 0.0)
    assert overall.error == pytest.approx(1.28 * 0.05 * 5**0.5 * 2**0.5 / 200, abs=1e-4)


_SUMS = st.tuples(st.integers(-600, 600), st.integers(-50, 600))
_SITES = st.lists(
    st.fixed_dictionaries({group.name: _SUMS for group in (Group.ALL, Group.FEMALE, Group.GE)}), max_size=4
)


@given(_SITES, st.data())
def test_a_worse_score_never_turns_a_refusal_into_a_promotion(
    sites: list[dict[str, tuple[int, int]]], data: st.DataObject
) -> None:
    worse = [
        {name: (gain - data.draw(st.integers(0, 600)), cases) for name, (gain, cases) in one.items()} for one in sites
    ]
    before = reason([said(number, **one) for number, one in enumerate(sites)])
    after = reason([said(number, **one) for number, one in enumerate(worse)])
    assert before is None or after is not None


@given(_SITES)
def test_who_answers_first_does_not_matter(sites: list[dict[str, tuple[int, int]]]) -> None:
    notices = [said(number, **one) for number, one in enumerate(sites)]
    assert concluded(PLAN, "ggo@0", notices) == concluded(PLAN, "ggo@0", notices[::-1])


@given(_SITES)
def test_fewer_than_the_agreed_sites_promote_nothing(sites: list[dict[str, tuple[int, int]]]) -> None:
    plan = PLAN.model_copy(update={"minimum_sites": len(sites) + 1})
    assert reason([said(number, **one) for number, one in enumerate(sites)], plan) is Code.EVALUATION_MISSED
