"""A structured report of a chest CT, as a reader fills it in and as the hospital keeps it. Pure.

After the consensus template (Insights into Imaging 2020, 10.1186/s13244-020-00901-7), the RSNA categories and CO-RADS. Codes go to the
centre; the text and the whole document stay at the hospital.
"""

import hashlib
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from protocol.case import CORADS_PROVEN, PcrStatus, RsnaClass
from protocol.reading import CodedResult
from protocol.shape import OpaqueId, Sha256, Thumbprint, canonical_json

ZONE_POINTS_MAX = 4
CORADS_UNINTERPRETABLE, UNINTERPRETABLE = 0, 0

ZonePoints = Annotated[int, Field(ge=0, le=ZONE_POINTS_MAX)]
Percent = Annotated[float, Field(ge=0, le=100)]
Impression = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8000)]


class Section(BaseModel):
    """A part of a report; unknown fields are refused, so that nothing a reader wrote is lost unseen."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LungZones(Section):
    """Points of one lung's three zones (`models.severity`: 0 none, then quarters of the zone)."""

    upper: ZonePoints
    middle: ZonePoints
    lower: ZonePoints

    @property
    def total(self) -> int:
        """Points of this lung."""
        return self.upper + self.middle + self.lower


class Zones(Section):
    """Both lungs of the patient."""

    right: LungZones
    left: LungZones

    @property
    def points(self) -> tuple[tuple[int, int], ...]:
        """(right, left) for the lower, middle and upper third, as `models.severity` has them."""
        right, left = self.right, self.left
        return (right.lower, left.lower), (right.middle, left.middle), (right.upper, left.upper)


class MeasurementReview(Section):
    """What the reader says of the machine's measurement: agreed, or edited to these percents of lung."""

    agrees: bool
    ggo_percent: Percent | None = None
    consolidation_percent: Percent | None = None

    @model_validator(mode="after")
    def _edited_or_agreed(self) -> Self:
        edited = self.ggo_percent is not None or self.consolidation_percent is not None
        if self.agrees == edited:
            raise ValueError("either agree with the measurement or give the percents that you see instead")
        return self


class Bsti(StrEnum):
    """The British Society of Thoracic Imaging's classes."""

    CLASSIC = "classic"
    PROBABLE = "probable"
    INDETERMINATE = "indeterminate"
    NON_COVID = "non-covid"


class Distribution(StrEnum):
    """Where in the lungs the opacity lies."""

    NONE = "none"
    PERIPHERAL = "peripheral"
    CENTRAL = "central"
    DIFFUSE = "diffuse"


class Sides(StrEnum):
    """Of the patient."""

    NONE = "none"
    RIGHT = "right"
    LEFT = "left"
    BOTH = "both"


class Sign(StrEnum):
    """What is seen, in the words of the Fleischner Society's glossary."""

    GROUND_GLASS = "ground-glass"
    CONSOLIDATION = "consolidation"
    CRAZY_PAVING = "crazy-paving"
    REVERSED_HALO = "reversed-halo"
    AIR_BRONCHOGRAM = "air-bronchogram"
    VASCULAR_ENLARGEMENT = "vascular-enlargement"
    PARENCHYMAL_BANDS = "parenchymal-bands"
    TREE_IN_BUD = "tree-in-bud"
    CAVITATION = "cavitation"
    NODULES = "nodules"
    ENLARGED_NODES = "enlarged-nodes"


class Comparison(StrEnum):
    """Against an earlier study."""

    NONE = "none"
    UNCHANGED = "unchanged"
    LESS = "less"
    MORE = "more"


Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]


class ReportCreate(Section):
    """What the reader sends. The severity score is computed from the zones, never typed."""

    rsna_class: RsnaClass
    corads: Annotated[int, Field(ge=0, le=6)]
    pcr: PcrStatus = PcrStatus.UNKNOWN
    bsti: Bsti | None = None
    zones: Zones
    measurement: MeasurementReview
    quality: Annotated[int, Field(ge=0, le=2)] = 2
    """0 cannot be interpreted, 1 limited, 2 good."""
    distribution: Distribution | None = None
    laterality: Sides | None = None
    signs: Annotated[tuple[Sign, ...], Field(max_length=len(Sign))] = ()
    effusion: Sides | None = None
    comparison: Comparison | None = None
    alternative: Note = ""
    incidental: Note = ""
    critical: bool = False
    impression: Impression

    @field_validator("signs")
    @classmethod
    def _each_once(cls, signs: tuple[Sign, ...]) -> tuple[Sign, ...]:
        return tuple(sign for sign in Sign if sign in signs)

    @model_validator(mode="after")
    def _proven_only_by_pcr(self) -> Self:
        if self.corads == CORADS_PROVEN and self.pcr is not PcrStatus.POSITIVE:
            raise ValueError("CO-RADS 6 needs a positive PCR")
        return self

    @model_validator(mode="after")
    def _uninterpretable_is_no_class(self) -> Self:
        if self.quality == UNINTERPRETABLE and self.corads != CORADS_UNINTERPRETABLE:
            raise ValueError("a study that cannot be interpreted is CO-RADS 0")
        return self

    @property
    def interpretable(self) -> bool:
        """Whether the study could be read at all: otherwise its scores teach nothing and its classes count for nothing."""
        return self.quality != UNINTERPRETABLE and self.corads != CORADS_UNINTERPRETABLE

    @property
    def severity_score(self) -> int:
        """The zone score, 0 to 24."""
        return self.zones.right.total + self.zones.left.total

    @property
    def coded(self) -> CodedResult:
        """All of the report that the centre learns."""
        return CodedResult(
            rsna_class=self.rsna_class,
            corads=self.corads,
            severity_score=self.severity_score,
            agrees_with_measurement=self.measurement.agrees,
            critical=self.critical,
        )


class Report(Section):
    """A version of a report as the hospital keeps it; its hash is over this, in canonical JSON."""

    schema_name: Literal["acinus-report-1", "acinus-report-2"] = "acinus-report-2"
    request_id: OpaqueId
    claim_id: OpaqueId
    version: Annotated[int, Field(ge=1, le=1000)]
    reader_id: OpaqueId
    reader_key: Thumbprint
    severity_score: Annotated[int, Field(ge=0, le=24)]
    severity_scale: str = "zone-score-0-24"
    model_release: str | None
    content: ReportCreate

    def encode(self) -> bytes:
        """Return the byte string that is kept, hashed and, by its hash, signed."""
        return canonical_json(self.model_dump(mode="json"))


def sha256_of(body: bytes) -> Sha256:
    """Return the hash by which a report is signed."""
    return hashlib.sha256(body).hexdigest()
