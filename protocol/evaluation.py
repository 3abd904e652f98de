"""What sites say of a candidate on patients it never learnt from: noised sums by group, and what the centre concluded from them.

No site says how well a network does on its patients. It says by how much the candidate beats the present release on them, added up over
patients and hidden in noise that its ledger was charged for (ADR 0096).
"""

import math
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from protocol.codes import Code
from protocol.plan import RunPlan
from protocol.shape import OpaqueId, ReleaseName, Sha256, Shape, SiteId


class Group(StrEnum):
    """Whose patients a sum is of. A patient is in `all`, and in at most one group of each other kind: sex, age, maker of the scanner."""

    ALL = "all"
    FEMALE = "sex-female"
    MALE = "sex-male"
    UNDER_50 = "age-0-49"
    FROM_50 = "age-50-69"
    FROM_70 = "age-70+"
    CANON = "maker-canon"
    GE = "maker-ge"
    PHILIPS = "maker-philips"
    SIEMENS = "maker-siemens"
    OTHER_MAKER = "maker-other"


KINDS = 4
"""How many groups one patient is in at most."""

CLIP = 0.05
"""The most by which one patient counts for or against a candidate, in Dice; sums are in units of it."""

COUNT_WEIGHT = 0.5
"""How much being counted weighs in the mechanism beside the largest difference: a mean near zero bears a rough count better."""

SENSITIVITY = math.sqrt(KINDS * (1.0 + COUNT_WEIGHT**2))
"""By how much one patient, with or without, moves all sums and weighted counts together, at most (L2)."""

_Whole = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]


class GroupSum(Shape):
    """One group at one site, noised, then rounded: `gain` is the sum of clipped differences in units of `CLIP`, `cases` the patients.

    Noise may make either negative.
    """

    group: Group
    gain: _Whole
    cases: _Whole


class EvaluationOrder(Shape):
    """What the centre asks of a site after the last round; the candidate's weights travel beside it, the present release is at the site."""

    run_id: OpaqueId
    candidate_sha256: Sha256
    present: ReleaseName
    present_sha256: Sha256
    plan: RunPlan

    @model_validator(mode="after")
    def _is_planned(self) -> Self:
        if self.plan.evaluation is None:
            raise ValueError("the plan has no evaluation")
        return self


class EvaluationNotice(Shape):
    """A site's answer, bound to its question. ε and δ are of the site's whole history, as in an update's notice."""

    run_id: OpaqueId
    site: SiteId
    candidate_sha256: Sha256
    present_sha256: Sha256
    sums: tuple[GroupSum, ...] = Field(max_length=len(Group))
    epsilon: Annotated[float, Field(ge=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]

    @model_validator(mode="after")
    def _names_each_group_once(self) -> Self:
        groups = [one.group for one in self.sums]
        if len(set(groups)) != len(groups) or Group.ALL not in groups:
            raise ValueError("every group once, and all patients among them")
        return self


class Outcome(StrEnum):
    """What the sums say of a group."""

    HOLDS = "holds"
    WORSE = "worse"
    UNSURE = "unsure"


class GroupVerdict(Shape):
    """One group over all sites.

    Attributes:
        group: Whose patients.
        sites: Who spoke of it.
        cases: Their patients, as far as the noise lets one say.
        change: Mean difference of the candidate to the present release, in Dice; negative is worse.
        error: Standard deviation of the noise in it if it were at the margin, in Dice; 1 where there are no cases.
        outcome: What follows.
    """

    group: Group
    sites: Annotated[int, Field(ge=0)]
    cases: Annotated[int, Field(ge=0)]
    change: Annotated[float, Field(ge=-1, le=1)]
    error: Annotated[float, Field(ge=0, le=1)]
    outcome: Outcome


class Evaluation(Shape):
    """What a federated evaluation came to; stands in the run's record and, signed, in the release. `reason` is why it is not promoted."""

    present: ReleaseName
    sites: Annotated[int, Field(ge=0)]
    margin: Annotated[float, Field(gt=0, lt=1)]
    groups: tuple[GroupVerdict, ...] = Field(max_length=len(Group))
    reason: Code | None
