"""The run plan: every number of a federated run, fixed before it starts. No privacy *limit* stands here; those are the site's own."""

import math
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from protocol.shape import Lineage, OpaqueId, ReleaseName, Sha256, Shape, SiteId

_LAST_SHARE = 0.1


class Purpose(StrEnum):
    """What a run is for; sites allow purposes one by one."""

    SEGMENTATION = "ggo-segmentation"


class Scope(StrEnum):
    """Which parameters a site trains."""

    ALL = "all"
    LAST_BLOCK = "last-block"
    NORMS = "norms"


class StrategyName(StrEnum):
    """How the centre combines updates (`strategies/`)."""

    FEDAVG = "fedavg"


class Schedule(StrEnum):
    """How the learning rate falls over the rounds of a run, from the plan's own to a tenth of it."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class LabelUse(StrEnum):
    """Which labels are trained on: masks alone, or, for patients without one, also the zone scores of their readers."""

    MASKS = "masks"
    MASKS_AND_ZONE_SCORES = "masks-and-zone-scores"


class PrivacyPlan(Shape):
    """The mechanism that every site runs. All of it is public; none of it is derived from a private count."""

    noise_multiplier: Annotated[float, Field(gt=0, le=1000)]
    clipping_norm: Annotated[float, Field(gt=0, le=1000)]
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    expected_batch: Annotated[int, Field(ge=1, le=100_000)]
    steps_per_round: Annotated[int, Field(ge=1, le=10_000)]


class SecureSumPlan(Shape):
    """Secure summation: the centre sees the sum of the updates and no single one, and the sites share the noise.

    `dropouts` sites may be lost in a round, `colluders` may hand all they know to the centre; both without harm to the privacy of others.
    """

    dropouts: Annotated[int, Field(ge=0, le=500)]
    colluders: Annotated[int, Field(ge=0, le=500)]


class RunPlan(Shape):
    """One federated run. Written as TOML by the coordinator, frozen by `acinus-centre train`."""

    lineage: Lineage = "ggo"
    purpose: Purpose = Purpose.SEGMENTATION
    base: ReleaseName
    sites: tuple[SiteId, ...] = Field(min_length=1)
    rounds: Annotated[int, Field(ge=1, le=1000)]
    quorum: Annotated[int, Field(ge=1)]
    round_seconds: Annotated[int, Field(ge=5, le=86_400)] = 600
    strategy: StrategyName = StrategyName.FEDAVG
    scope: Scope = Scope.ALL
    labels: LabelUse = LabelUse.MASKS
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    schedule: Schedule = Schedule.CONSTANT
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    slices_per_patient: Annotated[int, Field(ge=1, le=64)] = 8
    privacy: PrivacyPlan
    secure_sum: SecureSumPlan | None = None

    def learning_rate_of(self, number: int) -> float:
        """Return the learning rate of a round, 1 to `rounds`.

        Cosine as Loshchilov and Hutter 2017 (arXiv:1608.03983, equation 5) without restarts, ending at a tenth.
        """
        gone = (number - 1) / max(1, self.rounds - 1)
        left = {
            Schedule.CONSTANT: 1.0,
            Schedule.LINEAR: 1.0 - gone,
            Schedule.COSINE: (1.0 + math.cos(math.pi * gone)) / 2.0,
        }[self.schedule]
        return self.learning_rate * (_LAST_SHARE + (1.0 - _LAST_SHARE) * left)


class RoundOrder(Shape):
    """What the centre asks of a site in one round; travels beside the weights in Flower's ConfigRecord as JSON."""

    run_id: OpaqueId
    round: Annotated[int, Field(ge=1, le=1000)]
    base_sha256: Sha256
    plan: RunPlan


class UpdateNotice(Shape):
    """What a site says of its update: enough to bind it to its round, nothing of its patients."""

    run_id: OpaqueId
    round: Annotated[int, Field(ge=1, le=1000)]
    site: SiteId
    base_sha256: Sha256
    update_sha256: Sha256
    epsilon: Annotated[float, Field(ge=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]
