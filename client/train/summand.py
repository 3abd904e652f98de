"""What a site adds to a secure sum: one private step's clipped gradients and its share of the noise, as integers."""

from collections.abc import Sequence

import numpy as np

from client.train.noise import Randomness
from client.train.private import Patient, clipped_sum, trained_parameters
from models.weights import from_arrays
from protocol.plan import RoundOrder
from strategies.arrays import Arrays
from strategies.securesum.grid import grid_of
from strategies.securesum.pads import Words
from strategies.securesum.terms import Terms


def private_summand(
    base: Arrays,
    patients: Sequence[Patient],
    order: RoundOrder,
    *,
    terms: Terms,
    randomness: Randomness,
    device: str = "cpu",
) -> Words:
    """Return the sum of the sampled patients' clipped gradients at `base` with this site's share of the noise, on the plan's grid.

    Args:
        base: Weights at the start of the round.
        patients: The site's labelled patients.
        order: The plan's public numbers.
        terms: Of the circle that the noise is shared in.
        randomness: Where samples and noise come from.
        device: A torch device.

    Returns:
        Shape (D,): all parameters of `base` in the order of their names, modulo 2^32; zero where `plan.scope` leaves a parameter alone.

    Raises:
        InvalidInputError: `bad-shape` if `base` is of another architecture, `bad-setting` if the plan has no sound secure summation.
    """
    plan, privacy = order.plan, order.plan.privacy
    grid = grid_of(plan)
    net = from_arrays(base).to(device).train()
    parameters = trained_parameters(net, plan.scope)
    batch = [patients[i] for i in randomness.chosen(len(patients), rate=privacy.sample_rate)]
    drawn = (patient.draw(plan.slices_per_patient, randomness, looks=plan.looks) for patient in batch)
    std = terms.share_of_noise(privacy.noise_multiplier) * privacy.clipping_norm
    totals = clipped_sum(net, parameters, drawn, bound=privacy.clipping_norm)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    words = {name: np.zeros(array.size, np.uint32) for name, array in base.items()}
    for parameter, total in zip(parameters, totals, strict=True):
        noise = randomness.normal64((total.numel(),), std=std).numpy()
        words[names[id(parameter)]] = grid.summand(total.cpu().numpy().ravel(), noise)
    return np.concatenate([words[name] for name in sorted(words)])
