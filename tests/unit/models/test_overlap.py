"""The smoothed Dice of a prepared study: exact counts, and sense for healthy lungs."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from models.overlap import smoothed_dice
from models.slabs import PatientSlices


class Marker(nn.Module):
    """Calls opacity whatever is positive in the middle slice."""

    def forward(self, inputs: Tensor) -> Tensor:
        opacity = 10.0 * inputs[:, 1:2].sign()
        return torch.cat([-opacity, opacity, torch.full_like(opacity, -100.0)], dim=1)


class Study:
    """Ten slices of 10 by 10 lung pixels: `found` and `true` pixels of opacity in each, from the left."""

    def __init__(self, found: int, true: int, *, lung: int = 100, slices: int = 10) -> None:
        places = torch.arange(100).view(10, 10)
        self.slices = slices
        self.input = torch.where(places < found, 1.0, -1.0)
        self.target = (places < true).long()
        self.valid = places < lung

    def __len__(self) -> int:
        return self.slices

    def take(self, index: Sequence[int], /) -> PatientSlices:
        n = len(index)
        inputs = self.input.expand(n, 3, 10, 10)
        return PatientSlices(inputs, self.target.expand(n, 10, 10), self.valid.expand(n, 10, 10))


@pytest.mark.parametrize(
    ("found", "true", "score"),
    [(20, 20, 1.0), (0, 0, 1.0), (1, 0, 0.5), (20, 10, 21 / 31), (0, 50, 1 / 51), (10, 20, 21 / 31)],
    ids=["all of it", "healthy and seen so", "one percent too much", "twice", "missed", "half"],
)
def test_the_score_counts_pixels(found: int, true: int, score: float) -> None:
    assert smoothed_dice(Marker(), Study(found, true)) == pytest.approx(score)  # type: ignore[arg-type]


def test_what_is_outside_the_lungs_does_not_count() -> None:
    assert smoothed_dice(Marker(), Study(100, 50, lung=50)) == 1.0  # type: ignore[arg-type]


def test_a_study_without_lung_counts_neither_way() -> None:
    assert smoothed_dice(Marker(), Study(100, 0, lung=0)) == 1.0  # type: ignore[arg-type]


def test_every_slice_is_looked_at_once() -> None:
    assert smoothed_dice(Marker(), Study(20, 10, slices=7)) == pytest.approx(21 / 31)  # type: ignore[arg-type]


class Overflowing(nn.Module):
    """Answers what is no number wherever the slice is bright."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.where(inputs > 0, float("nan"), inputs)


def test_a_network_that_overflows_has_a_score_between_0_and_1_all_the_same() -> None:
    """A site's sums are made of differences of such scores, and what is no number would pass their noise."""
    assert 0.0 <= smoothed_dice(Overflowing(), Study(30, 60)) <= 1.0  # type: ignore[arg-type] # all that is asked of a network
