"""Which record is its patient's first of a week: one at most, whatever else there is of the patient."""

import json
import sqlite3

import pytest

from client.store.history import History
from client.store.tables import SCHEMA


class Studies:
    """The tables of studies and findings, filled by hand."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")
        self.connection.executescript(SCHEMA)

    def measured(self, key: str, subject: str, week: str, *, first: bool | None, record: bool = True) -> None:
        self.connection.execute(
            "INSERT INTO study (study_key, subject_key, case_id, state, revision, received_at, changed_at)"
            " VALUES (?, ?, ?, 'measured', 1, 0, 0)",
            (key, subject, key),
        )
        content = json.dumps({"epi_week": week, "first_in_week": first}) if record else ""
        self.connection.execute("INSERT INTO finding VALUES (?, 'ggo@1', '{}', ?, 1, NULL, 0)", (key, content))

    def is_first(self, key: str, week: str) -> bool:
        return History(self.connection).is_first_in_week(key, week)


@pytest.fixture
def studies() -> Studies:
    made = Studies()
    made.measured("a", "ann", "2026-W07", first=True)
    return made


def test_the_second_study_of_a_patient_in_a_week_is_not_the_first(studies: Studies) -> None:
    studies.measured("b", "ann", "2026-W07", first=None)
    assert not studies.is_first("b", "2026-W07")


def test_measured_again_the_first_stays_the_first(studies: Studies) -> None:
    studies.measured("b", "ann", "2026-W07", first=False)
    assert studies.is_first("a", "2026-W07")


@pytest.mark.parametrize(("subject", "week"), [("bob", "2026-W07"), ("ann", "2026-W08")])
def test_another_patient_and_another_week_have_firsts_of_their_own(studies: Studies, subject: str, week: str) -> None:
    studies.measured("b", subject, week, first=None)
    assert studies.is_first("b", week)


def test_a_study_without_a_record_and_one_that_does_not_say_take_nothing_away(studies: Studies) -> None:
    studies.measured("b", "eve", "2026-W07", first=None, record=False)
    studies.measured("c", "eve", "2026-W07", first=None)
    studies.measured("d", "eve", "2026-W07", first=None)
    assert studies.is_first("d", "2026-W07")
