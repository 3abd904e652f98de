"""The private step against clipping by hand, against Opacus, and against what a patient must never be able to do."""

import copy
import math
import warnings
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from client.train.noise import Randomness
from client.train.private import (
    Patient,
    clipped_sum,
    mixed_precision,
    private_gradient,
    pull_towards,
    train_privately,
    trained_parameters,
)
from models.loss import patient_loss
from models.net import GgoNet
from models.slabs import PatientSlices, PreparedSlabs
from models.weights import to_arrays
from protocol.plan import PrivacyPlan, RoundOrder, RunPlan, Schedule, Scope
from tests.fakes.devices import DEVICES
from tests.fakes.random_bytes import CountedBytes

SLICES = 3


def net() -> GgoNet:
    torch.manual_seed(7)
    return GgoNet().train()


def slices(seed: int, *, loudness: float = 1.0, size: int = 32) -> PatientSlices:
    """One patient's slices; a loud one has a large gradient."""
    made = torch.Generator().manual_seed(seed)
    inputs = torch.randn(SLICES, 3, size, size, generator=made) * loudness
    target = torch.randint(0, 3, (SLICES, size, size), generator=made)
    return PatientSlices(inputs, target, torch.ones(SLICES, size, size, dtype=torch.bool))


BATCH = [slices(1, loudness=0.05), slices(2, loudness=1.0), slices(3, loudness=8.0)]


def plan(**changes: object) -> RunPlan:
    privacy = PrivacyPlan(
        noise_multiplier=1.0, clipping_norm=0.5, sample_rate=0.5, expected_batch=4, steps_per_round=2
    ).model_copy(update={key: changes.pop(key) for key in tuple(changes) if key in PrivacyPlan.model_fields})
    base = RunPlan(
        base="ggo@0", sites=("aa",), rounds=1, quorum=1, learning_rate=0.1, slices_per_patient=2, privacy=privacy
    )
    return base.model_copy(update=changes)


def order(**changes: object) -> RoundOrder:
    return RoundOrder(run_id="a" * 32, round=1, base_sha256="0" * 64, plan=plan(**changes))


def norms_of(model: GgoNet, batch: Sequence[PatientSlices]) -> list[float]:
    return [float(flat(by_hand_gradient(model, patient)).norm()) for patient in batch]


def by_hand_gradient(model: GgoNet, patient: PatientSlices) -> list[Tensor]:
    loss = patient_loss(model(patient.inputs), patient.target, patient.valid)
    return list(torch.autograd.grad(loss, list(model.parameters())))


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def median_norm(model: GgoNet) -> float:
    return sorted(norms_of(model, BATCH))[1]


def channels_last(patient: PatientSlices) -> PatientSlices:
    return PatientSlices(patient.inputs.contiguous(memory_format=torch.channels_last), patient.target, patient.valid)


@pytest.mark.parametrize("layout", [lambda patient: patient, channels_last], ids=["contiguous", "channels-last"])
def test_the_sum_is_that_of_clipping_by_hand(layout: object) -> None:
    model = net()
    bound = median_norm(model)
    norms = norms_of(model, BATCH)
    assert min(norms) < bound < max(norms)  # some are clipped, some are not
    expected = torch.zeros_like(flat(list(model.parameters())))
    for patient, norm in zip(BATCH, norms, strict=True):
        expected += flat(by_hand_gradient(model, patient)) * min(1.0, bound / norm)
    got = flat(clipped_sum(model, list(model.parameters()), [layout(patient) for patient in BATCH], bound=bound))  # type: ignore[operator]
    assert float((got - expected).norm() / expected.norm()) < 1e-4


