"""The run plan: every number of a federated run, fixed before it starts. No privacy *limit* stands here; those are the site's own."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from protocol.shape import Lineage, OpaqueId, ReleaseName, Sha256, Shape, SiteId


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


class PrivacyPlan(Shape):
    """The mechanism that every site runs. All of it is public; none of it is derived from a private count."""

    noise_multiplier: Annotated[float, Field(gt=0, le=1000)]
    clipping_norm: Annotated[float, Field(gt=0, le=1000)]
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    expected_batch: Annotated[int, Field(ge=1, le=100_000)]
    steps_per_round: Annotated[int, Field(ge=1, le=10_000)]


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
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    slices_per_patient: Annotated[int, Field(ge=1, le=64)] = 8
    privacy: PrivacyPlan


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
