"""What HL7 v2 messages say: orders (ORM^O01, OMI^O23, OMG^O19), results (ORU^R01) and patients (ADT).

An order says where the patient is and what is asked; a result says what the laboratory found; every message may say sex and birth
date. The fields are listed in docs/reference/context.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

from client.context.hl7 import Message, Segment
from client.context.statement import About, PatientNumber, Statement
from client.context.values import Vocabulary, birth_date_of, day_of, moment_of, plain_text, sex_of
from client.deidentify.orders import ACCESSION, FILLER, PLACER, order_number
from client.store.facts import FactKind
from protocol.case import CareSetting, PcrStatus, Sex

_PATIENT_NUMBERS = frozenset({"", "MR", "PI", "PT", "U"})
"""Kinds of number (table 0203) that a DICOM header may carry as Patient ID; never a social security or account number."""
_LABORATORY = frozenset({"LAB", "BG", "BLB", "CG", "CH", "CP", "HM", "IMM", "MB", "MCB", "MYC", "SP", "SR", "TX", "VR"})
"""Sections (table 0074) whose orders are no scans: their numbers may be the same as a scan's."""
_CANCELLED = frozenset({"CA", "CR", "DC", "DR", "OC", "OD", "OE"})
_FINAL, _WITHDRAWN = frozenset({"F", "C", "A", "U"}), frozenset({"D", "W", "X"})
"""Result states (table 0085). Preliminary results and those not verified yet say nothing."""


class RejectedError(Exception):
    """A message that is not taken.

    Attributes:
        acknowledgement: AE if the sender may correct it, AR if no message of this kind is ever taken (table 0008).
        error: Code of table 0357.
    """

    def __init__(self, acknowledgement: str, error: int) -> None:
        super().__init__(f"{acknowledgement} {error}")
        self.acknowledgement = acknowledgement
        self.error = error


UNSUPPORTED_TYPE, UNSUPPORTED_EVENT, SEGMENT_MISSING, FIELD_MISSING = 200, 201, 100, 101

_ORDERS = frozenset({("ORM", "O01"), ("OMI", "O23"), ("OMG", "O19")})
_MERGES = frozenset({"A17", "A18", "A24", "A30", "A34", "A35", "A36", "A37", "A39", "A40", "A41", "A42", "A43", "A44", "A45", "A47", "A49", "A50"})  # fmt: skip
"""Two patients become one, or change places: the node cannot follow, so it says so."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a hospital writes.

    Attributes:
        vocabulary: Its own codes and words.
        accession_fields: Where its orders carry the accession number, such as OBR-18.
        keep_question: Whether the clinical question is kept.
    """

    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    accession_fields: tuple[str, ...] = ("OBR-18", "IPC-1")
    keep_question: bool = True


def statements_of(message: Message, dialect: Dialect) -> list[Statement]:
    """Return all that a message says and the node can use.

    Raises:
        RejectedError: 200 or 201 for a message of another kind, 100 or 101 if the patient is missing.
    """
    code, event = message.kind
    if code == "ADT":
        if event in _MERGES:
            raise RejectedError("AR", UNSUPPORTED_EVENT)
    elif (code, event) not in _ORDERS and (code, event) != ("ORU", "R01"):
        raise RejectedError("AR", UNSUPPORTED_TYPE if code not in {"ORM", "OMI", "OMG", "ORU"} else UNSUPPORTED_EVENT)
    patient = message.first("PID")
    if patient is None:
        raise RejectedError("AE", SEGMENT_MISSING)
    numbers = _patient_numbers(patient)
    if not numbers:
        raise RejectedError("AE", FIELD_MISSING)
    stated_at = moment_of(message.header.text(7))
    said = list(_of_patient(patient, numbers, stated_at))
    groups = _groups(message)
    if code == "ORU":
        said += [one for group in groups for one in group.results(numbers, dialect, stated_at)]
    elif code != "ADT":
        visit = message.first("PV1")
        said += [one for group in groups for one in group.order(numbers, visit, dialect, stated_at)]
    return said


