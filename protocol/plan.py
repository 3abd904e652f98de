"""The run plan: every number of a federated run, fixed before it starts. No privacy *limit* stands here; those are the site's own."""

import math
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from protocol.shape import Lineage, OpaqueId, ReleaseName, Sha256, Shape, SiteId

_LAST_SHARE = 0.1

_FEWEST_TO_COMPARE = 3
"""Of two updates nobody can say which one is odd."""


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
    FEDPROX = "fedprox"
    FEDADAM = "fedadam"
    TRIMMED_MEAN = "trimmed-mean"
    MEDIAN = "median"
    KRUM = "krum"
    MULTI_KRUM = "multi-krum"
    CLIPPED_MEAN = "clipped-mean"


AVERAGING = frozenset({StrategyName.FEDAVG, StrategyName.FEDPROX, StrategyName.FEDADAM})
"""Strategies that need nothing but the sum of the updates. Every other one compares the updates with each other."""


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
    """The mechanism that every site runs. All of it is public; none of it is derived from a private count.

    C is far above where float32 becomes coarse (1e-38): there a gradient that is scaled to C is rounded past it, and ε would be understated.
    """

    noise_multiplier: Annotated[float, Field(gt=0, le=1000)]
    clipping_norm: Annotated[float, Field(ge=1e-9, le=1000)]
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    expected_batch: Annotated[int, Field(ge=1, le=100_000)]
    steps_per_round: Annotated[int, Field(ge=1, le=10_000)]


class SecureSumPlan(Shape):
    """Secure summation: the centre sees the sum of the updates and no single one, and the sites share the noise.

    `dropouts` sites may be lost in a round, `colluders` may hand all they know to the centre; both without harm to the privacy of others.
    """

    dropouts: Annotated[int, Field(ge=0, le=500)]
    colluders: Annotated[int, Field(ge=0, le=500)]


class EvaluationPlan(Shape):
    """After the last round, sites compare candidate and present release on patients held out of training, and say so under noise (ADR 0096).

    `margin`: how much less Dice, overall or for a group, refuses the candidate. Below what one patient may count for (0.05), or nothing
    ever would. `minimum_sites`: with fewer answers it is not promoted. `minimum_group`: groups of fewer patients, as noised, are not
    spoken of. `most_cases`: a site counts for so many patients at most, whatever it says.
    `seconds`: who has not answered by then is late; two networks look at every slice of every held-out patient, not at a few.
    """

    noise_multiplier: Annotated[float, Field(gt=0, le=1000)] = 4.0
    margin: Annotated[float, Field(gt=0, lt=0.05)] = 0.02
    minimum_sites: Annotated[int, Field(ge=2)] = 2
    minimum_group: Annotated[int, Field(ge=1, le=100_000)] = 10
    most_cases: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    seconds: Annotated[int, Field(ge=5, le=86_400)] = 3600


