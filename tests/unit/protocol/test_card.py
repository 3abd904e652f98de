"""The model card: every fact of the manifest, and nothing where there is none."""

import re

import pytest

from protocol.card import card_of
from protocol.codes import Code
from protocol.release import Manifest, Provenance, Scores, Software
from protocol.shape import canonical_json
from server.provenance import plan_text
from tests.fakes.evaluations import an_evaluation
from tests.fakes.releases import a_release
from tests.fakes.rounds import SITES, a_plan

SHIPPED = a_release("ggo@0").manifest
MADE = Provenance(
    plan=plan_text(a_plan()),
    bundles=("b" * 64, "c" * 64),
    software=(Software(name="flwr", version="1.41.0"), Software(name="torch", version="2.13.0+cpu")),
)
START = Scores(cases=12, dice=0.511, ggo_error_points=2.25, false_opacity_points=0.31)
TRAINED = SHIPPED.model_copy(
    update={
        "name": "ggo@4", "version": 4, "parent": "ggo@3", "run_id": "d" * 32, "rounds": 17, "sites": 9, "epsilon_max": 3.4567,
        "base_scores": START, "scores": START.model_copy(update={"dice": 0.533}), "provenance": MADE,
        "evaluation": an_evaluation(Code.WORSE_THAN_PRESENT, present="ggo@2"),
    }
)  # fmt: skip


@pytest.mark.parametrize(
    "fact",
    [
        "# Model card: ggo@4", "`lite-2p5d`", TRAINED.weights_sha256, "`ggo@3`", "d" * 32, "17 rounds", "9 sites", "3.46 at most",
        "| 12 | 0.511 | 2.25 | 0.31 |", "| 12 | 0.533 |", "`ggo@2`", "refused: `worse-than-present`", "| all | 3 | 300 | +0.000 |",
        "b" * 64, "c" * 64, "flwr 1.41.0", "torch 2.13.0+cpu", '"rounds": 3', '"sites": 3',
    ],
)  # fmt: skip
def test_a_card_says_what_the_manifest_says(fact: str) -> None:
    assert fact in card_of(TRAINED)


def test_no_site_is_named() -> None:
    assert not [site for site in SITES if site in card_of(TRAINED)]
    assert not [site for site in SITES if site in canonical_json(TRAINED).decode()]


def test_weights_that_nobody_trained_have_a_card_without_figures() -> None:
    card = card_of(SHIPPED)
    assert "In no federated run." in card
    assert "Not measured." in card
    assert "No hospital has compared it" in card
    assert "What made it" not in card
    assert not re.search(r"\bNone\b", card)


def test_a_provenance_survives_the_wire_byte_for_byte() -> None:
    again = Manifest.model_validate_json(canonical_json(TRAINED))
    assert again == TRAINED
    assert canonical_json(again) == canonical_json(TRAINED)
    assert b"provenance" not in canonical_json(SHIPPED), "earlier manifests are written as they were signed"
