"""The network: a small 2.5D U-Net that reads three neighbouring slices and labels the middle one.

Chosen for training under differential privacy on ordinary machines: GroupNorm only (nothing mixes patients), no in-place
operation and no transposed convolution (Opacus refuses or miscounts them), and a pixel-unshuffle stem, so that the dear
layers run at half resolution. The weights stay under 3 MB in float32.
"""

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

ARCHITECTURE = "lite-2p5d"
"""The name by which a release says which network its weights fit."""

CONTEXT = 3
"""Slices that the network sees at once."""

CLASSES = 3
"""0 neither, 1 ground glass, 2 consolidation."""

STRIDE = 16
"""Edges of the input must be multiples of this: the stem halves once, the encoder three times more."""

WIDTHS = (24, 40, 64, 88)
"""Channels per level of the opacity network."""

LUNG_WIDTHS = (16, 24, 40, 56)
"""Channels per level of the lung network, which is never trained at sites."""

_GROUPS = 8


class _Block(nn.Module):
    """Two 3x3 convolutions with GroupNorm and SiLU; the second adds to a 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(_GROUPS, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(_GROUPS, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, Y, X) to (B, outputs, Y, X)."""
        y = F.silu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        shortcut: Tensor = self.shortcut(x)
        return F.silu(y + shortcut)


class _Up(nn.Module):
    """Doubles the deeper map, narrows it by a 1x1 convolution and joins it with the map of the encoder."""

    def __init__(self, deep: int, skip: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(deep, skip, 1)
        self.block = _Block(skip, skip)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Map (B, deep, Y, X) and (B, skip, 2Y, 2X) to (B, skip, 2Y, 2X)."""
        wide = F.interpolate(self.narrow(deep), scale_factor=2.0, mode="nearest")
        joined: Tensor = self.block(wide + skip)
        return joined


class GgoNet(nn.Module):
    """The 2.5D U-Net.

    The lung network is the same body with fewer channels (`LUNG_WIDTHS`); its classes are 0 neither, 1 right, 2 left.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        steps = list(itertools.pairwise(widths))
        self.stem = nn.Conv2d(CONTEXT * 4, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList([_Block(widths[0], widths[0])] + [_Block(a, b) for a, b in steps])
        self.decoder = nn.ModuleList([_Up(b, a) for a, b in steps[::-1]])
        self.head = nn.Conv2d(widths[0], CLASSES * 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes, Y, X) of the middle slice of `x`.

        Args:
            x: Prepared HU (`models.slabs`), (B, 3, Y, X) with Y and X multiples of `STRIDE`.
        """
        y = self.stem(F.pixel_unshuffle(x, 2))  # (B, 24, Y/2, X/2)
        skips: list[Tensor] = []
        for depth, block in enumerate(self.encoder):
            y = block(y if depth == 0 else F.avg_pool2d(y, 2))
            skips.append(y)
        for up, skip in zip(self.decoder, skips[-2::-1], strict=True):
            y = up(y, skip)
        return F.pixel_shuffle(self.head(y), 2)
