"""The values that the store hands out."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class StudyState(StrEnum):
    """What has become of a study. A late instance brings it back to `received`."""

    RECEIVED = "received"
    MEASURED = "measured"
    REFUSED = "refused"


class Admission(StrEnum):
    """What became of an instance that was handed in."""

    STORED = "stored"
    KNOWN = "known"
    """The same bytes were there already: nothing changes."""
    CONFLICTING = "conflicting"
    """Other bytes under the same SOP Instance UID: the first stay, these go to quarantine."""
    DELETED = "deleted"
    """The study was deleted on request and is not taken again: nothing is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceKeys:
    """Pseudonymous names of an instance and of all that it belongs to (`client.deidentify.pseudonyms`)."""

    instance_key: str
    series_key: str
    study_key: str
    subject_key: str
    case_id: str
    key_id: str = ""
    """Which of the site's pseudonym keys gave the names; empty where it does not matter."""
    subject_key_id: str = ""
    """The same for the patient's name: known patients keep the name that an earlier key gave them."""
    older: "tuple[InstanceKeys, ...]" = ()
    """The same things under the site's earlier keys, newest first (`client.store.names`)."""
    context: "StudyNames | None" = None
    """By what statements about the study find it; `None` where nobody looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyNames:
    """Keyed names, under every key of the site, of what a header says of its order and its patient."""

    orders: frozenset[str] = frozenset()
    """Accession, placer and filler order numbers."""
    subjects: frozenset[str] = frozenset()
    """The patient: number with its issuer; empty for a patient without a number."""
    numbers: frozenset[str] = frozenset()
    """The patient's bare number: two that differ are two patients, whoever issued them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A row of the index. `revision` counts its instances as they came: a result of an older revision is stale."""

    study_key: str
    subject_key: str
    case_id: str
    state: StudyState
    code: str | None
    revision: int
    attempts: int
    grid: str | None
    received_at: float
    changed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was measured of a study: the answer of `docs/reference/quantify.md` and the case record, both JSON text.

    `verdict` is what the gate said of the record: `None` until it was asked, then `clear` or a code.
    """

    study_key: str
    model_release: str
    document: str
    record: str
    version: int
    verdict: str | None
    measured_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An instance that could not be used, kept under its SHA-256."""

    sha256: str
    code: str
    path: Path
    bytes: int
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A mask that stands for the truth of a study, on the grid of its `ct.nii.gz`."""

    study_key: str
    path: Path
    source: str
    held_out: bool
    labelled_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierLabel:
    """A mask that another took the place of. Times are seconds since 1970."""

    sha256: str
    source: str
    labelled_at: float
    superseded_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a mask lost on its way to another grid.

    Attributes:
        dice: Overlap of the mask with itself after going there and back, the worst of its labels; 1 is no loss.
        volume_ratio: Labelled volume there over labelled volume before.
        outside_fraction: Share of the labelled voxels that lay outside the study's volume.
    """

    dice: float
    volume_ratio: float
    outside_fraction: float


ZonePoints = tuple[tuple[int, int], ...]
"""(right, left) for the lower, middle and upper third, each 0 to 4 (`models.severity`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedScores:
    """What a reader's signed report says of the zones of a study. Times are seconds since 1970."""

    study_key: str
    reader_id: str
    points: ZonePoints
    reported_at: float
    """The reader saw what had been measured before."""
    signed_at: float


@dataclass(frozen=True, slots=True)
class MaskLabel:
    """A mask (1 ground glass, 2 consolidation) on the grid of its study, and the SHA-256 of its content."""

    path: Path
    sha256: str

    @property
    def identity(self) -> str:
        """What changes when the label does."""
        return self.sha256


@dataclass(frozen=True, slots=True)
class ZoneLabel:
    """A reader's points, and the release that finds the pixels for them (`models.weak`)."""

    points: ZonePoints
    model_release: str

    @property
    def identity(self) -> str:
        """What changes when the label does."""
        return f"{self.points}:{self.model_release}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCase:
    """A labelled study. The files are NIfTI on one grid; transposed, the arrays are (Z, Y, X) in `models.volume`'s orientation.

    `subject_key` is the same for all studies of one person (`client.store.persons`).
    """

    subject_key: str
    study_key: str
    volume_path: Path
    lungs_path: Path
    label: MaskLabel | ZoneLabel


@dataclass(frozen=True, slots=True)
class ScanInput:
    """What a scanner gave: its maker as the header says (0008,0070), the spacing of slices, the mean of the lung's Hounsfield units."""

    maker: str
    slice_mm: float
    lung_hu: float


@dataclass(frozen=True, slots=True)
class HeldOutCase:
    """A study with a mask whose patient is never trained on; sex and age in the words of `protocol.case`, the maker as the header says."""

    case: TrainingCase
    sex: str
    age_band: str
    maker: str