@dataclass(frozen=True, slots=True)
class _Group:
    """The segments of one order: what stands between its ORC or OBR and the next."""

    segments: tuple[Segment, ...]

    def first(self, name: str) -> Segment | None:
        """Return the first segment of that name, such as PV1."""
        return next((one for one in self.segments if one.name == name), None)

    def at(self, place: str) -> str:
        """Return the text at a place such as OBR-18."""
        name, _, number = place.partition("-")
        segment = self.first(name)
        return segment.text(int(number)) if segment is not None else ""

    def order(
        self, patients: tuple[PatientNumber, ...], visit: Segment | None, dialect: Dialect, stated_at: float | None
    ) -> Iterator[Statement]:
        """Yield care setting and clinical question of an imaging order."""
        about = About(patients=patients, study_uid=self.at("ZDS-1") or self.at("IPC-3"), orders=self._numbers(dialect))
        slot = about.orders[:1] or ((about.study_uid,) if about.study_uid else ())
        if not slot or self.at("OBR-24").upper() in _LABORATORY:
            return
        cancelled = self.at("ORC-1").upper() in _CANCELLED
        setting = _care_setting(visit, dialect.vocabulary) if visit is not None else CareSetting.UNKNOWN
        asked = self._question() if dialect.keep_question else ""
        for kind, value in ((FactKind.CARE_SETTING, setting.value), (FactKind.QUESTION, asked)):
            if cancelled or value not in {"", CareSetting.UNKNOWN.value}:
                yield Statement(
                    kind=kind, value=value, about=about, slot=slot, retracted=cancelled, stated_at=stated_at
                )

    def results(
        self, patients: tuple[PatientNumber, ...], dialect: Dialect, stated_at: float | None
    ) -> Iterator[Statement]:
        """Yield the PCR results of a laboratory order. Its numbers are the laboratory's: no scan is looked for by them."""
        words = dialect.vocabulary
        taken = day_of(self.at("OBR-7")) or day_of(self.at("SPM-17"))
        order = self.at("OBR-3") or self.at("ORC-3") or self.at("OBR-2") or self.at("ORC-2")
        for result in self.segments:
            if result.name != "OBX" or not words.is_pcr(result.words(3)):
                continue
            state = (result.text(11) or self.at("OBR-25")).upper()
            if state not in _FINAL | _WITHDRAWN:
                continue
            day = taken or day_of(result.text(14))
            found = words.pcr([*result.words(5), *result.words(8)])
            retracted = state in _WITHDRAWN or found is PcrStatus.UNKNOWN
            if day is None and not retracted:
                continue  # nobody could say which scan it belongs to
            yield Statement(
                kind=FactKind.PCR, value=found.value, about=About(patients=patients), first_day=day, retracted=retracted,
                slot=_result_slot(patients, order, result, day),
                stated_at=moment_of(result.text(19)) or moment_of(self.at("OBR-22")) or stated_at,
            )  # fmt: skip

    def _numbers(self, dialect: Dialect) -> tuple[str, ...]:
        """Return the order's numbers, placer and filler first: an accession number may be given later, and the slot must stay."""
        found = [
            order_number(PLACER, self.at("ORC-2") or self.at("OBR-2")),
            order_number(FILLER, self.at("ORC-3") or self.at("OBR-3")),
            *(order_number(ACCESSION, self.at(place)) for place in dialect.accession_fields),
        ]
        return tuple(dict.fromkeys(number for number in found if number))

    def _question(self) -> str:
        """Return what is asked: reason for study (OBR-31), clinical information (OBR-13), reason for the order (ORC-16)."""
        asked: list[str] = []
        for name, number in (("OBR", 31), ("OBR", 13), ("ORC", 16)):
            segment = self.first(name)
            if segment is not None:
                asked += [
                    text
                    for one in segment.repetitions(number)
                    if (text := segment.component(one, 2) or segment.component(one, 1)) and text not in asked
                ]
        return plain_text("\n".join(asked))


def _groups(message: Message) -> list[_Group]:
    """Cut a message into orders: at each ORC, and at each OBR that follows an OBR. A single order is the whole message, in any order."""
    groups: list[list[Segment]] = [[]]
    for segment in message.segments:
        held = {one.name for one in groups[-1]}
        if (segment.name == "ORC" and held & {"ORC", "OBR"}) or (segment.name == "OBR" and "OBR" in held):
            groups.append([])
        groups[-1].append(segment)
    return [_Group(tuple(group)) for group in groups]


def _patient_numbers(patient: Segment) -> tuple[PatientNumber, ...]:
    """Return the numbers of PID-3, or of PID-2 in messages of before version 2.3.1."""
    found = []
    for place in (3, 2):
        for one in patient.repetitions(place):
            number = patient.component(one, 1)
            if number and patient.component(one, 5).upper() in _PATIENT_NUMBERS:
                found.append(PatientNumber(number, patient.component(one, 4)))
        if found:
            break
    return tuple(dict.fromkeys(found))


def _of_patient(patient: Segment, numbers: tuple[PatientNumber, ...], stated_at: float | None) -> Iterator[Statement]:
    sex, born = sex_of(patient.text(8)), birth_date_of(patient.text(7))
    slot = (numbers[0].issuer, numbers[0].number)
    about = About(patients=numbers)
    if sex is not Sex.UNKNOWN:
        yield Statement(kind=FactKind.SEX, value=sex.value, about=about, slot=slot, stated_at=stated_at)
    if born:
        yield Statement(kind=FactKind.BIRTH_DATE, value=born, about=about, slot=slot, stated_at=stated_at)


def _care_setting(visit: Segment, words: Vocabulary) -> CareSetting:
    return words.care_setting(visit.text(2), [*visit.words(3), visit.text(10)])


def _result_slot(patients: tuple[PatientNumber, ...], order: str, result: Segment, day: date | None) -> tuple[str, ...]:
    """A result is known by the laboratory's order number, its code and its sub-id; without an order number by patient and day."""
    where = order or f"{patients[0].number}:{day.isoformat() if day is not None else ''}"
    return (where, result.text(3), result.text(4))
