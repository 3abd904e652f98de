"""What stands between a release and the nodes, and what it takes to pass it by."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from protocol.card import card_of
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.evaluation import Evaluation
from protocol.release import Manifest, Provenance, Scores
from protocol.shape import canonical_json
from server.catalogue import CARD, Catalogue
from server.promotion import OVERRIDES, Override, OverrideBook
from server.provenance import installed, plan_text
from tests.fakes.evaluations import an_evaluation
from tests.fakes.outcomes import code_of
from tests.fakes.rounds import a_plan

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCORES = Scores(cases=12, dice=0.5, ggo_error_points=1.0, false_opacity_points=0.2)


def add(shelf: Catalogue, evaluation: Evaluation | None, **changes: Any) -> str:
    provenance: dict[str, Any] = {
        "parent": None, "architecture": "net-1", "run_id": "a" * 32, "rounds": 3, "sites": 4, "epsilon_max": 1.5,
        "scores": SCORES, "base_scores": SCORES, "evaluation": evaluation,
    }  # fmt: skip
    return shelf.add(b"weights", lineage="ggo", **provenance | changes).manifest.name


@pytest.fixture
def shelf(catalogue: Catalogue) -> Catalogue:
    """One release, in use."""
    add(catalogue, None)
    return catalogue


@pytest.mark.parametrize(
    ("evaluation", "code"),
    [
        (None, Code.EVALUATION_MISSED),
        (an_evaluation(), None),
        (an_evaluation(Code.WORSE_THAN_PRESENT), Code.WORSE_THAN_PRESENT),
        (an_evaluation(Code.EVALUATION_MISSED), Code.EVALUATION_MISSED),
        (an_evaluation(present="ggo@7"), Code.EVALUATION_MISSED),
        (an_evaluation(Code.WORSE_THAN_PRESENT, present="ggo@7"), Code.WORSE_THAN_PRESENT),
    ],
    ids=["none planned", "holds", "worse", "too few", "beside another release", "worse than another release"],
)
def test_the_sites_word_decides_about_promotion(
    shelf: Catalogue, evaluation: Evaluation | None, code: Code | None
) -> None:
    name = add(shelf, evaluation)
    assert code_of(lambda: shelf.check_promotable(name)) is code


def test_weights_that_nobody_trained_need_no_word_of_the_sites(shelf: Catalogue) -> None:
    shelf.check_promotable(add(shelf, None, run_id=None))


def test_what_nobody_compared_is_promoted_in_spite_of_that(shelf: Catalogue) -> None:
    shelf.check_promotable(add(shelf, None), despite=Code.EVALUATION_MISSED)


def test_the_reason_stands_in_the_signed_release(shelf: Catalogue) -> None:
    evaluation = shelf.signed(add(shelf, an_evaluation(Code.WORSE_THAN_PRESENT))).manifest.evaluation
    assert evaluation is not None
    assert evaluation.reason is Code.WORSE_THAN_PRESENT


def test_the_release_in_use_may_be_announced_again_whatever_was_said_of_it(shelf: Catalogue) -> None:
    name = add(shelf, an_evaluation(Code.WORSE_THAN_PRESENT))
    shelf.note_promotion(name)
    shelf.check_promotable(name)


def test_an_override_names_the_very_refusal_that_stands(shelf: Catalogue) -> None:
    name = add(shelf, an_evaluation(Code.WORSE_THAN_PRESENT))
    shelf.check_promotable(name, despite=Code.WORSE_THAN_PRESENT)
    assert code_of(lambda: shelf.check_promotable(name, despite=Code.EVALUATION_MISSED)) is Code.BAD_REQUEST


def test_there_is_no_override_to_be_kept_ready(shelf: Catalogue) -> None:
    name = add(shelf, an_evaluation())
    assert code_of(lambda: shelf.check_promotable(name, despite=Code.WORSE_THAN_PRESENT)) is Code.BAD_REQUEST


def test_what_the_phantoms_refuse_cannot_be_overridden(shelf: Catalogue) -> None:
    name = add(shelf, an_evaluation(), scores=SCORES.model_copy(update={"dice": 0.1}))
    for code in (Code.WORSE_THAN_BASE, Code.WORSE_THAN_PRESENT):
        assert code_of(lambda code=code: shelf.check_promotable(name, despite=code)) is Code.WORSE_THAN_BASE


def test_a_rollback_keeps_what_was_said_of_the_weights(shelf: Catalogue) -> None:
    name = add(shelf, an_evaluation())
    assert shelf.renew(name).manifest.evaluation == an_evaluation()


def test_a_rollback_keeps_how_the_weights_came_about(shelf: Catalogue) -> None:
    made = Provenance(plan=plan_text(a_plan()), bundles=("b" * 64,), software=installed())
    renewed = shelf.renew(add(shelf, None, provenance=made)).manifest
    assert renewed.provenance == made
    assert (shelf._folder / renewed.name / CARD).read_text() == card_of(renewed)


def test_a_manifest_without_an_evaluation_is_written_as_before_there_were_any() -> None:
    manifest = Manifest(
        name="ggo@0", lineage="ggo", version=0, parent=None, architecture="net-1", weights_sha256="0" * 64, weights_bytes=1,
        created="2026-03-01T12:00:00Z", run_id=None, rounds=0, sites=0, epsilon_max=None, scores=None,
    )  # fmt: skip
    assert b"evaluation" not in canonical_json(manifest)
    assert Manifest.model_validate_json(canonical_json(manifest)) == manifest
    spoken_of = manifest.model_copy(update={"evaluation": an_evaluation()})
    assert Manifest.model_validate_json(canonical_json(spoken_of)) == spoken_of


# The book of overrides.


@pytest.fixture
def book(tmp_path: Path) -> OverrideBook:
    return OverrideBook(tmp_path, lambda: NOW)


def test_an_empty_book_has_no_entries(book: OverrideBook) -> None:
    assert book.entries() == []


def test_overrides_are_kept_in_their_order_and_none_goes(book: OverrideBook) -> None:
    book.note("ggo@1", Code.WORSE_THAN_PRESENT, "ada")
    book.note("ggo@2", Code.EVALUATION_MISSED, "ben")
    at = "2026-03-01T12:00:00Z"
    assert book.entries() == [
        Override("ggo@1", Code.WORSE_THAN_PRESENT, "ada", at), Override("ggo@2", Code.EVALUATION_MISSED, "ben", at),
    ]  # fmt: skip


@pytest.mark.parametrize("content", ["{", "[1]", json.dumps([{"release": "ggo@1"}])])
def test_a_damaged_book_is_not_written_over(book: OverrideBook, tmp_path: Path, content: str) -> None:
    (tmp_path / OVERRIDES).write_text(content)
    with pytest.raises(InvalidInputError, match="backup"):
        book.note("ggo@1", Code.WORSE_THAN_PRESENT, "ada")
    assert (tmp_path / OVERRIDES).read_text() == content
