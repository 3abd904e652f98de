"""The private step: DP-SGD with the patient as the unit.

    1. sample patients, each by itself with the plan's public rate q
    2. for each: one forward and backward pass over a few of their slices, in as many looks as the plan says; one loss, one gradient
    3. scale that gradient to at most the clipping norm C and add it to the sum; one that is not finite adds nothing
    4. add N(0, (σC)²) to every value of the sum, also when nobody was sampled
    5. divide by the plan's public expected batch, and step

    6. with `prox_mu`, before the step: add μ (w - w of the round's start), as FedProx does

(Abadi et al. 2016, arXiv:1607.00133, with groups as in McMahan et al. 2018, arXiv:1710.06963.) Nothing that is divided by, drawn
with or reported depends on how many patients the site has. One pass per patient costs about as much as ordinary training, where
per-sample hooks over slices would cost several times that and, folded, clip the slice instead of the patient.

The proximal term (Li et al. 2020, arXiv:1812.06127) comes after clipping and noise because it holds nothing of a patient: w is a function of
what the mechanism has put out already, so by post-processing the term costs no privacy. Inside the clipped gradient it would take up a
part of C that the patients pay for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from client.train.noise import Randomness
from models.looks import seen_again
from models.loss import patient_loss
from models.net import GgoNet
from models.prepare import AIR
from models.slabs import PatientSlices
from models.weights import from_arrays, to_arrays
from protocol.plan import RoundOrder, RunPlan, Scope
from strategies.arrays import Arrays

_TINY = 1e-6
"""Keeps the division safe for a zero gradient; the value that Opacus uses, so that the two can be compared."""


class Slices(Protocol):
    """The prepared slices of one study; they may lie on the disk."""

    def __len__(self) -> int:
        """How many slices there are."""
        ...

    def take(self, index: Sequence[int], /) -> PatientSlices:
        """Return the slices at these places."""
        ...


@dataclass(frozen=True, slots=True)
class Patient:
    """One person, however many studies they come from."""

    studies: tuple[Slices, ...]

    def draw(self, count: int, randomness: Randomness, *, looks: int = 1) -> PatientSlices:
        """Return at most `count` slices, drawn over all studies alike and padded to the largest of them; as they are, and `looks` - 1 times anew.

        All of them together give one loss and one gradient, so however many looks there are, the patient is clipped once.
        """
        wanted, first, pieces = randomness.some(sum(map(len, self.studies)), count), 0, []
        for study in self.studies:
            index = [i - first for i in wanted if first <= i < first + len(study)]
            first += len(study)
            if index:
                pieces.append(study.take(index))
        drawn = _stacked(pieces)
        return _stacked([drawn, *(seen_again(randomness.generator(), drawn) for _ in range(looks - 1))])


def train_privately(
    base: Arrays,
    patients: Sequence[Patient],
    order: RoundOrder,
    *,
    randomness: Randomness,
    device: str = "cpu",
    after_step: Callable[[int], None] = lambda _: None,
) -> dict[str, NDArray[np.float32]]:
    """Return the update (new minus base) of one round: as many private steps from `base` as the plan says.

    Args:
        base: Weights at the start of the round.
        patients: The site's labelled patients.
        order: The plan's public numbers, and the round, which decides the learning rate.
        randomness: Where samples and noise come from.
        device: A torch device.
        after_step: Called with the number of steps that are done.

    Returns:
        float32 by parameter name; zero where `plan.scope` leaves a parameter alone.

    Raises:
        InvalidInputError: `bad-shape` if `base` is of another architecture.
    """
    plan = order.plan
    net = from_arrays(base).to(device).train()
    parameters = trained_parameters(net, plan.scope)
    start = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.SGD(parameters, lr=plan.learning_rate_of(order.round), momentum=plan.momentum)
    for step in range(plan.privacy.steps_per_round):
        batch = [patients[i] for i in randomness.chosen(len(patients), rate=plan.privacy.sample_rate)]
        private_gradient(net, parameters, batch, plan, randomness=randomness)
        pull_towards(start, parameters, mu=plan.prox_mu)
        optimizer.step()
        after_step(step + 1)
    after = to_arrays(net)
    return {name: after[name] - base[name] for name in after}


def trained_parameters(net: GgoNet, scope: Scope) -> list[nn.Parameter]:
    """Return the parameters that `scope` trains; the others are frozen."""
    last = {id(p) for p in [*net.decoder[-1].parameters(), *net.head.parameters()]}
    norms = {id(p) for m in net.modules() if isinstance(m, nn.GroupNorm) for p in m.parameters()}
    chosen = {Scope.ALL: None, Scope.LAST_BLOCK: last, Scope.NORMS: norms}[scope]
    for parameter in net.parameters():
        parameter.requires_grad_(chosen is None or id(parameter) in chosen)
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def private_gradient(
    net: GgoNet, parameters: Sequence[nn.Parameter], batch: Sequence[Patient], plan: RunPlan, *, randomness: Randomness
) -> None:
    """Put the noised mean of the clipped patients' gradients into `.grad` of `parameters`."""
    privacy = plan.privacy
    drawn = (patient.draw(plan.slices_per_patient, randomness, looks=plan.looks) for patient in batch)
    std = privacy.noise_multiplier * privacy.clipping_norm
    for parameter, total in zip(
        parameters, clipped_sum(net, parameters, drawn, bound=privacy.clipping_norm), strict=True
    ):
        noise = randomness.normal(tuple(total.shape), std=std).to(total.device)
        parameter.grad = (total + noise) / privacy.expected_batch


