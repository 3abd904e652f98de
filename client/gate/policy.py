"""What the site allows, as a pure decision. The words are the site's own TOML; nothing here comes from the centre."""

import re
import warnings
from datetime import datetime, time
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from protocol.case import CaseRecord, LegalBasis
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.evaluation import EvaluationOrder
from protocol.parcel import Parcel, parse_parcel
from protocol.plan import LabelUse, Purpose, RoundOrder, RunPlan, StrategyName
from protocol.reading import Language, ReadPost
from protocol.shape import Lineage, RegionCode, Sha256, Shape, canonical_json
from protocol.standing import ReleaseStanding

Hours = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-4]):[0-5]\d-([01]\d|2[0-4]):[0-5]\d$")]
"""From-to in the site's local time, such as 20:00-06:00; 00:00-24:00 is always."""


_GREATEST_DELTA = 1e-5
_PATIENTS_PER_DELTA = 10
"""δ is at most one over so many times the patients, of whom the policy names a public upper bound; never their count itself, which is private."""


class SecureSumUse(StrEnum):
    """What the site thinks of secure summation. It rests on sites that do not collude, which noise of one's own does not."""

    FORBIDDEN = "forbidden"
    ALLOWED = "allowed"
    REQUIRED = "required"


class Section(BaseModel):
    """A table of the policy file; unknown keys are refused, so that a misspelt limit is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingPolicy(Section):
    """Limits on training. ε and δ are of the *patient*, over everything this site has ever released.

    `strategies` are the ways to combine updates in which the site takes part. `minimum_peers` other sites must be in the plan and in its
    quorum, and in the circle and the sum of a secure summation: what is combined says the more of a site, the fewer there are.
    `most_patients` is a bound on the labelled patients that the site could have, written down beforehand and public.
    """

    allowed: bool = False
    purposes: tuple[Purpose, ...] = ()
    lineages: tuple[Lineage, ...] = ()
    bundles: tuple[Sha256, ...] = ()
    strategies: tuple[StrategyName, ...] = tuple(StrategyName)
    minimum_peers: Annotated[int, Field(ge=0, le=1000)] = 0
    labels: LabelUse = LabelUse.MASKS
    hours: Hours = "00:00-24:00"
    epsilon_total: Annotated[float, Field(ge=0, le=1000)] = 0.0
    epsilon_per_run: Annotated[float, Field(ge=0, le=1000)] = 0.0
    epsilon_per_period: Annotated[float, Field(ge=0, le=1000)] = 1000.0
    period_days: Annotated[int, Field(ge=1, le=36_500)] = 365
    whole_plan: bool = True
    delta: Annotated[float, Field(gt=0, le=_GREATEST_DELTA)] = 1e-5
    minimum_cohort: Annotated[int, Field(ge=1)] = 20
    most_patients: Annotated[int, Field(ge=1)] = 10_000
    evaluation: bool = False
    minimum_held_out: Annotated[int, Field(ge=1)] = 20
    secure_sum: SecureSumUse = SecureSumUse.FORBIDDEN
    secure_sum_colluders: Annotated[int, Field(ge=0, le=500)] = 1
    secure_sum_peers: tuple[Sha256, ...] = ()

    @model_validator(mode="after")
    def _delta_is_small(self) -> Self:
        """δ is the chance that a patient's promise fails: over all of them it is to stay below a tenth."""
        greatest = 1 / (_PATIENTS_PER_DELTA * self.most_patients)
        if self.delta > greatest * (1 + 1e-9):  # 1e-5 and 10000 patients are written in decimals
            raise ValueError(f"delta must be at most 1/(10 most_patients), here {greatest:.3g}")
        return self


class SharingPolicy(Section):
    """What may leave for the registry."""

    cases: bool = False
    standing: bool = False
    legal_basis: LegalBasis = LegalBasis.PUBLIC_HEALTH_LAW


class ReadingPolicy(Section):
    """Whether reads may be posted, under which law and language, and by how many readers each is read."""

    posts: bool = False
    jurisdiction: RegionCode = "XA"
    language: Language = "en"
    reads: Annotated[int, Field(ge=1, le=2)] = 1


class SitePolicy(Section):
    """The site's policy. The defaults allow nothing."""

    training: TrainingPolicy = TrainingPolicy()
    sharing: SharingPolicy = SharingPolicy()
    reading: ReadingPolicy = ReadingPolicy()


class Clearance(Section):
    """The parcel or order may pass."""


class Refusal(Section):
    """It may not; the code is all that the other side learns."""

    code: Code


Verdict = Clearance | Refusal


