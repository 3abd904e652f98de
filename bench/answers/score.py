"""Scores a de-identifier: correct actions of required ones, by class of action.

The first seven classes are those of the answer key of MIDI-B (Medical Image De-Identification Benchmark, arXiv 2507.23608). Two are ours:
patients stay told apart and joined, and pixel data that shows nothing stays bit for bit. A removed text is looked for in every byte of
the copy, in every coding that it could have taken.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

Deidentifier = Callable[[bytes], bytes | None]
"""From a DICOM file to its copy, or to `None` if it is refused."""


class Act(StrEnum):
    """What is required of one thing in one file."""

    TAG_RETAINED = "tag_retained"
    TEXT_NOTNULL = "text_notnull"
    TEXT_REMOVED = "text_removed"
    TEXT_RETAINED = "text_retained"
    DATE_SHIFTED = "date_shifted"
    UID_CHANGED = "uid_changed"
    PIXELS_HIDDEN = "pixels_hidden"
    PATIENT_CONSISTENT = "patient_consistent"
    PIXELS_RETAINED = "pixels_retained"


REMOVALS = (
    Act.TEXT_REMOVED,
    Act.DATE_SHIFTED,
    Act.UID_CHANGED,
    Act.PIXELS_HIDDEN,
    Act.PATIENT_CONSISTENT,
    Act.PIXELS_RETAINED,
)
"""Nothing less than all will do; of the others 99 %."""
RETENTIONS = (Act.TAG_RETAINED, Act.TEXT_NOTNULL, Act.TEXT_RETAINED)


@dataclass(frozen=True, slots=True)
class Answer:
    """One required action. `path` is keywords and item numbers (`SourceImageSequence/0/ReferencedSOPInstanceUID`); `value` the source's."""

    act: Act
    path: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One file with its answers. `patient` tells patients apart; the set's own name, not in the file."""

    name: str
    patient: str
    content: bytes
    answers: tuple[Answer, ...]


@dataclass(slots=True)
class Score:
    """How often each action was required and correct, and where it was not."""

    required: Counter[Act] = field(default_factory=Counter)
    correct: Counter[Act] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def share(self, act: Act) -> float:
        """Return correct of required actions, 0 to 1; 1 if none was required."""
        return self.correct[act] / self.required[act] if self.required[act] else 1.0

    def total(self) -> float:
        """Return correct of required actions over all classes."""
        return self.correct.total() / self.required.total()


def score(cases: Iterable[Case], deidentifier: Deidentifier) -> Score:
    """Return the score of a de-identifier over all cases, which it sees one after the other."""
    found, judge = Score(), _Judge()
    for case in cases:
        copy = deidentifier(case.content)
        dataset = dcmread(BytesIO(copy), force=True) if copy is not None else None
        for answer in case.answers:
            found.required[answer.act] += 1
            if judge.is_right(case, answer, copy, dataset):
                found.correct[answer.act] += 1
            else:
                found.wrong.append(f"{case.name}: {answer.act} {answer.path}")
    return found


@dataclass(slots=True)
class _Judge:
    """Remembers what stood for what, to see whether it always does."""

    uids: dict[str, str] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    days: dict[str, int] = field(default_factory=dict)

    def is_right(self, case: Case, answer: Answer, copy: bytes | None, dataset: Dataset | None) -> bool:
        """Say whether one action was taken."""
        if copy is None or dataset is None:
            return answer.act in {Act.TEXT_REMOVED, Act.PIXELS_HIDDEN}
        rules: dict[Act, Callable[[], bool]] = {
            Act.TAG_RETAINED: lambda: at(dataset, answer.path) is not None,
            Act.TEXT_NOTNULL: lambda: bool(as_text(at(dataset, answer.path))),
            Act.TEXT_RETAINED: lambda: as_text(at(dataset, answer.path)) == answer.value,
            Act.TEXT_REMOVED: lambda: not any(spelling in copy for spelling in spellings(answer.value)),
            Act.DATE_SHIFTED: lambda: self._is_shifted(case.patient, answer.value, as_text(at(dataset, answer.path))),
            Act.UID_CHANGED: lambda: self._is_changed(answer.value, as_text(at(dataset, answer.path)), copy),
            Act.PIXELS_HIDDEN: lambda: answer.value.encode("latin-1") not in copy,
            Act.PATIENT_CONSISTENT: lambda: self._is_told_apart(
                case.patient, answer.value, as_text(dataset.get("PatientID"))
            ),
            Act.PIXELS_RETAINED: lambda: dataset.get("PixelData") == dcmread(BytesIO(case.content)).PixelData,
        }
        return rules[answer.act]()

    def _is_shifted(self, patient: str, before: str, after: str) -> bool:
        if len(after) != len(before) or after[8:] != before[8:]:
            return False
        try:
            moved = (_day(after) - _day(before)).days
        except ValueError:
            return False
        return 1 <= abs(moved) <= 365 and self.days.setdefault(patient, moved) == moved

    def _is_changed(self, before: str, after: str, copy: bytes) -> bool:
        valid = 0 < len(after) <= 64 and all(
            part.isdigit() and (part == "0" or part[0] != "0") for part in after.split(".")
        )
        return valid and before.encode() not in copy and _is_one_to_one(self.uids, before, after)

    def _is_told_apart(self, patient: str, before: str, after: str) -> bool:
        return bool(after) and after != before and _is_one_to_one(self.patients, patient, after)


def at(dataset: Dataset, path: str) -> Any:
    """Return the value at a path of keywords and item numbers, `None` if there is no such attribute."""
    here: Any = dataset
    for step in path.split("/"):
        if step.isdigit():
            if len(here) <= int(step):
                return None
            here = here[int(step)]
        elif step in here:
            here = here[step].value
        else:
            return None
    return "" if here is None else here


def as_text(value: Any) -> str:
    """Return a value as the answers write it: several parted by a backslash."""
    if value is None or isinstance(value, str | bytes | int | float) or not hasattr(value, "__iter__"):
        return "" if value is None else str(value)
    return "\\".join(str(one) for one in value)


def spellings(text: str) -> Iterator[bytes]:
    """Yield the bytes that a text may have become."""
    for variant in {text, text.upper(), text.lower()}:
        for coding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1", "iso8859-5", "iso8859-7", "gb18030", "iso2022_jp"):
            try:
                yield variant.encode(coding)
            except UnicodeEncodeError:
                continue


def _is_one_to_one(names: dict[str, str], before: str, after: str) -> bool:
    if before not in names and after not in names.values():
        names[before] = after
    return names.get(before) == after


def _day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
