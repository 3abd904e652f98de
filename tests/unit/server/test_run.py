"""The folder of a run: what is written can be read, what is damaged is said so, and one writer holds it at a time."""

import fcntl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

import server.run
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.release import Scores
from server.run import COMPLETED, RoundRecord, RunFolder, find_run
from strategies.arrays import arrays_sha256
from tests.fakes.outcomes import code_of
from tests.fakes.rounds import RUN, SITES, a_plan, weights

SCORES = Scores(cases=2, dice=0.5, ggo_error_points=1.5, false_opacity_points=0.25)


def a_record(number: int = 1, value: float = 1, **changes: Any) -> RoundRecord:
    content = {
        "round": number, "weights_sha256": arrays_sha256(weights(value)), "sites": (SITES[0],),
        "refused": {SITES[1]: Code.BUDGET_SPENT}, "epsilon": {SITES[0]: 0.5}, "seconds": 2.5,
    }  # fmt: skip
    return RoundRecord(**content | changes)


def test_what_was_started_can_be_read(folder: RunFolder) -> None:
    assert folder.run_id == RUN
    assert folder.plan() == a_plan()
    assert folder.nodes() == {"northport": 11, "southbay": 12, "westhill": 13}
    assert (folder.records(), folder.scores(), folder.outcome(), folder.flower_run()) == ([], {}, None, None)
    number, start = folder.latest()
    assert (number, arrays_sha256(start)) == (0, arrays_sha256(weights()))
    assert folder.starts_from(save(weights()))
    assert not folder.starts_from(save(weights(1)))


def test_a_round_can_be_read_as_it_was_written(folder: RunFolder) -> None:
    folder.checkpoint(a_record(), weights(1))
    assert folder.records() == [a_record()]
    assert isinstance(folder.records()[0].refused[SITES[1]], Code)
    assert folder.newest_file() == save(weights(1))


def test_a_skipped_round_keeps_the_weights_of_the_one_before(folder: RunFolder) -> None:
    folder.checkpoint(a_record(1), weights(1))
    folder.checkpoint(a_record(2, skipped=True), weights(1))
    assert folder.latest()[0] == 2
    assert folder.newest_file() == save(weights(1))


def test_scores_and_numbers_are_kept(folder: RunFolder) -> None:
    folder.note_scores(0, SCORES)
    folder.note_scores(1, SCORES)
    folder.note_flower_run(2**63 + 5)
    assert folder.scores() == {0: SCORES, 1: SCORES}
    assert folder.flower_run() == 2**63 + 5


def test_taking_a_run_up_forgets_how_it_ended(folder: RunFolder) -> None:
    folder.end(COMPLETED)
    assert folder.outcome() == COMPLETED
    folder.note_nodes({"northport": 21})
    assert (folder.outcome(), folder.nodes()) == (None, {"northport": 21})


def test_others_on_the_machine_read_nothing_of_it(folder: RunFolder) -> None:
    folder.checkpoint(a_record(), weights(1))
    assert folder.path.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o077 for path in folder.path.iterdir()} == {0}


# Damage.


READS: dict[str, Callable[[RunFolder], object]] = {
    "plan.json": RunFolder.plan,
    "nodes.json": RunFolder.nodes,
    "rounds.json": RunFolder.latest,
    "scores.json": RunFolder.scores,
    "outcome.json": RunFolder.outcome,
    "flower.json": RunFolder.flower_run,
    "weights-0001.safetensors": RunFolder.latest,
}


@pytest.fixture
def full(folder: RunFolder) -> RunFolder:
    """A run in which every file is there."""
    folder.checkpoint(a_record(), weights(1))
    folder.note_scores(0, SCORES)
    folder.end(COMPLETED)
    folder.note_flower_run(3)
    return folder


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"{", b'{"a": 1', b'"x"', b"[1, 2", b"\xff\xfe"])
@pytest.mark.parametrize("name", READS)
def test_a_damaged_file_is_named_in_one_sentence(full: RunFolder, name: str, content: bytes) -> None:
    READS[name](full)
    (full.path / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match="missing or damaged; restore it") as caught:
        READS[name](full)
    assert caught.value.code is Code.BAD_SHAPE
    assert str(full.path / name) in str(caught.value)


