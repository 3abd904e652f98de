"""The answer set in MIDI-B's classes: our score, and that the scorer notices what is wrong."""

from collections import Counter
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from bench.answers.made import HIDING_PLACES, SEQUENCES, answer_set
from bench.answers.score import REMOVALS, RETENTIONS, Act, Case, Score, score
from client.deidentify.export import deidentify_file
from client.deidentify.pseudonyms import Pseudonyms
from protocol.codes import Code
from protocol.errors import InvalidInputError
from tests.unit.client.deidentify.test_real import CHECKER, errors

NAMES = Pseudonyms(b"k" * 32)


@cache
def cases() -> list[Case]:
    return answer_set()


def ours(content: bytes) -> bytes | None:
    try:
        return deidentify_file(content, NAMES)[1]
    except InvalidInputError:
        return None


@cache
def our_score() -> Score:
    return score(cases(), ours)


@pytest.mark.parametrize("act", REMOVALS)
def test_whatever_must_go_or_change_does(act: Act) -> None:
    assert our_score().share(act) == 1.0, [line for line in our_score().wrong if act in line]


@pytest.mark.parametrize("act", RETENTIONS)
def test_whatever_must_stay_does(act: Act) -> None:
    assert our_score().share(act) >= 0.99, [line for line in our_score().wrong if act in line]


def test_the_set_is_worth_its_score() -> None:
    required = our_score().required
    assert set(required) == set(Act)
    assert required.total() > 7000
    assert required[Act.TEXT_REMOVED] > 4000
    assert len(HIDING_PLACES) > 1400
    assert len(SEQUENCES) > 1200
    assert len({case.patient for case in cases()}) == 4


def test_each_kind_is_refused_by_its_name() -> None:
    codes: dict[str, Code | None] = {}
    for case in cases():
        if case.name.startswith("refused-"):
            try:
                deidentify_file(case.content, NAMES)
                codes[case.name] = None
            except InvalidInputError as refusal:
                codes[case.name] = refusal.code
    assert Counter(codes.values()) == {
        Code.BURNED_IN: 3, Code.SECONDARY_CAPTURE: 2, Code.STRUCTURED_REPORT: 1, Code.ENCAPSULATED_DOCUMENT: 2, Code.SCREEN: 4,
        Code.OVERLAY: 2, Code.CURVE: 1,
    }  # fmt: skip


@pytest.mark.skipif(CHECKER is None, reason="dicom3tools is not installed")
def test_no_copy_has_an_error_that_its_source_had_not(tmp_path: Path) -> None:
    copies = [(case, copy) for case in cases() if (copy := ours(case.content)) is not None]
    assert len(copies) == 28
    for case, copy in copies:
        assert errors(copy, tmp_path) - errors(case.content, tmp_path) == set(), case.name


@pytest.mark.skipif(CHECKER is None, reason="dicom3tools is not installed")
def test_the_checker_sees_an_error_that_a_copy_brings(tmp_path: Path) -> None:
    case = cases()[0]
    worse = broken(case.content, ImageOrientationPatient="")
    assert worse is not None
    assert errors(worse, tmp_path) - errors(case.content, tmp_path)


def test_who_copies_everything_scores_nothing_in_removals() -> None:
    found = score(cases(), lambda content: content)
    assert {act: found.correct[act] for act in (Act.TEXT_REMOVED, Act.DATE_SHIFTED, Act.UID_CHANGED, Act.PATIENT_CONSISTENT)} == {
        Act.TEXT_REMOVED: 0, Act.DATE_SHIFTED: 0, Act.UID_CHANGED: 0, Act.PATIENT_CONSISTENT: 0,
    }  # fmt: skip
    assert found.share(Act.TEXT_RETAINED) == 1.0


def test_who_refuses_everything_scores_nothing_in_retentions() -> None:
    found = score(cases(), lambda _content: None)
    assert all(found.correct[act] == 0 for act in (*RETENTIONS, Act.UID_CHANGED, Act.DATE_SHIFTED))
    assert found.share(Act.TEXT_REMOVED) == 1.0


def broken(content: bytes, **changes: str) -> bytes | None:
    """Our copy with one thing done wrong."""
    copy = ours(content)
    if copy is None:
        return None
    dataset = dcmread(BytesIO(copy))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    out = BytesIO()
    dataset.save_as(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("changes", "act"),
    [
        ({"StudyDate": "20200101"}, Act.DATE_SHIFTED),
        ({"SeriesInstanceUID": "1.2.3"}, Act.UID_CHANGED),
        ({"PatientID": "SAME"}, Act.PATIENT_CONSISTENT),
        ({"KVP": "80"}, Act.TEXT_RETAINED),
        ({"PatientComments": "was Äpfelström"}, Act.TEXT_REMOVED),
    ],
)
def test_one_thing_done_wrong_is_seen(changes: dict[str, str], act: Act) -> None:
    found = score(cases()[:9], lambda content: broken(content, **changes))
    assert found.share(act) < 1.0
    assert all(found.share(other) == 1.0 for other in Act if other is not act)
