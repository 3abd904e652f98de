"""The command that makes the shipped weights runs from end to end, gives the same bytes twice, and does teach."""

import json
import logging
import shutil

import numpy as np
import pytest
import torch

from models import pretrain
from models.curriculum import lung_example, opacity_example
from models.fit import Schedule, fit
from models.looks import Example, look_at
from models.loss import patient_loss
from models.net import GgoNet
from models.record import read_record
from models.weights import STARTING, load_arrays, load_net, to_arrays
from protocol.errors import InvalidInputError
from tests.unit.models.grids import phantom
from tests.unit.models.test_anatomy import write

TINY = pretrain.Effort(per_anatomy=1, phantoms=1, lung_steps=2, opacity_steps=2, fold_share=1.0, checks=1)


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(pretrain, "QUICK", TINY)


@pytest.mark.slow
def test_phantoms_alone_make_weights(tmp_path, quiet):
    """The same seed makes the same networks, also one at a time, each with its record."""
    whole, parts, other = (tmp_path / name / "starting.safetensors" for name in ("whole", "parts", "other"))
    assert pretrain.main(["--quick", "--seed", "3", "--out", str(whole)]) == 0
    assert pretrain.main(["--quick", "--seed", "3", "--out", str(parts), "--only", "opacity"]) == 0
    assert pretrain.main(["--quick", "--seed", "4", "--out", str(other), "--only", "opacity"]) == 0
    assert whole.read_bytes() == parts.read_bytes() != other.read_bytes()
    assert load_net(whole) is not None
    with pytest.raises(InvalidInputError, match=r"cannot be read|other weights"):
        read_record(parts, parts.with_name("lungs.safetensors"))
    assert pretrain.main(["--quick", "--seed", "3", "--out", str(parts), "--only", "lungs"]) == 0
    names = sorted(path.name for path in whole.parent.iterdir())
    assert names == ["lungs.safetensors", "starting.safetensors", "training.json"]
    for name in names:
        assert whole.with_name(name).read_bytes() == parts.with_name(name).read_bytes()
    record = read_record(whole, whole.with_name("lungs.safetensors"))
    assert (record.anatomies, record.left_out) == ((), ())
    for network in (record.lungs, record.opacity):
        assert (network.seed, network.phantoms, network.steps) == (3, TINY.phantoms, 2)
        assert network.command == "python -m models.pretrain --quick --seed 3"


@pytest.mark.slow
def test_every_scan_is_measured_by_networks_that_never_saw_it(tmp_path, quiet, monkeypatch):
    """And the weights that lie there stay, with their record."""
    write(tmp_path, "a.nii.gz")
    entries = json.loads((tmp_path / "manifest.json").read_text())["volumes"]
    write(tmp_path, "b.nii.gz")
    entries += json.loads((tmp_path / "manifest.json").read_text())["volumes"]
    (tmp_path / "manifest.json").write_text(json.dumps({"volumes": entries}))
    out = tmp_path / "weights" / "starting.safetensors"
    words = ["--quick", "--seed", "3", "--anatomy", str(tmp_path), "--out", str(out)]
    assert pretrain.main(words) == 0
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    learnt = []
    train = pretrain.train

    def watched(course, *arguments, without=(), **options):
        learnt.append((set(without), {name for name in course.opacity if name} - set(without)))
        return train(course, *arguments, without=without, **options)

    monkeypatch.setattr(pretrain, "train", watched)
    assert pretrain.main([*words, "--folds", "2", "--only", "folds"]) == 0
    assert learnt[1:] == [({"a"}, {"b"}), ({"b"}, {"a"})]
    for name in ("starting.safetensors", "lungs.safetensors"):
        assert out.with_name(name).read_bytes() == before[name]
    record = read_record(out, out.with_name("lungs.safetensors"))
    assert [row.name for row in record.left_out] == ["a", "b"]
    assert (
        record.model_copy(update={"left_out": ()}).model_dump_json(indent=1) + "\n" == before["training.json"].decode()
    )


