"""The policy decides by the site's own words alone; what is no closed shape is no parcel."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.gate.policy import (
    Clearance,
    Refusal,
    SharingPolicy,
    SitePolicy,
    TrainingPolicy,
    judge,
    judge_bundle,
    judge_order,
    labels_for,
    shaped,
)
from client.gate.policy_file import parse_policy
from protocol.case import CaseRecord
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.plan import LabelUse, PrivacyPlan, Purpose, RoundOrder, RunPlan, SecureSumPlan
from protocol.shape import canonical_json
from protocol.standing import ReleaseStanding, Standing
from tests.fakes.parcels import a_case, a_claim, a_post, an_opening

SUMS = SecureSumPlan(dropouts=0, colluders=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BUNDLE = "b" * 64


def an_order(**plan: Any) -> RoundOrder:
    content: dict[str, Any] = {
        "base": "ggo@0", "sites": ("northport",), "rounds": 3, "quorum": 1, "learning_rate": 0.01,
        "privacy": PrivacyPlan(noise_multiplier=1, clipping_norm=1, sample_rate=0.5, expected_batch=8, steps_per_round=3),
    }  # fmt: skip
    return RoundOrder(run_id="1" * 32, round=1, base_sha256="a" * 64, plan=RunPlan(**(content | plan)))


def a_policy(**training: Any) -> SitePolicy:
    content = {
        "allowed": True, "purposes": (Purpose.SEGMENTATION,), "lineages": ("ggo",), "bundles": (BUNDLE,), "minimum_cohort": 5,
    }  # fmt: skip
    return SitePolicy(training=TrainingPolicy(**(content | training)))


@pytest.mark.parametrize("parcel", [a_case(), a_post(), a_case(rsna_class="typical", corads=3)])
def test_without_a_word_of_the_site_nothing_leaves(parcel: Any) -> None:
    assert judge(parcel, SitePolicy()) == Refusal(code=Code.POLICY_SHARING)


def test_a_withdrawal_and_the_course_of_a_posted_read_may_always_leave() -> None:
    assert isinstance(judge(a_case(withdrawn=True), SitePolicy()), Clearance)
    assert isinstance(judge(an_opening(), SitePolicy()), Clearance)


def test_a_word_on_a_release_leaves_only_where_the_site_shares_it() -> None:
    word = ReleaseStanding(release="ggo@1", standing=Standing.STEADY, version=1)
    assert judge(word, SitePolicy()) == Refusal(code=Code.POLICY_SHARING)
    assert judge(word, SitePolicy(sharing=SharingPolicy(cases=True))) == Refusal(code=Code.POLICY_SHARING)
    assert judge(word, SitePolicy(sharing=SharingPolicy(standing=True))) == Clearance()


def test_cases_leave_when_the_site_shares_them() -> None:
    assert isinstance(judge(a_case(), SitePolicy(sharing=SharingPolicy(cases=True))), Clearance)


@pytest.mark.parametrize(
    ("changes", "cohort", "plan", "code"),
    [
        ({}, 5, {}, None),
        ({"allowed": False}, 5, {}, Code.POLICY_PURPOSE),
        ({"purposes": ()}, 5, {}, Code.POLICY_PURPOSE),
        ({"lineages": ("other",)}, 5, {}, Code.POLICY_LINEAGE),
        ({"hours": "20:00-06:00"}, 5, {}, Code.POLICY_HOURS),
        ({"hours": "08:00-12:00"}, 5, {}, Code.POLICY_HOURS),
        ({"hours": "12:00-12:01"}, 5, {}, None),
        ({}, 4, {}, Code.COHORT_TOO_SMALL),
        ({}, 10_000, {}, None),
        ({}, 10_001, {}, Code.COHORT_TOO_LARGE),
        ({"most_patients": 7}, 8, {}, Code.COHORT_TOO_LARGE),
        ({}, 5, {"lineage": "nodule"}, Code.POLICY_LINEAGE),
        ({"strategies": ("median",)}, 5, {}, Code.POLICY_STRATEGY),
        ({"strategies": ("median", "fedavg")}, 5, {}, None),
        ({"minimum_peers": 2}, 5, {"sites": ("a-site", "b-site"), "quorum": 2}, Code.POLICY_PEERS),
        ({"minimum_peers": 2}, 5, {"sites": ("a-site", "b-site", "b-site"), "quorum": 3}, Code.POLICY_PEERS),
        ({"minimum_peers": 2}, 5, {"sites": ("a-site", "b-site", "c-site"), "quorum": 2}, Code.POLICY_PEERS),
        ({"minimum_peers": 2}, 5, {"sites": ("a-site", "b-site", "c-site"), "quorum": 3}, None),
        ({"minimum_peers": 1}, 5, {}, Code.POLICY_PEERS),
        ({}, 5, {"secure_sum": SUMS}, Code.POLICY_SECURE_SUM),
        ({"secure_sum": "allowed"}, 5, {}, None),
        ({"secure_sum": "allowed"}, 5, {"secure_sum": SUMS}, None),
        ({"secure_sum": "required"}, 5, {}, Code.POLICY_SECURE_SUM),
        ({"secure_sum": "required"}, 5, {"secure_sum": SUMS}, None),
        ({"secure_sum": "allowed", "secure_sum_colluders": 2}, 5, {"secure_sum": SUMS}, Code.POLICY_SECURE_SUM),
    ],
)
def test_an_order_is_held_against_every_limit(
    changes: dict[str, Any], cohort: int, plan: dict[str, Any], code: Code | None
) -> None:
    verdict = judge_order(an_order(**plan), a_policy(**changes), cohort=cohort, now=NOON)
    assert verdict == (Clearance() if code is None else Refusal(code=code))


@pytest.mark.parametrize(
    ("delta", "most_patients"), [(1e-5, 10_000), (1e-5, 1), (1e-6, 100_000), (2.5e-6, 40_000), (1e-7, 1_000_000)]
)
def test_delta_may_be_as_large_as_the_patients_allow(delta: float, most_patients: int) -> None:
    assert parse_policy(f"[training]\ndelta = {delta}\nmost_patients = {most_patients}\n", subject="policy.toml")


@pytest.mark.parametrize(
    "words",
    ["delta = 1.1e-5", "delta = 1e-3", "most_patients = 10001", "delta = 1e-6\nmost_patients = 110000", "delta = 0"],
)
def test_a_delta_that_is_too_large_for_the_patients_is_no_policy(words: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse_policy(f"[training]\n{words}\n", subject="policy.toml")
    assert refused.value.code is Code.BAD_SETTING
    assert "training" in str(refused.value)


def test_only_listed_bundles_run() -> None:
    assert isinstance(judge_bundle(BUNDLE, a_policy()), Clearance)
    assert judge_bundle(BUNDLE[:-1] + "c", a_policy()) == Refusal(code=Code.POLICY_BUNDLE)
    assert judge_bundle(BUNDLE, SitePolicy()) == Refusal(code=Code.POLICY_BUNDLE)


@given(st.times(), st.times())
def test_a_span_over_midnight_is_the_rest_of_the_day(start: Any, moment: Any) -> None:
    """The hours from a to b and from b to a cover the day once, whatever a and b."""
    end = start.replace(hour=(start.hour + 7) % 24)
    now = NOON.replace(hour=moment.hour, minute=moment.minute)
    spans = (f"{start:%H:%M}-{end:%H:%M}", f"{end:%H:%M}-{start:%H:%M}")
    open_ = [
        isinstance(judge_order(an_order(), a_policy(hours=hours), cohort=9, now=now), Clearance) for hours in spans
    ]
    assert open_.count(True) == 1


@pytest.mark.parametrize("parcel", [a_case(), a_post(), an_opening()])
def test_a_parcel_is_what_its_bytes_say(parcel: Any) -> None:
    assert shaped(parcel) == canonical_json(parcel)


class WiderCase(CaseRecord):
    """A case record with room for a name."""

    patient: str = "DOE^JANE"


@pytest.mark.parametrize(
    "candidate",
    [
        None, "a text", b"{}", {"kind": "case-record"}, a_claim(), object(), [a_case()],
        WiderCase(**a_case().model_dump()),
        a_case().model_copy(update={"epi_week": "DOE^JANE"}),
        a_case().model_copy(update={"ggo_percent": "1960-01-02"}),
        a_case().model_copy(update={"quality": ("DOE^JANE",)}),
        CaseRecord.model_construct(kind="case-record", case_id="DOE^JANE"),
        a_case().model_copy(update={"kind": "read-post"}),
        a_case().model_copy(update={"severity_score": 9.5}),
        a_case().model_copy(update={"case_id": object()}),
    ],
)  # fmt: skip
def test_what_is_no_closed_shape_is_no_parcel(candidate: object) -> None:
    assert shaped(candidate) is None


def test_what_hangs_beside_the_fields_does_not_travel() -> None:
    assert shaped(a_case().model_copy(update={"note": "DOE^JANE"})) == canonical_json(a_case())


def test_zone_scores_are_used_only_where_plan_and_site_both_say_so() -> None:
    masks, both = LabelUse.MASKS, LabelUse.MASKS_AND_ZONE_SCORES
    used = {
        (plan, site): labels_for(an_order(labels=plan), a_policy(labels=site))
        for plan in (masks, both)
        for site in (masks, both)
    }
    assert used == {(masks, masks): masks, (masks, both): masks, (both, masks): masks, (both, both): both}


def test_without_a_word_of_plan_or_site_masks_alone_are_used() -> None:
    assert an_order().plan.labels is LabelUse.MASKS
    assert SitePolicy().training.labels is LabelUse.MASKS