@pytest.mark.parametrize("name", READS)
def test_a_folder_in_place_of_a_file_is_damage_too(full: RunFolder, name: str) -> None:
    (full.path / name).unlink()
    (full.path / name).mkdir()
    assert code_of(lambda: READS[name](full)) is Code.BAD_SHAPE


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7), st.booleans())
def test_a_flipped_bit_or_a_cut_end_of_the_weights_is_never_taken_for_weights(
    full: RunFolder, where: float, bit: int, cut: bool
) -> None:
    path = full.path / "weights-0001.safetensors"
    good = save(weights(1))
    changed = bytearray(good)
    at = int(where * len(good))
    changed[at] ^= 1 << bit
    path.write_bytes(good[:at] if cut else bytes(changed))
    try:
        _, taken = full.latest()
    except InvalidInputError:
        return
    finally:
        path.write_bytes(good)
    assert arrays_sha256(taken) == arrays_sha256(weights(1)), "only blanks in the header may change unnoticed"


def test_missing_weights_are_damage(full: RunFolder) -> None:
    (full.path / "weights-0001.safetensors").unlink()
    assert code_of(full.latest) is Code.BAD_SHAPE
    assert code_of(full.newest_file) is Code.BAD_SHAPE


def test_weights_that_were_exchanged_are_not_signed(full: RunFolder) -> None:
    (full.path / "weights-0001.safetensors").write_bytes(save(weights(9)))
    assert code_of(full.newest_file) is Code.BAD_SHAPE


def test_without_its_plan_there_is_no_run(folder: RunFolder) -> None:
    (folder.path / "plan.json").unlink()
    assert code_of(folder.plan) is Code.NOT_FOUND


def test_the_plan_is_written_last_so_that_a_run_has_all_its_files_or_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def write(path: Path, content: bytes) -> None:
        written.append(path.name)
        path.write_bytes(content)

    monkeypatch.setattr(server.run, "write_durably", write)
    RunFolder(tmp_path / ("c" * 32)).start(a_plan(), {}, save(weights()), {"present.json": b"{}"})
    assert "present.json" in written
    assert written[-1] == "plan.json"


def test_a_start_that_the_disk_does_not_take_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where a folder should be")
    run = RunFolder(tmp_path / "runs" / RUN)
    assert code_of(lambda: run.start(a_plan(), {}, b"")) is Code.DISK_FULL
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


# Finding and holding.


def test_a_run_is_found_by_its_id_or_its_folder(folder: RunFolder) -> None:
    runs = folder.path.parent
    assert find_run(runs, RUN) == folder
    assert find_run(runs, str(folder.path)) == folder
    assert find_run(runs, str(folder.path) + "/") == folder


@pytest.mark.parametrize(
    "name", ["", "..", "../..", "b" * 32, "A" * 32, "a" * 31, "a" * 33, ".lock", "a" * 5000, "a\0b"]
)
def test_anything_else_is_not_found(folder: RunFolder, name: str) -> None:
    (folder.path.parent / ".lock").touch()
    assert code_of(lambda: find_run(folder.path.parent, name)) is Code.NOT_FOUND


def locked(folder: RunFolder) -> bool:
    with (folder.path / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_one_writer_holds_a_run_until_it_ends(folder: RunFolder) -> None:
    assert not folder.is_held(7)
    with folder.held(7):
        assert folder.is_held(7)
        assert not folder.is_held(8)
        assert locked(folder)
    assert not folder.is_held(7)
    assert not locked(folder)
    with folder.held(88):
        assert folder.is_held(88)


HOLDER = """
import sys, time
from pathlib import Path
from server.run import RunFolder
with RunFolder(Path(sys.argv[1])).held(7):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_writer_holds_nothing(folder: RunFolder) -> None:
    root = str(Path(__file__).resolve().parents[3])
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.path)], cwd=root, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert locked(folder)
    holder.kill()
    holder.wait(30)
    holder.stdout.close()
    with folder.held(8):
        assert np.array_equal(folder.latest()[1]["bias"], weights()["bias"])