@pytest.mark.slow
def test_training_goes_on_from_weights_and_the_record_says_from_which(tmp_path, quiet, monkeypatch):
    """The lungs stay as they are, and the card names both runs."""
    out = tmp_path / "starting.safetensors"
    lungs = out.with_name("lungs.safetensors")
    assert pretrain.main(["--quick", "--seed", "3", "--out", str(out)]) == 0
    first, kept, begun = read_record(out, lungs), lungs.read_bytes(), load_arrays(out)
    seen = []

    def watched(net, examples, schedule, *, seed):
        seen.append((schedule.steps, schedule.rate))
        assert all(np.array_equal(begun[name], array) for name, array in to_arrays(net).items())
        return fit(net, examples, schedule, seed=seed)

    monkeypatch.setattr(pretrain, "fit", watched)
    assert pretrain.main(["--quick", "--seed", "4", "--out", str(out), "--go-on", str(out), "--rate", "1e-4"]) == 0
    assert seen == [(TINY.opacity_steps, 1e-4)]
    assert lungs.read_bytes() == kept
    record = read_record(out, lungs)
    assert (record.lungs, record.opacity.before, record.opacity.rate) == (first.lungs, first.opacity, 1e-4)
    assert (
        record.opacity.command
        == "python -m models.pretrain --quick --go-on FILE --steps 2 --rate 0.0001 --variants 1 --seed 4"
    )
    moved = max(float(np.abs(begun[name] - array).max()) for name, array in load_arrays(out).items())
    assert 0 < moved < 1e-3


def test_weights_without_a_record_are_not_gone_on_from(tmp_path, quiet, caplog):
    weights = tmp_path / "starting.safetensors"
    shutil.copy(STARTING, weights)
    assert pretrain.main(["--quick", "--go-on", str(weights), "--out", str(tmp_path / "new.safetensors")]) == 2
    assert "No training.json beside" in caplog.text
    assert not (tmp_path / "new.safetensors").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--rate", "1e-4"], ["--steps", "9"], ["--go-on", "x", "--folds", "2"], ["--go-on", "x", "--only", "lungs"],
        ["--go-on", "x", "--rate", "0"], ["--go-on", "x", "--steps", "0"], ["--variants", "3"],
    ],
)  # fmt: skip
def test_going_on_has_options_of_its_own(words, capsys):
    with pytest.raises(SystemExit) as caught:
        pretrain.main(words)
    assert caught.value.code == 2
    assert "error: --" in capsys.readouterr().err


def test_a_bad_manifest_ends_with_its_exit_code(tmp_path, quiet):
    assert pretrain.main(["--anatomy", str(tmp_path), "--out", str(tmp_path / "w")]) == 2
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_fitting_lowers_the_loss():
    made = phantom(4, 0.2)
    example = opacity_example(made.volume, made.lungs, made.opacity)
    torch.manual_seed(0)
    net = GgoNet()

    def cost(candidate):
        look = look_at(np.random.default_rng(0), example, slices=4, size=(96, 128), mirror_sides=False, bodies=True)
        with torch.no_grad():
            return float(patient_loss(candidate(look.inputs), look.target, look.weight))

    before = cost(net)
    trained = fit(net, [example], Schedule(steps=60, looks=1, slices=3, size=(96, 128), full=(96, 128)), seed=1)
    assert cost(net) < 0.7 * before
    assert not trained.training


def test_examples_hold_their_truth():
    made = phantom(4, 0.2)
    example = opacity_example(made.volume, made.lungs, made.opacity)
    inside = int((example.weight > 0).sum())
    share = int((example.target > 0).sum()) / inside
    assert share == pytest.approx(np.count_nonzero(made.opacity) / np.count_nonzero(made.lungs), abs=0.02)
    lungs = lung_example(made.volume, made.lungs)
    assert bool((lungs.weight[:, :100, :100] > 0).all())
    assert float(lungs.weight.max()) > 1


def test_a_mirrored_look_exchanges_the_lungs():
    slabs = torch.zeros(1, 16, 16, dtype=torch.float16)
    slabs[:, :, :8] = 1
    target = torch.full((1, 16, 16), 2, dtype=torch.uint8)
    target[:, :, :8] = 1
    example = Example(slabs, target, torch.ones(1, 16, 16, dtype=torch.float16))
    seen = set()
    for seed in range(12):
        look = look_at(np.random.default_rng(seed), example, slices=1, size=(16, 16), mirror_sides=True, bodies=True)
        bright_left = bool(look.inputs[0, 1, 8, 2] > look.inputs[0, 1, 8, 13])
        seen.add(bright_left)
        assert int(look.target[0, 8, 2]) == 1
        assert int(look.target[0, 8, 13]) == 2
    assert seen == {True, False}
