"""Gradient inversion: an image cannot be got back from what leaves a site, and can be from the same without its noise.

The attack is that of Geiping et al. 2020 (arXiv:2003.14053): look for an image whose gradient points where the update points. Everything is in its
favour: the weights, the plan and the labels are known to it, the step is of one patient, one slice and one look, and that patient was
certainly in it. Only what the run's plan says of clipping and noise is as in use. Patterns take the place of chests, for any two chests are alike
already, and the likeness would hide how little was got back.
"""

import random
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from client.train.noise import Randomness
from client.train.private import Patient, train_privately
from models.loss import patient_loss
from models.slabs import PreparedSlabs
from models.weights import STARTING, from_arrays, load_arrays
from protocol.plan import RoundOrder, RunPlan
from strategies.arrays import Arrays

ROOT = Path(__file__).resolve().parents[4]
BASE = load_arrays(STARTING)
SIZE, TURNS = 32, 100
NOBODYS = 1e-6
"""The least noise that a plan may have: as good as none."""


def plan_of_the_handbook() -> RunPlan:
    """The plan that coordinators are shown."""
    text = (ROOT / "docs/how-to/coordinate.md").read_text(encoding="utf-8")
    found = re.search(r"```toml\n(base = .*?)```", text, re.DOTALL)
    assert found is not None
    return RunPlan.model_validate(tomllib.loads(found[1]))


def favourable(noise_multiplier: float | None = None) -> RoundOrder:
    """An order of that plan for one step of one patient who is certainly drawn; with other noise if it is given."""
    plan = plan_of_the_handbook()
    ease: dict[str, object] = {"sample_rate": 1.0, "expected_batch": 1, "steps_per_round": 1}
    noise = {} if noise_multiplier is None else {"noise_multiplier": noise_multiplier}
    privacy = plan.privacy.model_copy(update=ease | noise)
    plan = plan.model_copy(update={"privacy": privacy, "slices_per_patient": 1, "looks": 1})
    return RoundOrder(run_id="a" * 32, round=1, base_sha256="0" * 64, plan=plan)


def image(seed: int) -> Tensor:
    """A pattern of some pixels' width, (SIZE, SIZE), in the window of the network."""
    coarse = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 1, SIZE // 4, SIZE // 4))).float()
    fine = F.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic")[0, 0]
    return ((fine - fine.mean()) / fine.std() * 0.4 - 0.2).clamp(-1, 1)


def labels_of(seen: Tensor) -> Tensor:
    return (seen > 0.1).long()[None]


def update_of(seen: Tensor, order: RoundOrder, seed: int) -> Arrays:
    """What the site's own code sends of a patient with this one image."""
    labels = labels_of(seen)
    study = PreparedSlabs(seen[None], labels, torch.ones_like(labels, dtype=torch.bool))
    drawn = random.Random(seed)
    return train_privately(BASE, [Patient((study,))], order, randomness=Randomness(drawn.randbytes))


def got_back(update: Arrays, labels: Tensor, *, turns: int = TURNS) -> Tensor:
    """Return the image, (SIZE, SIZE), whose gradient points where the update points, as far as `turns` steps of L-BFGS find it."""
    net = from_arrays(BASE).train()
    parameters = dict(net.named_parameters())
    wanted = torch.cat([torch.from_numpy(-update[name]).flatten() for name in parameters])
    torch.manual_seed(0)
    found = (torch.randn(1, 1, SIZE, SIZE) * 0.1).requires_grad_()
    optimizer = torch.optim.LBFGS([found], max_iter=turns, history_size=30, line_search_fn="strong_wolfe")

    def apart() -> Tensor:
        optimizer.zero_grad()
        loss = patient_loss(net(found.expand(1, 3, SIZE, SIZE)), labels, torch.ones_like(labels, dtype=torch.bool))
        gradient = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        cosine = F.cosine_similarity(torch.cat([part.flatten() for part in gradient]), wanted, dim=0)
        rough = found.diff(dim=-1).abs().mean() + found.diff(dim=-2).abs().mean()
        cost = 1.0 - cosine + 1e-3 * rough
        cost.backward()  # type: ignore[no-untyped-call]
        return cost

    optimizer.step(apart)  # type: ignore[arg-type]
    return found.detach()[0, 0].clamp(-1, 1)


def likeness(one: Tensor, other: Tensor) -> float:
    """Their correlation over all pixels."""
    return float(np.corrcoef(one.numpy().ravel(), other.numpy().ravel())[0, 1])


def nearer_than(seen: Tensor, truth: Tensor, strangers: Sequence[Tensor]) -> float:
    """The share of strangers to whom `seen` is less alike than to the patient: one for a re-identification, a half on the average by chance."""
    own = likeness(seen, truth)
    return float(np.mean([likeness(seen, other) < own for other in strangers]))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Images this small are lost time for a second thread, and much of it where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


STRANGERS = [image(1000 + number) for number in range(200)]


def test_without_noise_the_image_comes_back() -> None:
    truth = image(3)
    seen = got_back(update_of(truth, favourable(NOBODYS), seed=1), labels_of(truth))
    assert likeness(seen, truth) > 0.8
    assert nearer_than(seen, truth, STRANGERS) == 1.0


def test_of_what_leaves_with_the_noise_of_a_run_no_image_comes_back() -> None:
    truth = image(3)
    seen = got_back(update_of(truth, favourable(), seed=1), labels_of(truth))
    assert abs(likeness(seen, truth)) < 0.15
    assert 0.05 < nearer_than(seen, truth, STRANGERS) < 0.95


@pytest.mark.nightly
def test_of_twenty_patients_no_image_comes_back_and_without_noise_nearly_every_one() -> None:
    """Likeness, and not who is found among strangers: the attack knows the labels, and they alone make a patient a little more alike than those."""
    patients = range(20)
    found: dict[float | None, list[float]] = {None: [], NOBODYS: []}
    for noise, likenesses in found.items():
        for number in patients:
            truth = image(number)
            seen = got_back(update_of(truth, favourable(noise), seed=number), labels_of(truth))
            likenesses.append(likeness(seen, truth))
    assert max(map(abs, found[None])) < 0.15
    assert sum(one > 0.7 for one in found[NOBODYS]) >= 0.9 * len(patients)