@pytest.mark.parametrize("bound", [2.2e-45, 1e-9])
def test_no_plan_has_a_bound_that_float32_rounds_past(bound: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the smallest numbers float32 has whole multiples of 1.4e-45 only: four equal values of C/2 come to more than C."""
    monkeypatch.setattr("client.train.private._patient_gradient", lambda *_: (torch.ones(4),))
    (summed,) = clipped_sum(net(), [nn.Parameter(torch.zeros(4))], [BATCH[0]], bound=bound)
    holds = float(summed.double().norm()) <= bound * (1 + 1e-6)
    public = {"noise_multiplier": 1.0, "sample_rate": 0.5, "expected_batch": 4, "steps_per_round": 1}
    with nullcontext() if holds else pytest.raises(ValidationError, match="clipping_norm"):
        PrivacyPlan(clipping_norm=bound, **public)  # type: ignore[arg-type]
    assert holds == (bound >= 1e-9)


LAYOUTS = {
    "contiguous": (torch.contiguous_format, torch.contiguous_format),
    "slices channels-last": (torch.contiguous_format, torch.channels_last),
    "weights channels-last": (torch.channels_last, torch.contiguous_format),
    "both channels-last": (torch.channels_last, torch.channels_last),
}


@pytest.fixture
def _exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's float32 as float32: neither bfloat16 layers nor TF32 products."""
    monkeypatch.setattr("client.train.private.mixed_precision", lambda _: False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.usefixtures("_exact_products")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("scope", list(Scope))
def test_the_gradient_of_every_layer_is_that_of_a_plain_loop_in_double_precision(
    scope: Scope, layout: tuple[torch.memory_format, torch.memory_format], device: str
) -> None:
    """torch 2.13 dies here, in GroupNorm's backward pass, without the gradient that the step asks for its inputs where convolutions are frozen."""
    model, exact = net().to(device=device, memory_format=layout[0]), net().double()  # type: ignore[call-overload]
    patient = BATCH[1]
    wide = PatientSlices(patient.inputs.double(), patient.target, patient.valid)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    expected = dict(zip([name for name, _ in exact.named_parameters()], by_hand_gradient(exact, wide), strict=True))
    laid_out = PatientSlices(patient.inputs.contiguous(memory_format=layout[1]), patient.target, patient.valid)
    parameters = trained_parameters(model, scope)
    got = clipped_sum(model, parameters, [laid_out], bound=1e9)
    assert parameters
    for parameter, ours in zip(parameters, got, strict=True):
        slow = expected[names[id(parameter)]]
        assert float((ours.cpu().double() - slow).norm() / slow.norm()) < 1e-5, names[id(parameter)]


@pytest.mark.parametrize(
    ("memory", "right"),
    [(torch.contiguous_format, True), (torch.channels_last, False)],
    ids=["contiguous", "channels-last"],
)
def test_the_hooks_of_opacus_are_wrong_for_channels_last(memory: torch.memory_format, right: bool) -> None:
    """Why the step has no hooks (Opacus 1.6): per-sample gradients of a convolution, from memory read in the wrong order, without an error."""
    from opacus import GradSampleModule

    torch.manual_seed(1)
    layer = nn.Conv2d(4, 5, 3, padding=1, bias=False)
    inputs = torch.randn(2, 4, 8, 8).contiguous(memory_format=memory)
    alone = [torch.autograd.grad(layer(one[None]).square().sum(), layer.weight)[0] for one in inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = GradSampleModule(layer, loss_reduction="sum")
        wrapped(inputs).square().sum().backward()
    error = (layer.weight.grad_sample - torch.stack(alone)).norm() / torch.stack(alone).norm()
    assert (float(error) < 1e-5) is right
    assert right or float(error) > 0.1


@pytest.mark.parametrize("device", DEVICES)
def test_bfloat16_layers_turn_the_gradient_little_and_pass_the_bound_not_at_all(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU does, done here by the processor too: rounding in the layers, float32 in gradients, clipping and sum."""
    exact = net()
    slow = flat(clipped_sum(exact, list(exact.parameters()), [BATCH[1]], bound=1e9))
    monkeypatch.setattr("client.train.private.mixed_precision", lambda _: True)
    model = net().to(device)
    parameters = list(model.parameters())
    whole, clipped = (clipped_sum(model, parameters, [BATCH[1]], bound=bound) for bound in (1e9, 0.01))
    assert {part.dtype for part in [*whole, *clipped]} == {torch.float32}
    turned = torch.nn.functional.cosine_similarity(flat(whole).cpu(), slow, dim=0)
    assert 0.99 < float(turned) < 1.0
    assert not torch.equal(flat(whole).cpu(), slow)
    assert float(flat(clipped).norm()) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_a_round_is_that_of_the_processor_but_for_rounding(device: str) -> None:
    base = to_arrays(net())
    patients = [Patient((StudyOf(patient),)) for patient in BATCH]
    asked = order(sample_rate=1.0, noise_multiplier=1e-6, steps_per_round=1)
    here, there = (
        train_privately(base, patients, asked, randomness=Randomness(CountedBytes(1)), device=where)
        for where in ("cpu", device)
    )
    ours, theirs = (np.concatenate([update[name].ravel() for name in sorted(base)]) for update in (here, there))
    assert np.linalg.norm(ours - theirs) < 0.05 * np.linalg.norm(ours)


def test_layers_are_float32_on_a_processor() -> None:
    assert not mixed_precision(torch.device("cpu"))


def test_a_step_is_that_of_opacus() -> None:
    """Opacus with one gradient for each patient and no hooks: its clipping, its division, its step. Opacus brings sympy and more: only this loads it."""
    from opacus.grad_sample.utils import prepare_module
    from opacus.optimizers import DPOptimizer

    ours, theirs = net(), net()
    bound = median_norm(ours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = prepare_module(theirs, "no_op", loss_reduction="mean", batch_first=True)
    optimizer = DPOptimizer(
        torch.optim.SGD(wrapped.parameters(), lr=0.1), noise_multiplier=0.0, max_grad_norm=bound, expected_batch_size=4
    )
    for index, patient in enumerate(BATCH):
        optimizer.zero_grad(set_to_none=True)
        patient_loss(wrapped(patient.inputs), patient.target, patient.valid).backward()
        for parameter in optimizer.params:
            parameter.grad_sample = parameter.grad.unsqueeze(0)
        optimizer.signal_skip_step(do_skip=index < len(BATCH) - 1)
        optimizer.step()

    parameters = list(ours.parameters())
    total = clipped_sum(ours, parameters, BATCH, bound=bound)
    start = flat(list(net().parameters())).detach()
    step_ours, step_theirs = -0.1 * flat(total) / 4, flat(list(theirs.parameters())).detach() - start
    assert float((step_ours - step_theirs).norm() / step_theirs.norm()) < 1e-4


def test_one_patient_moves_the_sum_by_the_bound_at_most() -> None:
    model, bound = net(), 0.01
    parameters = list(model.parameters())
    without = flat(clipped_sum(model, parameters, BATCH[:2], bound=bound))
    for loudness in (0.0, 1.0, 1e4):
        extra = slices(9, loudness=loudness)
        moved = flat(clipped_sum(model, parameters, [*BATCH[:2], extra], bound=bound)) - without
        assert float(moved.norm()) <= bound * (1 + 1e-3)


OVERFLOWS = {"not a number": float("nan"), "infinite": float("inf"), "a gradient longer than float32": 1e30}


@pytest.mark.parametrize("value", OVERFLOWS.values(), ids=OVERFLOWS.keys())
def test_a_patient_whose_gradient_is_not_finite_adds_nothing(value: float) -> None:
    """NaN in the sum would pass all noise, and say that this patient was in the step."""
    model = net()
    parameters = trained_parameters(model, Scope.LAST_BLOCK)
    with torch.no_grad():
        model.head.weight.mul_(1e25 if math.isfinite(value) else 1.0)
    odd = PatientSlices(BATCH[0].inputs.clone(), BATCH[0].target, BATCH[0].valid)
    odd.inputs[0, 0, 0, 0] = value
    without = flat(clipped_sum(model, parameters, BATCH[1:], bound=0.5))
    together = flat(clipped_sum(model, parameters, [odd, *BATCH[1:]], bound=0.5))
    assert torch.equal(together, without)


def test_weights_made_to_overflow_give_an_update_like_any_other() -> None:
    """From round 2 on the centre chooses the weights; with these every patient's loss is NaN, and the update is noise alone."""
    hostile = to_arrays(net())
    hostile["head.weight"] = np.where(hostile["head.weight"] > 0, np.float32(3e38), np.float32(-3e38))
    patients = [Patient((StudyOf(patient),)) for patient in BATCH]
    asked = order(sample_rate=1.0, steps_per_round=1)
    update = train_privately(hostile, patients, asked, randomness=Randomness(CountedBytes(1)))
    nobody = train_privately(hostile, [], asked, randomness=Randomness(CountedBytes(1)))
    assert all(np.isfinite(array).all() for array in update.values())
    body = [name for name in update if not name.startswith("head")]
    assert np.concatenate([update[name].ravel() for name in body]).std() == pytest.approx(0.1 * 0.5 / 4, rel=0.05)
    assert update.keys() == nobody.keys()


def test_one_patient_changes_no_other_patients_share() -> None:
    """A layer with batch statistics would fail this: patients pass the network one at a time."""
    model = net()
    parameters = list(model.parameters())
    alone = [flat(clipped_sum(model, parameters, [patient], bound=1.0)) for patient in BATCH]
    together = flat(clipped_sum(model, parameters, BATCH, bound=1.0))
    assert torch.allclose(together, sum(alone), atol=1e-5)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def test_nobody_sampled_is_noise_alone_and_of_the_right_size() -> None:
    model = net()
    parameters = trained_parameters(model, Scope.ALL)
    private_gradient(model, parameters, [], plan(noise_multiplier=2.0), randomness=Randomness(CountedBytes(1)))
    gradient = flat([parameter.grad for parameter in parameters if parameter.grad is not None]).numpy()
    assert gradient.std() == pytest.approx(2.0 * 0.5 / 4, rel=0.02)
    assert abs(gradient.mean()) < 0.002


def test_noise_does_not_depend_on_who_was_sampled() -> None:
    model = net()
    parameters = trained_parameters(model, Scope.ALL)
    patients = [Patient((StudyOf(patient),)) for patient in BATCH]
    one_slice = plan(slices_per_patient=SLICES)
    private_gradient(model, parameters, patients, one_slice, randomness=Fixed(CountedBytes(1)))
    noised = flat([parameter.grad for parameter in parameters if parameter.grad is not None]) * 4
    noise = noised - flat(clipped_sum(model, parameters, BATCH, bound=0.5))
    assert noise.std().item() == pytest.approx(1.0 * 0.5, rel=0.02)


class StudyOf:
    """Slices in memory."""

    def __init__(self, patient: PatientSlices) -> None:
        self.patient = patient

    def __len__(self) -> int:
        return len(self.patient.inputs)

    def take(self, index: Sequence[int]) -> PatientSlices:
        at = torch.as_tensor(index)
        return PatientSlices(self.patient.inputs[at], self.patient.target[at], self.patient.valid[at])


class Fixed(Randomness):
    """Takes every slice."""

    def some(self, items: int, count: int) -> list[int]:
        return list(range(min(items, count)))


def test_slices_are_drawn_over_all_studies_of_a_patient_and_padded_with_air() -> None:
    small, large = slices(1, size=32), slices(2, size=48)
    drawn = Patient((StudyOf(small), StudyOf(large))).draw(6, Randomness(CountedBytes(1)))
    assert drawn.inputs.shape == (6, 3, 48, 48)
    assert torch.equal(drawn.inputs[:3, :, :32, :32], small.inputs)
    assert torch.equal(drawn.inputs[3:], large.inputs)
    assert (drawn.inputs[:3, :, 32:] == -1).all()
    assert not drawn.valid[:3, 32:].any()
    assert len(Patient((StudyOf(small), StudyOf(large))).draw(2, Randomness(CountedBytes(2))).inputs) == 2


def test_looks_show_the_drawn_slices_again_and_as_they_are_first() -> None:
    patient = Patient((StudyOf(slices(1)),))
    once, thrice = (patient.draw(2, Randomness(CountedBytes(1)), looks=looks) for looks in (1, 3))
    assert thrice.inputs.shape == (6, 3, 32, 32)
    assert torch.equal(thrice.inputs[:2], once.inputs)
    assert torch.equal(thrice.target[:2], once.target)
    for again in (slice(2, 4), slice(4, 6)):
        assert not torch.equal(thrice.inputs[again], once.inputs)
        mirrored = not torch.equal(thrice.target[again], once.target)
        assert torch.equal(thrice.target[again], once.target.flip(-1) if mirrored else once.target)


def test_other_bytes_give_other_looks_and_one_look_takes_no_byte_more() -> None:
    patient = Patient((StudyOf(slices(1)),))
    source = CountedBytes(1)
    patient.draw(2, Randomness(source))
    assert source.given == 32
    one, other = (patient.draw(SLICES, Fixed(CountedBytes(seed)), looks=2).inputs for seed in (1, 2))
    assert not torch.equal(one[SLICES:], other[SLICES:])


def test_a_patient_is_one_gradient_however_many_looks_there_are() -> None:
    """Clipped by look, the patient would move the sum by the bound for each of them."""
    model, bound = net(), 0.01
    parameters = trained_parameters(model, Scope.ALL)
    patients = [Patient((StudyOf(BATCH[1]),))]
    asked = plan(looks=4, noise_multiplier=1e-9, clipping_norm=bound)
    private_gradient(model, parameters, patients, asked, randomness=Randomness(CountedBytes(1)))
    moved = (
        flat([parameter.grad for parameter in parameters if parameter.grad is not None]) * asked.privacy.expected_batch
    )
    assert float(moved.norm()) == pytest.approx(bound, rel=1e-3)


def test_a_patient_is_one_gradient_however_many_studies_they_have() -> None:
    model, bound = net(), 0.01
    parameters = list(model.parameters())
    patient = Patient((StudyOf(slices(1)), StudyOf(slices(2)), StudyOf(slices(3))))
    drawn = patient.draw(9, Randomness(CountedBytes(1)))
    assert float(flat(clipped_sum(model, parameters, [drawn], bound=bound)).norm()) <= bound * (1 + 1e-5)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope.ALL, lambda name: True),
        (Scope.LAST_BLOCK, lambda name: name.startswith(("decoder.2.", "head."))),
        (Scope.NORMS, lambda name: "norm" in name),
    ],
)
def test_only_what_the_scope_names_moves(scope: Scope, expected: object) -> None:
    model = net()
    patients = [Patient((StudyOf(patient),)) for patient in BATCH]
    update = train_privately(
        to_arrays(model), patients, order(scope=scope, sample_rate=1.0), randomness=Randomness(CountedBytes(1))
    )
    moved = {name for name, array in update.items() if np.any(array != 0)}
    last = f"decoder.{len(model.decoder) - 1}."
    wanted = {name for name in update if expected(name.replace(last, "decoder.2."))}  # type: ignore[operator]
    assert moved == wanted


def test_the_update_is_what_was_learnt_from_the_base_and_the_base_stays() -> None:
    base = to_arrays(net())
    before = copy.deepcopy(base)
    steps: list[int] = []
    update = train_privately(
        base, [Patient((StudyOf(BATCH[1]),))], order(), randomness=Randomness(CountedBytes(1)), after_step=steps.append
    )
    assert steps == [1, 2]
    assert update.keys() == base.keys()
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in update.values())
    assert all(np.array_equal(base[name], before[name]) for name in base)


