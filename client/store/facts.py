"""What is said of a study or a patient by others than the scanner, as the store keeps it: opaque names, one value, where it came from."""

from dataclasses import dataclass
from enum import StrEnum

MOST_QUESTION = 2000
"""Characters of a clinical question that are kept."""


class Source(StrEnum):
    """Who said it. A later member of this list outranks an earlier one where both speak (`client.infer.context`)."""

    HL7 = "hl7"
    FHIR = "fhir"
    CSV = "csv"
    STAFF = "staff"


class FactKind(StrEnum):
    """What is said."""

    PCR = "pcr"
    CARE_SETTING = "care-setting"
    QUESTION = "question"
    SEX = "sex"
    AGE = "age"
    BIRTH_DATE = "birth-date"


@dataclass(frozen=True, slots=True, kw_only=True)
class FactNames:
    """Of what a fact speaks, in keyed names under every key of the site. With a study or an order it is about studies, else about a patient."""

    studies: frozenset[str] = frozenset()
    orders: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()

    @property
    def of_study(self) -> bool:
        """Whether it speaks of studies rather than of all that is known of a patient."""
        return bool(self.studies or self.orders)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One statement. Days are numbers of days as `date.toordinal` counts them.

    Attributes:
        slots: What its source calls this statement, keyed, under every key of the site, newest first: a correction comes under the same
            name and takes the place of what it corrects.
        source: Who said it.
        kind: What is said.
        value: In the words of `protocol.case`; whole years for an age, YYYY, YYYY-MM or YYYY-MM-DD for a birth date, text for a question.
        first_day: From when it holds: the day of a test, the first day of a stay. None where no day was given.
        last_day: Until when.
        retracted: It was taken back: nothing is said any more.
        stated_at: When its source said it, seconds since 1970; None for now. Older words never replace newer ones.
        names: Of what it speaks.
    """

    slots: tuple[str, ...]
    source: Source
    kind: FactKind
    value: str
    first_day: int | None = None
    last_day: int | None = None
    retracted: bool = False
    stated_at: float | None = None
    names: FactNames


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A fact as it was found for one study."""

    source: Source
    kind: FactKind
    value: str
    first_day: int | None
    last_day: int | None
    of_study: bool
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """All that is said of one study.

    Attributes:
        heard: What may count.
        confused: Two patients stand behind the study's order.
        mark: Changes with every statement about the study that comes.
    """

    heard: tuple[Heard, ...]
    confused: bool
    mark: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What the node holds of a study beyond its images, and why. `day` stays here: only its week is in the record.

    Attributes:
        day: Of the study; None if its headers have no date.
        header_sex: As the header says, before anything was added.
        header_age_band: Likewise.
        sex: What counts.
        age_band: What counts.
        pcr: What counts.
        care_setting: What counts.
        question: Free text for the staff of this hospital.
        sources: By attribute, whose word it is.
        doubts: Why something stayed unknown although something was said, in the words of `client.infer.context`.
    """

    day: int | None
    header_sex: str
    header_age_band: str
    sex: str
    age_band: str
    pcr: str
    care_setting: str
    question: str | None
    sources: dict[str, str]
    doubts: tuple[str, ...]
