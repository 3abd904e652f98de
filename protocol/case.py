"""The coarse record of one measured study: all that the registry ever learns of a patient's scan."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from protocol.shape import EpiWeek, OpaqueId, ReleaseName, Shape


class AgeBand(StrEnum):
    """Seven bands that nest into the WHO's fourteen."""

    UNDER_20 = "0-19"
    FROM_20 = "20-39"
    FROM_40 = "40-49"
    FROM_50 = "50-59"
    FROM_60 = "60-69"
    FROM_70 = "70-79"
    FROM_80 = "80+"
    UNKNOWN = "unknown"


class Sex(StrEnum):
    """DICOM (0010,0040) as the registry counts it."""

    FEMALE = "female"
    MALE = "male"
    OTHER = "other"
    UNKNOWN = "unknown"


class PcrStatus(StrEnum):
    """SARS-CoV-2 PCR as the site knows it."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNKNOWN = "unknown"


class CareSetting(StrEnum):
    """Where the patient was when the scan was made."""

    OUTPATIENT = "outpatient"
    INPATIENT = "inpatient"
    INTENSIVE = "intensive"
    EMERGENCY = "emergency"
    UNKNOWN = "unknown"


class SeverityBand(StrEnum):
    """Bands of the zone score (`models.severity`)."""

    NONE = "none"
    MILD = "mild"
    MODERATE = "moderate"
    SEVERE = "severe"


class RsnaClass(StrEnum):
    """RSNA consensus categories of COVID-19 on chest CT (Simpson et al. 2020)."""

    TYPICAL = "typical"
    INDETERMINATE = "indeterminate"
    ATYPICAL = "atypical"
    NEGATIVE = "negative"


CORADS_PROVEN = 6
"""CO-RADS 6: proven by a positive PCR (Prokop et al. 2020)."""


class QualityFlag(StrEnum):
    """What a reader of the number must know about the scan behind it."""

    TRUNCATED_FIELD_OF_VIEW = "truncated-field-of-view"
    INCOMPLETE_COVERAGE = "incomplete-coverage"
    SINGLE_SLICE = "single-slice"
    THICK_SLICES = "thick-slices"
    IRREGULAR_SPACING = "irregular-spacing"
    GAP_ALLOWED = "gap-allowed"
    CONTRAST = "contrast"
    SHARP_KERNEL = "sharp-kernel"
    LOW_DOSE = "low-dose"
    SMALL_LUNGS = "small-lungs"
    DENSE_LUNGS = "dense-lungs"
    LARGE_LUNG_ASYMMETRY = "large-lung-asymmetry"
    UNKNOWN_ACQUISITION = "unknown-acquisition"


class LegalBasis(StrEnum):
    """The ground on which the site shares the record."""

    PUBLIC_HEALTH_LAW = "public-health-law"
    CONSENT = "consent"
    RESEARCH_APPROVAL = "research-approval"


Percent = Annotated[int, Field(ge=0, le=100)]


class CaseRecord(Shape):
    """One measured study, coarse: a week instead of a date, bands instead of ages, whole percents of lung.

    `case_id` is keyed at the site; the same study always gives the same id, and only its site can say whose.
    A higher `version` of the same id replaces the lower; `withdrawn` takes the case out of later releases;
    what such a record says of the study is read by nobody, and its node says as little as the shape allows.
    `first_in_week` says that the site has sent no other study of the patient for that week; None where it does not know.
    """

    kind: Literal["case-record"] = "case-record"
    case_id: OpaqueId
    version: Annotated[int, Field(ge=1, le=10_000)] = 1
    withdrawn: bool = False
    epi_week: EpiWeek
    age_band: AgeBand = AgeBand.UNKNOWN
    sex: Sex = Sex.UNKNOWN
    pcr: PcrStatus = PcrStatus.UNKNOWN
    care_setting: CareSetting = CareSetting.UNKNOWN
    ggo_percent: Percent
    consolidation_percent: Percent
    opacity_percent: Percent
    severity_score: Annotated[int, Field(ge=0, le=24)]
    severity_band: SeverityBand
    rsna_class: RsnaClass | None = None
    corads: Annotated[int, Field(ge=0, le=6)] | None = None
    model_release: ReleaseName
    quality: tuple[QualityFlag, ...] = ()
    legal_basis: LegalBasis = LegalBasis.PUBLIC_HEALTH_LAW
    first_in_week: bool | None = None
