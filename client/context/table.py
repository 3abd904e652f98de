"""A CSV file of a hospital: one study or patient a line, the columns below. A line that is wrong is named by its number, never by its words."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from client.context.statement import About, PatientNumber, Statement
from client.context.values import birth_date_of, day_of, plain_text, sex_of
from client.deidentify.orders import ACCESSION, order_number
from client.store.facts import FactKind
from protocol.case import CareSetting, PcrStatus, Sex
from protocol.codes import Code
from protocol.errors import InvalidInputError

COLUMNS = (
    "accession_number", "study_uid", "patient_id", "patient_issuer", "pcr", "pcr_date", "care_setting", "clinical_question",
    "sex", "age", "birth_date",
)  # fmt: skip
MOST_BYTES = 64 << 20

RETRACT = "retract"
"""In place of a value: what an earlier line said of it is taken back."""

_OLDEST = 130


@dataclass(frozen=True, slots=True)
class Line:
    """What one line says, or the column that is wrong: `code` and `column` then."""

    number: int
    statements: tuple[Statement, ...] = ()
    code: Code | None = None
    column: str = ""


class WrongCellError(Exception):
    """A cell cannot be understood. It names the column and not what stands in it."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


Parse = Callable[[str], str]
"""Returns a cell as it is kept; empty if it cannot be understood."""


def read_table(content: bytes) -> Iterator[Line]:
    """Yield the lines of a CSV file. Comma or semicolon; UTF-8, or ISO 8859-1 where it is not UTF-8; the first line names the columns.

    Raises:
        InvalidInputError: `bad-request` if the first line names none of the columns or an unknown one, or the file is too large.
    """
    if len(content) > MOST_BYTES:
        raise InvalidInputError(Code.BAD_REQUEST, f"The table is larger than {MOST_BYTES >> 20} MB. Split it.")
    text = _decoded(content)
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",")
    columns = [name.strip().lower() for name in next(reader, [])]
    if not columns or set(columns) - set(COLUMNS) or len(set(columns)) < len(columns):
        raise InvalidInputError(
            Code.BAD_REQUEST, f"The first line must name columns, each once, among {', '.join(COLUMNS)}."
        )
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield Line(reader.line_num, code=Code.UNREADABLE)
            continue
        if any(cell.strip() for cell in cells):
            yield _line(reader.line_num, columns, cells)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _line(number: int, columns: list[str], cells: list[str]) -> Line:
    if len(cells) > len(columns):
        return Line(number, code=Code.BAD_REQUEST)
    row = {name: cell.strip() for name, cell in zip(columns, cells, strict=False)}
    try:
        return Line(number, tuple(statements_of(row)))
    except WrongCellError as error:
        return Line(number, code=Code.BAD_REQUEST, column=error.column)


def statements_of(row: dict[str, str], *, study_key: str = "") -> Iterator[Statement]:
    """Yield what one row says: a line of a table, or a form of the staff about one stored study.

    Args:
        row: Cells by column; an absent or empty one says nothing.
        study_key: The stored study, if a person picked it.

    Raises:
        WrongCellError: For the first cell that cannot be understood.
    """
    study = About(
        study_key=study_key,
        study_uid=row.get("study_uid", ""),
        orders=tuple({order_number(ACCESSION, row.get("accession_number", ""))} - {""}),
        patients=_patients(row),
    )
    patient = About(patients=study.patients)
    of_study = bool(study.study_key or study.study_uid or study.orders)
    if not of_study and not study.patients:  # an accession number longer than a header's is none
        raise WrongCellError("accession_number")
    yield from _test(row, study if of_study else patient, of_study=of_study)
    for column, kind, parse in _OF_STUDY:
        if text := row.get(column, ""):
            if not of_study:
                raise WrongCellError(column)
            yield _said(kind, column, text, parse, study)
    for column, kind, parse in _OF_PATIENT:
        if text := row.get(column, ""):
            yield _said(kind, column, text, parse, patient if study.patients else study)


def _patients(row: dict[str, str]) -> tuple[PatientNumber, ...]:
    number = row.get("patient_id", "")
    return (PatientNumber(number, row.get("patient_issuer", "")),) if number else ()


def _test(row: dict[str, str], about: About, *, of_study: bool) -> Iterator[Statement]:
    """Yield the PCR result. That of a patient needs its day: without one nobody knows which scan it belongs to."""
    text = row.get("pcr", "")
    written = row.get("pcr_date", "")
    day = day_of(written) if written else None
    if written and day is None:
        raise WrongCellError("pcr_date")
    if not text:
        return
    if not of_study and day is None:
        raise WrongCellError("pcr_date")
    yield _said(FactKind.PCR, "pcr", text, _pcr, about, day)


def _said(kind: FactKind, column: str, text: str, parse: Parse, about: About, day: date | None = None) -> Statement:
    retracted = text.lower() == RETRACT
    value = "" if retracted else parse(text)
    if not retracted and not value:
        raise WrongCellError(column)
    return Statement(kind=kind, value=value, about=about, slot=_slot(about, day), first_day=day, retracted=retracted)


def _slot(about: About, day: date | None) -> tuple[str, ...]:
    """A study has one result, so a later line about it replaces the earlier; a patient has one for each day."""
    study = about.study_key or about.study_uid
    if study or about.orders:
        return (study, *about.orders)
    numbers = tuple(f"{one.issuer}\\{one.number}" for one in about.patients)
    return (*numbers, day.isoformat() if day is not None else "")


def _pcr(text: str) -> str:
    word = text.lower()
    return word if word in {status.value for status in PcrStatus} else ""


def _care_setting(text: str) -> str:
    word = text.lower()
    return word if word in {setting.value for setting in CareSetting} else ""


def _sex(text: str) -> str:
    if text.lower() == Sex.UNKNOWN.value:
        return Sex.UNKNOWN.value
    known = sex_of(text)
    return "" if known is Sex.UNKNOWN else known.value


def _age(text: str) -> str:
    return text if re.fullmatch(r"[0-9]{1,3}", text) and int(text) < _OLDEST else ""


def _birth_date(text: str) -> str:
    written = birth_date_of(text)
    return written if written.replace("-", "") == text.replace("-", "") else ""


_OF_STUDY = (
    ("care_setting", FactKind.CARE_SETTING, _care_setting),
    ("clinical_question", FactKind.QUESTION, plain_text),
    ("age", FactKind.AGE, _age),
)
_OF_PATIENT = (("sex", FactKind.SEX, _sex), ("birth_date", FactKind.BIRTH_DATE, _birth_date))
