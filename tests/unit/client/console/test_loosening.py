"""Which way a policy moved, held against what the policy then really admits."""

from datetime import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.console.loosening import _NEITHER, RULES, Way, changes, minutes
from client.gate.policy import Clearance, SitePolicy, _within, judge_bundle
from client.gate.policy_file import parse_policy


def policy(**tables: dict[str, Any]) -> SitePolicy:
    return SitePolicy.model_validate(tables)


def test_every_key_of_the_policy_has_a_rule() -> None:
    keys = {f"{table}.{key}" for table, values in SitePolicy().model_dump().items() for key in values}
    assert set(RULES) | _NEITHER == keys


LOOSER = [
    ({"training": {"allowed": True}}, "training.allowed"),
    ({"training": {"purposes": ("ggo-segmentation",)}}, "training.purposes"),
    ({"training": {"lineages": ("ggo", "lungs")}}, "training.lineages"),
    ({"training": {"bundles": ("a" * 64,)}}, "training.bundles"),
    ({"training": {"labels": "masks-and-zone-scores"}}, "training.labels"),
    ({"training": {"epsilon_total": 0.1}}, "training.epsilon_total"),
    ({"training": {"epsilon_per_run": 0.1}}, "training.epsilon_per_run"),
    ({"training": {"period_days": 364}}, "training.period_days"),
    ({"training": {"whole_plan": False}}, "training.whole_plan"),
    ({"training": {"minimum_cohort": 19}}, "training.minimum_cohort"),
    ({"training": {"evaluation": True}}, "training.evaluation"),
    ({"training": {"minimum_held_out": 19}}, "training.minimum_held_out"),
    ({"training": {"secure_sum": "allowed"}}, "training.secure_sum"),
    ({"training": {"secure_sum_colluders": 0}}, "training.secure_sum_colluders"),
    ({"sharing": {"cases": True}}, "sharing.cases"),
    ({"sharing": {"standing": True}}, "sharing.standing"),
    ({"reading": {"posts": True}}, "reading.posts"),
]  # fmt: skip


@pytest.mark.parametrize(("after", "key"), LOOSER, ids=lambda value: value if isinstance(value, str) else "")
def test_more_than_before_is_looser_and_the_way_back_tighter(after: dict[str, Any], key: str) -> None:
    before, later = SitePolicy(), policy(**after)
    (there,), (back,) = changes(before, later), changes(later, before)
    assert (there.key, there.way, back.key, back.way) == (key, Way.LOOSER, key, Way.TIGHTER)
    assert there.words == RULES[key].meaning


@pytest.mark.parametrize(
    ("key", "less", "more"), [("epsilon_per_period", 1, 2), ("delta", 1e-6, 1e-5), ("most_patients", 100, 200)]
)
def test_a_higher_limit_is_looser(key: str, less: float, more: float) -> None:
    before, later = policy(training={key: less}), policy(training={key: more})
    assert [change.way for change in changes(before, later)] == [Way.LOOSER]
    assert [change.way for change in changes(later, before)] == [Way.TIGHTER]


def test_swapping_one_purpose_for_another_is_looser() -> None:
    before, later = policy(training={"bundles": ["a" * 64]}), policy(training={"bundles": ["b" * 64]})
    assert [change.way for change in changes(before, later)] == [Way.LOOSER]


def test_an_order_of_words_is_no_change() -> None:
    one, two = policy(training={"lineages": ["a", "b"]}), policy(training={"lineages": ["b", "a"]})
    assert changes(one, two) == []


@pytest.mark.parametrize(
    ("before", "after", "way"),
    [
        ("forbidden", "required", Way.LOOSER), ("required", "forbidden", Way.LOOSER), ("required", "allowed", Way.LOOSER),
        ("allowed", "required", Way.TIGHTER),
    ],
)  # fmt: skip
def test_another_way_to_add_updates_up_is_looser_unless_both_were_allowed(before: str, after: str, way: Way) -> None:
    one, two = policy(training={"secure_sum": before}), policy(training={"secure_sum": after})
    assert [change.way for change in changes(one, two)] == [way]


def test_naming_the_other_hospitals_is_tighter_and_naming_more_of_them_is_looser() -> None:
    keys = [[], ["a" * 64], ["a" * 64, "b" * 64]]
    nobody, one, two = (policy(training={"secure_sum_peers": some}) for some in keys)
    ways = [changes(before, after)[0].way for before, after in ((nobody, one), (one, two), (two, one), (one, nobody))]
    assert ways == [Way.TIGHTER, Way.LOOSER, Way.TIGHTER, Way.LOOSER]


def test_where_the_hospital_is_is_neither() -> None:
    (change,) = changes(SitePolicy(), policy(reading={"language": "de"}))
    assert change.way is Way.OTHER


def test_what_is_looser_comes_first() -> None:
    before = policy(training={"epsilon_total": 8.0, "minimum_cohort": 5})
    later = policy(training={"epsilon_total": 4.0, "minimum_cohort": 3}, reading={"language": "de"})
    assert [change.way for change in changes(before, later)] == [Way.LOOSER, Way.TIGHTER, Way.OTHER]


CLOCK = st.integers(0, 24 * 60 - 1).map(lambda m: f"{m // 60:02d}:{m % 60:02d}")
HOURS = st.tuples(CLOCK, CLOCK).map("-".join)


@given(HOURS)
def test_minutes_are_those_in_which_the_gate_opens(hours: str) -> None:
    assert minutes(hours) == {m for m in range(24 * 60) if _within(hours, time(m // 60, m % 60))}


@given(HOURS, HOURS, st.integers(0, 24 * 60 - 1))
def test_hours_are_looser_exactly_when_some_minute_opens(before: str, after: str, minute: int) -> None:
    found = changes(policy(training={"hours": before}), policy(training={"hours": after}))
    moment = time(minute // 60, minute % 60)
    opens = _within(after, moment) and not _within(before, moment)
    if opens:
        assert [change.way for change in found] == [Way.LOOSER]


@given(st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd")))
def test_bundles_are_looser_exactly_when_one_more_is_cleared(before: set[str], after: set[str]) -> None:
    old, new = (policy(training={"bundles": [letter * 64 for letter in one]}) for one in (before, after))
    opens = any(
        isinstance(judge_bundle(letter * 64, new), Clearance)
        and not isinstance(judge_bundle(letter * 64, old), Clearance)
        for letter in "abcd"
    )
    assert opens == any(change.way is Way.LOOSER for change in changes(old, new))


def test_texts_that_differ_in_comments_only_change_nothing() -> None:
    one, two = "[training]\nallowed = false # no\n", "# yes\n[training]\nallowed = false\n"
    assert changes(parse_policy(one, subject="x"), parse_policy(two, subject="x")) == []