class Screening(Shape):
    """Which updates are left out before any are combined; with neither rule, none.

    `norm_factor`: whose norm is more than so many times the median of all norms. `min_cosine`: whose cosine with the coordinate-wise
    median of all updates is below this.
    """

    norm_factor: Annotated[float, Field(ge=1, le=1000)] | None = None
    min_cosine: Annotated[float, Field(ge=-1, lt=1)] | None = None

    @property
    def wanted(self) -> bool:
        """Whether there is a rule at all."""
        return self.norm_factor is not None or self.min_cosine is not None


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
    looks: Annotated[int, Field(ge=1, le=8)] = 1
    answer_seconds: Annotated[int, Field(ge=0, le=86_400)] = 0
    prox_mu: Annotated[float, Field(ge=0, le=1000)] = 0.0
    keep_norms: bool = False
    trim: Annotated[int, Field(ge=0, le=1000)] = 0
    krum_byzantine: Annotated[int, Field(ge=0, le=1000)] = 0
    server_learning_rate: Annotated[float, Field(gt=0, le=10)] | None = None
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    adam_tau: Annotated[float, Field(gt=0, le=1)] = 1e-3
    screening: Screening = Screening()
    privacy: PrivacyPlan
    secure_sum: SecureSumPlan | None = None
    evaluation: EvaluationPlan | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Refuse keys that contradict one another, or that promise a protection which the strategy does not give.

        A round may count with no more updates than the quorum, so that is the number which a robust rule must stand.
        """
        for wrong, advice in (*self._wrong_of_robust_rules(), *self._wrong_of_others()):
            if wrong:
                raise ValueError(advice)
        return self

    def _wrong_of_robust_rules(self) -> tuple[tuple[bool, str], ...]:
        trims = self.strategy is StrategyName.TRIMMED_MEAN
        picks = self.strategy in {StrategyName.KRUM, StrategyName.MULTI_KRUM}
        return (
            (bool(self.trim) != trims, "trim, at least 1, belongs to the strategy trimmed-mean and to no other"),
            (2 * self.trim >= self.quorum, "the quorum must be more than twice trim"),
            (
                bool(self.krum_byzantine) != picks,
                "krum_byzantine, at least 1, belongs to krum and multi-krum and to no other",
            ),
            (
                picks and self.quorum < 2 * self.krum_byzantine + 3,
                "the quorum must be at least twice krum_byzantine plus 3",
            ),
            (
                self.compares_updates and self.quorum < _FEWEST_TO_COMPARE,
                "a strategy or screening that compares updates needs a quorum of at least 3",
            ),
        )

    def _wrong_of_others(self) -> tuple[tuple[bool, str], ...]:
        adam = self.strategy is StrategyName.FEDADAM
        return (
            (
                3 * self.answer_seconds > self.round_seconds,
                "answer_seconds must be at most a third of round_seconds, or sites that wait for it are late",
            ),
            (self.strategy is StrategyName.FEDPROX and not self.prox_mu, "the strategy fedprox needs prox_mu"),
            (
                self.prox_mu > 0 and self.privacy.steps_per_round == 1,
                "prox_mu does nothing in a round of one step; use more steps_per_round, or leave it away",
            ),
            (
                self.prox_mu * self.learning_rate > 1,
                "prox_mu times learning_rate must be at most 1, or steps overshoot",
            ),
            (adam and self.server_learning_rate is None, "the strategy fedadam needs server_learning_rate"),
            (adam and self.server_momentum > 0, "fedadam has a momentum of its own; leave server_momentum away"),
            (
                self.keep_norms and self.scope is Scope.NORMS,
                "with keep_norms and the scope norms nothing would be sent",
            ),
            (
                self.secure_sum is not None and self.compares_updates,
                "secure_sum shows the centre no single update, and this strategy or screening compares them; choose one",
            ),
            (
                self.secure_sum is not None and self.keep_norms,
                "keep_norms does not go with secure_sum, which adds up every trained parameter; leave one of them away",
            ),
            (
                self.evaluation is not None and self.evaluation.minimum_sites > len(self.sites),
                "evaluation: minimum_sites is more than the plan has sites",
            ),
        )

    @property
    def compares_updates(self) -> bool:
        """Whether the centre must see each update by itself. `secure_sum` shows only their sum, so a plan has one or the other."""
        return self.strategy not in AVERAGING or self.screening.wanted

    @property
    def server_rate(self) -> float:
        """By what the centre multiplies a round's step: all of it counts unless the plan says otherwise."""
        return 1.0 if self.server_learning_rate is None else self.server_learning_rate

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

    @model_validator(mode="after")
    def _of_the_plan(self) -> Self:
        """Refuse a round after the plan's last: what a run costs is foreseen, and agreed to, for the rounds of its plan."""
        if self.round > self.plan.rounds:
            raise ValueError("the plan has fewer rounds than that")
        return self


class UpdateNotice(Shape):
    """What a site says of its update: enough to bind it to its round, nothing of its patients."""

    run_id: OpaqueId
    round: Annotated[int, Field(ge=1, le=1000)]
    site: SiteId
    base_sha256: Sha256
    update_sha256: Sha256
    epsilon: Annotated[float, Field(ge=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]
