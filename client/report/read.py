"""A radiologist's report as statements: a name, a value, a unit, in the order in which a person reads. SR, FHIR and HL7 are made of it. Pure."""

from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

LOINC_CT_CHEST = Code("24627-2", "LN", "CT Chest")
"""What the report is about, in the words that FHIR and HL7 v2 use."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that the reader says. A number has a unit."""

    name: Code
    value: Code | float | str
    unit: Code | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDocument:
    """A final report, ready to be written down in any format. It holds the patient's identity in `header`: it is for the hospital alone.

    Attributes:
        claim_id: Names the report.
        version: Of it.
        sha256: What the reader signed.
        reader: Their name, as the hospital keeps it beside their key.
        written_at: When the hospital got it, UTC.
        signed_at: When it became final, UTC.
        statements: What it says.
        impression: The free text.
        header: Of one slice of the study.
        amended: Whether it takes the place of a version that was final before.
    """

    claim_id: str
    version: int
    sha256: str
    reader: str
    written_at: datetime
    signed_at: datetime
    statements: tuple[Statement, ...]
    impression: str
    header: Dataset
    amended: bool = False