def pull_towards(start: Sequence[Tensor], parameters: Sequence[nn.Parameter], *, mu: float) -> None:
    """Add the gradient of FedProx's term, μ/2 ‖w - start‖², to `.grad` of `parameters`."""
    if not mu:
        return
    for parameter, origin in zip(parameters, start, strict=True):
        pull = mu * (parameter.detach() - origin)
        parameter.grad = pull if parameter.grad is None else parameter.grad + pull


def clipped_sum(
    net: GgoNet, parameters: Sequence[nn.Parameter], batch: Iterable[PatientSlices], *, bound: float
) -> list[Tensor]:
    """Return the sum of the patients' gradients, each scaled to a norm of at most `bound`; zero for nobody.

    A gradient that is not finite, or longer than float32 can say, adds nothing. Scaled it would still make the whole sum NaN, which no
    noise hides: weights made to overflow for some image would tell who was sampled. Nothing is within the bound like any other share.
    """
    summed = [torch.zeros_like(parameter) for parameter in parameters]
    for patient in batch:
        gradient = _patient_gradient(net, parameters, patient)
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradient]))
        if not torch.isfinite(norm):
            continue
        factor = (bound / (norm + _TINY)).clamp(max=1.0)
        for total, part in zip(summed, gradient, strict=True):
            total.add_(part * factor)
    return summed


def mixed_precision(device: torch.device) -> bool:
    """Say whether the network's layers compute in bfloat16: on a GPU that has units for it.

    Parameters, their gradients, the loss, norms, clipping, sum and noise are float32 everywhere, so what one patient adds has a norm of at
    most C however the gradient was rounded on its way. float16 would need the loss scaled, and overflow for some patients.
    """
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def _stacked(pieces: Sequence[PatientSlices]) -> PatientSlices:
    """Put slices of several studies together: padded with air on the far sides, where nothing counts as lung.

    >>> import torch
    >>> one, two = (PatientSlices(torch.zeros(1, 3, y, 16), torch.zeros(1, y, 16).long(), torch.ones(1, y, 16) > 0) for y in (16, 32))
    >>> _stacked([one, two]).inputs.shape
    torch.Size([2, 3, 32, 16])
    """
    height, width = (max(piece.inputs.shape[axis] for piece in pieces) for axis in (-2, -1))

    def together(parts: Sequence[Tensor], fill: float) -> Tensor:
        return torch.cat(
            [F.pad(part, (0, width - part.shape[-1], 0, height - part.shape[-2]), value=fill) for part in parts]
        )

    return PatientSlices(
        together([piece.inputs for piece in pieces], AIR),
        together([piece.target for piece in pieces], 0),
        together([piece.valid for piece in pieces], 0),
    )


def _patient_gradient(net: GgoNet, parameters: Sequence[nn.Parameter], patient: PatientSlices) -> tuple[Tensor, ...]:
    """One backward pass over the patient's slices, (S, 3, Y, X)."""
    device = parameters[0].device
    # torch 2.13 crashes in GroupNorm's backward pass for a channels-last input whose gradient nobody wants, as it is when
    # convolutions are frozen; so the gradient of the slices themselves is asked for, too.
    frozen = any(not parameter.requires_grad for parameter in net.parameters())
    inputs = patient.inputs.to(device).detach().requires_grad_(frozen)
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision(device)):
        logits = net(inputs)
    loss = patient_loss(
        logits.float() if logits.dtype is torch.bfloat16 else logits,
        patient.target.to(device),
        patient.valid.to(device),
    )
    return torch.autograd.grad(loss, [*parameters, *([inputs] if frozen else [])])[: len(parameters)]
