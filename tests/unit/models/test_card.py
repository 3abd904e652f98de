"""The card says what the shipped weights learnt from, and cannot speak of others."""

import pytest

from models import card
from models.anatomy import Entry
from models.record import RECORD, LeftOut, TrainingRecord, read_record, sha256_of
from models.weights import LUNGS, STARTING
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.release import Scores

SCAN = Entry(file="x.nii.gz", sha256="ab" * 32, licence="CC BY 4.0", source="A collection, case 7")
HASHES = card.Hashes(opacity="22" * 32, lungs="11" * 32)
SCORES = Scores(cases=12, dice=0.876, ggo_error_points=0.54, false_opacity_points=0.1)


def network(**changes):
    return {
        "sha256": "11" * 32, "command": "python -m models.pretrain --anatomy DIR --seed 3", "revision": "abc1234", "seed": 3,
        "versions": {"torch": "9.9"}, "threads": 1, "steps": 1500, "phantoms": 60, "variants": 15, "anatomies": (SCAN,),
    } | changes  # fmt: skip


def record(**changes):
    both = {"lungs": network(), "opacity": network(sha256="22" * 32, steps=2000)}
    return TrainingRecord.model_validate(both | changes)


def test_shipped_weights_are_small_and_no_other_record_stands_beside_them():
    read_record(STARTING, LUNGS)
    assert STARTING.stat().st_size + LUNGS.stat().st_size < 3_000_000


def test_the_published_card_is_of_the_shipped_weights():
    text = card.CARD.read_text(encoding="utf-8")
    shipped = read_record(STARTING, LUNGS)
    sources = ["No record was kept"] if shipped is None else [entry.source for entry in shipped.anatomies]
    for word in (sha256_of(STARTING), sha256_of(LUNGS), *sources):
        assert word in text, "run `python -m models.card`, then `python -m bench.accuracy`"
    assert "Not measured on real scans yet" not in text


def test_sources_licences_and_scores_are_on_the_card():
    text = card.model_card(record(), HASHES, SCORES)
    for word in (
        "A collection, case 7",
        "CC BY 4.0",
        "22" * 32,
        "Dice of opacity 0.876",
        "torch 9.9",
        "revision `abc1234`",
        "1,500 steps",
        "2,000 steps",
        "Known failures",
    ):
        assert word in text
    assert text.count("A collection, case 7") == 1
    assert "Left out" not in text
    assert "No record was kept" not in text


def test_a_run_that_went_on_names_the_one_before_and_its_sources():
    other = Entry(file="y.nii.gz", sha256="cd" * 32, licence="CC0", source="Another collection")
    before = network(sha256="33" * 32, anatomies=(other,))
    text = card.model_card(
        record(opacity=network(sha256="22" * 32, steps=700, rate=0.0003, before=before)), HASHES, SCORES
    )
    for word in ("700 steps, learning rate up to 0.0003", "went on from", "1,500 steps", "Another collection", "CC0"):
        assert word in text


def test_weights_without_a_record_say_so():
    text = card.model_card(None, HASHES, SCORES)
    for word in ("No record was kept", "do not rely on the licences", "22" * 32, "11" * 32, "Dice of opacity 0.876"):
        assert word in text


def test_scans_left_out_have_their_table():
    row = LeftOut(
        name="x", false_opacity_points=0.25, inserted=3, mean_error_points=1.5, worst_error_points=2.75, lung_dice=0.981
    )
    assert "| `x` | 0.981 | 0.25 | 1.50 | 2.75 | 3 |" in card.model_card(record(left_out=(row,)), HASHES, SCORES)


def test_the_part_on_real_scans_is_replaced_and_nothing_else():
    once = card.with_real_scans(card.model_card(record(), HASHES, SCORES), "FIRST")
    twice = card.with_real_scans(once, "SECOND\n")
    assert "Not measured" not in once
    assert twice == once.replace("FIRST", "SECOND")


@pytest.mark.parametrize("spoil", ["weights", "record", "half"])
def test_a_record_of_other_weights_is_refused(tmp_path, spoil):
    weights, lungs = tmp_path / "starting.safetensors", tmp_path / "lungs.safetensors"
    weights.write_bytes(b"opacity")
    lungs.write_bytes(b"lungs")
    own = record(opacity=network(sha256=sha256_of(weights)), lungs=network(sha256=sha256_of(lungs)))
    (tmp_path / RECORD).write_text(own.model_dump_json())
    assert read_record(weights, lungs) == own
    if spoil == "weights":
        lungs.write_bytes(b"others")
    elif spoil == "half":
        (tmp_path / RECORD).write_text(own.model_copy(update={"lungs": None}).model_dump_json())
    else:
        (tmp_path / RECORD).write_text('{"lungs": 7}')
    with pytest.raises(InvalidInputError) as caught:
        read_record(weights, lungs)
    assert caught.value.code is Code.BAD_SETTING