def from_noise_alone(**changes: object) -> dict[str, np.ndarray]:
    """The update of a round in which nobody takes part; the same bytes draw the same noise."""
    return train_privately(to_arrays(net()), [], order(**changes), randomness=Randomness(CountedBytes(1)))


def test_the_proximal_term_pulls_back_by_mu_times_what_was_gone() -> None:
    one, two, pulled = (from_noise_alone(steps_per_round=1), from_noise_alone(), from_noise_alone(prox_mu=0.5))
    for name in two:  # second step: -lr (g + mu (w - start)), and w - start is the first step
        assert np.allclose(pulled[name], two[name] - 0.1 * 0.5 * one[name], rtol=1e-4, atol=1e-6)
    assert any(np.any(pulled[name] != two[name]) for name in two)


def test_without_mu_not_one_bit_changes() -> None:
    one, other = from_noise_alone(), from_noise_alone(prox_mu=0.0)
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_the_proximal_term_takes_nothing_of_the_clipping_norm() -> None:
    """It is added outside: however large, the patients' part stays what it was."""
    model = net()
    parameters = list(model.parameters())
    start = [parameter.detach() - 100.0 for parameter in parameters]
    private_gradient(model, parameters, [], plan(), randomness=Randomness(CountedBytes(1)))
    before = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
    pull_towards(start, parameters, mu=0.25)
    for parameter, old in zip(parameters, before, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad - old, torch.full_like(old, 25.0), atol=1e-4)


