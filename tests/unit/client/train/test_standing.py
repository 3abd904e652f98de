"""One word for a release: from which patients, how surely, and that a worse score never makes it a better word."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.store.records import HeldOutCase, MaskLabel, TrainingCase
from client.train.drift import FEWEST, REFERENCE, Drift, Seen
from client.train.standing import Figures, Releases, figures, key_of, standing_of
from protocol.standing import Standing

NOWHERE = Path("/nowhere")
ONE = Releases("ggo@1", "ggo@1", "ggo@1")
PLAIN = Seen(flags=frozenset(), maker="SIEMENS", slice_mm=1.0, lung_hu=-820.0)
CHANGED = Drift(figure="maker", index=1.0, limit=0.25)
SAME = Drift(figure="maker", index=0.0, limit=0.25)


def case(study: int, subject: int | None = None) -> HeldOutCase:
    label = MaskLabel(NOWHERE, f"{study:064x}")
    name = f"subject-{study if subject is None else subject}"
    return HeldOutCase(
        TrainingCase(
            subject_key=name, study_key=f"study-{study}", volume_path=NOWHERE, lungs_path=NOWHERE, label=label
        ),
        "",
        "",
        "",
    )


def judged(now: list[float], before: list[float], *, minimum: int = 3, seen: int = 0) -> Figures:
    cases = [case(number) for number in range(len(now))]
    scored = tuple({key_of(one): value for one, value in zip(cases, scores, strict=True)} for scores in (now, before))
    return figures(Releases("ggo@2", "ggo@2", "ggo@1"), scored, cases, [PLAIN] * seen, minimum=minimum)  # type: ignore[arg-type]


def test_a_release_as_good_as_the_one_before_is_steady() -> None:
    found = judged([0.7, 0.8, 0.9], [0.7, 0.8, 0.9])
    assert (found.standing, found.patients, found.change) == (Standing.STEADY, 3, 0.0)
    assert (found.score, found.score_before) == (pytest.approx(0.8), pytest.approx(0.8))


def test_one_that_surely_lost_is_worse() -> None:
    assert judged([0.6, 0.7, 0.8], [0.7, 0.8, 0.9]).standing is Standing.WORSE


def test_one_that_perhaps_lost_is_watched() -> None:
    assert judged([0.2, 0.9, 0.9], [0.8, 0.8, 0.8]).standing is Standing.WATCH


def test_a_loss_within_the_margin_is_steady() -> None:
    assert judged([0.69, 0.79, 0.89], [0.70, 0.80, 0.90]).standing is Standing.STEADY


def test_few_patients_say_nothing() -> None:
    assert judged([0.1, 0.1], [0.9, 0.9], minimum=3).standing is None


def test_other_scans_are_watched_whatever_the_scores() -> None:
    assert standing_of(0.1, 0.01, [SAME, CHANGED], enough=True) is Standing.WATCH
    assert standing_of(None, None, [CHANGED], enough=False) is Standing.WATCH


def test_scans_that_stayed_are_steady_where_nobody_is_held_out() -> None:
    assert judged([], [], seen=REFERENCE + FEWEST).standing is Standing.STEADY


def test_studies_of_one_patient_count_once() -> None:
    cases = [case(1, 1), case(2, 1), case(3, 2)]
    scores = dict(zip(map(key_of, cases), (0.4, 0.6, 0.9), strict=True))
    found = figures(ONE, (scores, scores), cases, [], minimum=1)
    assert (found.patients, found.score) == (2, pytest.approx(0.7))


def test_a_study_that_could_not_be_read_is_left_out() -> None:
    cases = [case(1), case(2)]
    scores = {key_of(cases[0]): 0.5, key_of(cases[1]): None}
    assert figures(ONE, (scores, scores), cases, [], minimum=1).patients == 1


def test_another_mask_needs_another_score() -> None:
    one = case(1)
    assert figures(ONE, ({(one.case.study_key, "0" * 64): 0.5},) * 2, [one], [], minimum=1).patients == 0


_ORDER = [Standing.STEADY, Standing.WATCH, Standing.WORSE]


@given(st.floats(-1, 1), st.floats(0, 0.2), st.floats(0, 1), st.booleans())
def test_a_worse_score_never_makes_a_better_word(change: float, error: float, less: float, other: bool) -> None:
    drifts = [CHANGED if other else SAME]
    before, after = (standing_of(value, error, drifts, enough=True) for value in (change, change - less))
    assert before is not None
    assert after is not None
    assert _ORDER.index(after) >= _ORDER.index(before)