def shaped(candidate: object) -> bytes | None:
    """Return the canonical JSON of `candidate` if it is one of the closed shapes, and `None` for everything else.

    Being an instance is not enough: a shape may be built without validation, and a subclass may carry more fields. So the bytes that
    would leave are parsed again, and must give an equal value of exactly the candidate's own type.
    """
    if not isinstance(candidate, Shape):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydantic's warning of an odd value would quote it
            body = canonical_json(candidate)
        parsed = parse_parcel(body)
    except (InvalidInputError, TypeError, ValueError):
        return None
    return body if type(parsed) is type(candidate) and canonical_json(parsed) == body else None


def judge(parcel: Parcel, policy: SitePolicy) -> Verdict:
    """Say whether `parcel` may leave the site.

    What concerns a read that the hospital posted earlier may always leave; stopping it half-way would strand the reader.
    """
    if isinstance(parcel, CaseRecord) and not policy.sharing.cases and not parcel.withdrawn:
        return Refusal(code=Code.POLICY_SHARING)
    if isinstance(parcel, ReleaseStanding) and not policy.sharing.standing:
        return Refusal(code=Code.POLICY_SHARING)
    if isinstance(parcel, ReadPost) and not policy.reading.posts:
        return Refusal(code=Code.POLICY_SHARING)
    return Clearance()


def judge_bundle(bundle_sha256: str, policy: SitePolicy) -> Verdict:
    """Say whether the app bundle with this hash is on the site's allow-list."""
    return Clearance() if bundle_sha256 in policy.training.bundles else Refusal(code=Code.POLICY_BUNDLE)


def judge_order(order: RoundOrder, policy: SitePolicy, *, cohort: int, now: datetime) -> Verdict:
    """Say whether the site takes part in `order`. The budget is the ledger's to judge.

    Args:
        order: What the centre asks.
        policy: The site's own limits.
        cohort: Labelled patients at the site.
        now: Local time of the site.
    """
    training = policy.training
    checks = (
        (training.allowed and order.plan.purpose in training.purposes, Code.POLICY_PURPOSE),
        (order.plan.lineage in training.lineages, Code.POLICY_LINEAGE),
        (_within(training.hours, now.time()), Code.POLICY_HOURS),
        (order.plan.strategy in training.strategies, Code.POLICY_STRATEGY),
        (min(len(set(order.plan.sites)), order.plan.quorum) > training.minimum_peers, Code.POLICY_PEERS),
        (_adds_up_as_allowed(order.plan, training), Code.POLICY_SECURE_SUM),
        (cohort >= training.minimum_cohort, Code.COHORT_TOO_SMALL),
        (cohort <= training.most_patients, Code.COHORT_TOO_LARGE),
    )
    return next((Refusal(code=code) for holds, code in checks if not holds), Clearance())


def judge_evaluation(order: EvaluationOrder, policy: SitePolicy, *, held_out: int, now: datetime) -> Verdict:
    """Say whether the site compares a candidate with the present release. The budget is the ledger's to judge.

    A site that takes part in sums only may answer: its noise hides its patients by itself, whoever sees the answer.

    Args:
        order: What the centre asks.
        policy: The site's own limits.
        held_out: Patients with a mask who are never trained on.
        now: Local time of the site.
    """
    training = policy.training
    checks = (
        (training.allowed and order.plan.purpose in training.purposes, Code.POLICY_PURPOSE),
        (order.plan.lineage in training.lineages, Code.POLICY_LINEAGE),
        (_within(training.hours, now.time()), Code.POLICY_HOURS),
        (training.evaluation, Code.POLICY_EVALUATION),
        (held_out >= training.minimum_held_out, Code.COHORT_TOO_SMALL),
        (held_out <= training.most_patients, Code.COHORT_TOO_LARGE),
    )
    return next((Refusal(code=code) for holds, code in checks if not holds), Clearance())


def _adds_up_as_allowed(plan: RunPlan, training: TrainingPolicy) -> bool:
    """Say whether the site takes part in the plan's way to add updates up, and whether it tolerates as many colluders as the site asks for."""
    if plan.secure_sum is None:
        return training.secure_sum is not SecureSumUse.REQUIRED
    return (
        training.secure_sum is not SecureSumUse.FORBIDDEN and plan.secure_sum.colluders >= training.secure_sum_colluders
    )


def labels_for(order: RoundOrder, policy: SitePolicy) -> LabelUse:
    """Return which labels an order is trained on: zone scores only where both its plan and the site's policy say so.

    A site that keeps to masks takes part with those; nobody outside learns which.
    """
    both = {order.plan.labels, policy.training.labels} == {LabelUse.MASKS_AND_ZONE_SCORES}
    return LabelUse.MASKS_AND_ZONE_SCORES if both else LabelUse.MASKS


def _within(hours: str, moment: time) -> bool:
    """Say whether `moment` lies in [from, to); a span such as 20:00-06:00 passes midnight."""
    start, end = (int(h) * 60 + int(m) for h, m in re.findall(r"(\d\d):(\d\d)", hours))
    minute = moment.hour * 60 + moment.minute
    return start <= minute < end if start < end else minute >= start or minute < end