def test_the_global_seed_of_torch_does_not_decide_the_noise() -> None:
    base = to_arrays(net())
    updates = []
    for _ in range(2):
        torch.manual_seed(0)
        updates.append(train_privately(base, [], order(), randomness=Randomness()))
    assert any(not np.array_equal(updates[0][name], updates[1][name]) for name in base)


def test_prepared_slabs_are_slices() -> None:
    slabs = PreparedSlabs(torch.zeros(5, 16, 16), torch.zeros(5, 16, 16, dtype=torch.uint8), torch.ones(5, 16, 16) > 0)
    drawn = Patient((slabs,)).draw(3, Randomness(CountedBytes(1)))
    assert drawn.inputs.shape == (3, 3, 16, 16)
    assert drawn.target.dtype == torch.int64


def test_the_schedule_decides_how_far_a_round_goes() -> None:
    base, fixed = to_arrays(net()), order(rounds=5, schedule=Schedule.COSINE)
    lengths = []
    for number in (1, 3, 5):
        asked = fixed.model_copy(update={"round": number})
        update = train_privately(base, [], asked, randomness=Randomness(CountedBytes(1)))
        lengths.append(float(np.sqrt(sum(np.square(array).sum() for array in update.values()))))
    assert lengths[1] == pytest.approx(0.55 * lengths[0], rel=1e-3)
    assert lengths[2] == pytest.approx(0.1 * lengths[0], rel=1e-3)
