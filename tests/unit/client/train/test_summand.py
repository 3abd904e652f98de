"""A summand against the private step that it stands for, and what the sum of several hides behind."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from client.train.noise import Randomness
from client.train.private import Patient, train_privately, trained_parameters
from client.train.summand import private_summand
from models.net import GgoNet
from models.slabs import PatientSlices
from models.weights import from_arrays, to_arrays
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.plan import PrivacyPlan, RoundOrder, RunPlan, Scope, SecureSumPlan
from strategies.fedavg import federated_average
from strategies.securesum.grid import grid_of
from strategies.securesum.step import step_of, values_of
from strategies.securesum.terms import Terms
from tests.fakes.circle import names
from tests.fakes.random_bytes import CountedBytes

Weights = dict[str, NDArray[np.float32]]

ALONE = Terms(sites=2, dropouts=1, colluders=0)
"""Terms on which a site bears all of the noise itself, as without secure summation."""


def order(**changes: object) -> RoundOrder:
    privacy = PrivacyPlan(noise_multiplier=2.0, clipping_norm=0.5, sample_rate=0.5, expected_batch=4, steps_per_round=1)
    plan = RunPlan(
        base="ggo@0", sites=names(4), rounds=1, quorum=1, learning_rate=0.1, momentum=0.5, slices_per_patient=2,
        privacy=privacy, secure_sum=SecureSumPlan(dropouts=1, colluders=1),
    )  # fmt: skip
    return RoundOrder(run_id="a" * 32, round=1, base_sha256="0" * 64, plan=plan.model_copy(update=changes))


@pytest.fixture(scope="module")
def base() -> Weights:
    torch.manual_seed(7)
    return dict(to_arrays(GgoNet()))


class Study:
    """Four slices of chance with labels of chance."""

    def __init__(self, seed: int) -> None:
        self._slabs = torch.randn(4, 32, 32, generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self._slabs)

    def take(self, index: Sequence[int], /) -> PatientSlices:
        chosen = self._slabs[list(index)]
        inputs = chosen[:, None].expand(-1, 3, -1, -1).contiguous()
        return PatientSlices(inputs, (chosen > 0).long(), torch.ones(chosen.shape, dtype=torch.bool))


PATIENTS = [Patient((Study(seed),)) for seed in range(3)]


def test_the_step_of_the_sum_is_the_mean_of_the_updates_that_the_sites_would_have_sent(base: Weights) -> None:
    asked = order()
    updates = [train_privately(base, PATIENTS, asked, randomness=Randomness(CountedBytes(seed))) for seed in range(3)]
    total = np.sum(
        [private_summand(base, PATIENTS, asked, terms=ALONE, randomness=Randomness(CountedBytes(seed))) for seed in range(3)],
        axis=0, dtype=np.uint32,
    )  # fmt: skip
    step, mean = step_of(total, asked, base, sites=3), federated_average(updates)
    assert step.keys() == mean.keys()
    assert all(np.allclose(step[name], mean[name], rtol=0, atol=1e-6) for name in mean)
    assert max(float(np.abs(array).max()) for array in mean.values()) > 1e-2


@pytest.mark.parametrize("scope", [Scope.LAST_BLOCK, Scope.NORMS])
def test_what_the_plan_leaves_alone_is_zero_without_noise(base: Weights, scope: Scope) -> None:
    asked = order(scope=scope)
    words = private_summand(base, PATIENTS, asked, terms=ALONE, randomness=Randomness())
    step = step_of(words, asked, base, sites=1)
    net = from_arrays(base)
    trained_parameters(net, scope)
    for name, parameter in net.named_parameters():
        assert np.any(step[name]) == parameter.requires_grad, name


def test_the_honest_sites_of_the_smallest_sum_have_all_of_the_noise_together(base: Weights) -> None:
    """Nobody is sampled; two of four sites are left and honest: σC = 1, to a standard error of 0.0012."""
    asked = order()
    terms = Terms(sites=4, dropouts=1, colluders=1)
    total = np.sum(
        [private_summand(base, [], asked, terms=terms, randomness=Randomness()) for _ in range(terms.honest)],
        axis=0, dtype=np.uint32,
    )  # fmt: skip
    assert len(total) == values_of(base)
    values = grid_of(asked.plan).value(total)
    assert values.std() == pytest.approx(1.0, abs=0.01)
    assert abs(values.mean()) < 0.01


def test_a_plan_of_more_steps_a_round_is_refused(base: Weights) -> None:
    privacy = order().plan.privacy.model_copy(update={"steps_per_round": 2})
    with pytest.raises(InvalidInputError) as refused:
        private_summand(base, PATIENTS, order(privacy=privacy), terms=ALONE, randomness=Randomness())
    assert refused.value.code is Code.BAD_SETTING
