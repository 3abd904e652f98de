"""The noise is normal, from the bytes it is given, and samples are drawn one patient at a time."""

import os
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from client.train.noise import Randomness
from tests.fakes.random_bytes import CountedBytes


def test_noise_is_normal_with_the_right_spread() -> None:
    drawn = Randomness(CountedBytes(1)).normal((200, 500), std=0.75).numpy().ravel()
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < 0.01
    assert drawn.std() == pytest.approx(0.75, rel=0.01)
    assert stats.kstest(drawn / 0.75, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(drawn)) < 0.05


def test_every_tensor_of_noise_has_a_key_of_its_own() -> None:
    source = CountedBytes(2)
    randomness = Randomness(source)
    first, second = (randomness.normal((3, 7), std=1.0) for _ in range(2))
    assert source.given == 2 * 32
    assert not torch.equal(first, second)


def test_neighbours_share_a_pair_of_uniforms_and_still_know_nothing_of_each_other() -> None:
    drawn = Randomness(CountedBytes(6)).normal((200_000,), std=1.0).numpy()
    for one, other in ((drawn[1:], drawn[:-1]), (drawn[1:] ** 2, drawn[:-1] ** 2), (np.abs(drawn[1:]), drawn[:-1])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.01


class Seen(Randomness):
    """Keeps the uniforms of each draw, and lets a test change them."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor] = lambda values: values) -> None:
        super().__init__(CountedBytes(7))
        self.change = change
        self.seen: list[torch.Tensor] = []

    def _uniform(self) -> Callable[[int], torch.Tensor]:
        draw = super()._uniform()

        def changed(count: int) -> torch.Tensor:
            self.seen.append(self.change(draw(count)).clone())
            return self.seen[-1].clone()

        return changed


def test_a_value_is_a_sum_of_four_normals() -> None:
    def without_the_first_radius(values: torch.Tensor) -> torch.Tensor:
        values.view(2, 2, -1)[0, 0] = 1.0 - 1e-12  # it is nothing then: of four normals two are left
        return values

    drawn = Seen(without_the_first_radius).normal((50_000,), std=1.0).numpy()
    assert drawn.std() == pytest.approx(np.sqrt(0.5), rel=0.02)


@pytest.mark.parametrize("count", [1, 4094, 4095, 4096, 4097, 10_000])
def test_every_value_is_made_of_its_own_two_pairs_also_where_pieces_meet(count: int) -> None:
    """By hand: the cosine of the pair after it and the sine of its own, twice over. Pieces go on in one stream and repeat nothing."""
    randomness = Seen()
    drawn = randomness.normal64((count,), std=2.0).numpy()
    pairs = np.concatenate([piece.view(2, 2, -1).numpy() for piece in randomness.seen], axis=2)
    assert pairs.shape == (2, 2, count + 1)
    assert len(np.unique(pairs)) == pairs.size
    radius, angle = np.sqrt(-2.0 * np.log(pairs[0])), 2.0 * np.pi * pairs[1]
    expected = (radius * np.cos(angle))[:, 1:].sum(axis=0) + (radius * np.sin(angle))[:, :-1].sum(axis=0)
    assert np.allclose(drawn, expected, rtol=0, atol=1e-12)


def test_the_operating_system_is_asked_unless_a_test_says_otherwise() -> None:
    assert Randomness.__init__.__defaults__ == (os.urandom,)
    torch.manual_seed(0)
    first = Randomness().normal((16,), std=1.0)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - to show that it changes nothing
    assert not torch.equal(first, Randomness().normal((16,), std=1.0))


def test_no_draw_is_infinite_at_the_ends_of_the_interval() -> None:
    for word in (0, 2**64 - 1):
        extreme = ((word >> 12) + 0.5) * 2.0**-52
        drawn = Seen(lambda values, extreme=extreme: torch.full_like(values, extreme)).normal((4,), std=1.0)  # type: ignore[misc]
        assert torch.isfinite(drawn).all()


def test_patients_enter_a_step_one_by_one_at_the_public_rate() -> None:
    randomness = Randomness(CountedBytes(3))
    steps = [randomness.chosen(40, rate=0.25) for _ in range(2000)]
    sizes = np.array([len(step) for step in steps])
    assert sizes.mean() == pytest.approx(10, abs=0.3)
    assert sizes.var() == pytest.approx(40 * 0.25 * 0.75, rel=0.12)  # a fixed batch would have none
    each = np.bincount(np.concatenate(steps), minlength=40) / len(steps)
    assert each.min() > 0.2
    assert each.max() < 0.3


@pytest.mark.parametrize(("rate", "expected"), [(1.0, list(range(5))), (1e-12, [])])
def test_the_ends_of_the_rate(rate: float, expected: list[int]) -> None:
    assert Randomness(CountedBytes(4)).chosen(5, rate=rate) == expected


def test_slices_are_different_ones_in_order_and_never_more_than_there_are() -> None:
    randomness = Randomness(CountedBytes(5))
    some = randomness.some(30, 8)
    assert some == sorted(set(some))
    assert len(some) == 8
    assert randomness.some(3, 8) == [0, 1, 2]
