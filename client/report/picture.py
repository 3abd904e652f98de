"""The picture: three cross-sections with the finding laid over them, the numbers, the flags and the banner. No identifier."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from client.report.concepts import BANNER

WINDOW_HU = (-1350.0, 150.0)
"""Lung window: level -600, width 1500."""

GROUND_GLASS_COLOUR, CONSOLIDATION_COLOUR, OUTLINE_COLOUR = (255, 176, 0), (220, 38, 127), (100, 143, 255)
"""Three colours that colour-blind readers can tell apart (IBM's palette)."""

_PANEL = 420
_MARGIN = 16
_HEAD, _FOOT = 44, 108
_OPAQUENESS = 0.38
_PLACES = (0.75, 0.5, 0.25)
"""Where the cross-sections lie, as shares of the lungs' height from the feet; shown from the head down."""

_PAPER, _INK, _WARN = (16, 18, 22), (235, 238, 242), (255, 203, 107)

Rgb = NDArray[np.uint8]


def draw_picture(
    hu: NDArray[np.int16],
    lungs: NDArray[np.uint8],
    opacity: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    document: Mapping[str, Any],
) -> bytes:
    """Return a PNG.

    Patient left is on the right, as radiologists look at slices; the front is up.

    Args:
        hu: (Z, Y, X) in the orientation of `models.volume`.
        lungs: 1 right, 2 left.
        opacity: 1 ground glass, 2 consolidation.
        spacing_mm: (z, y, x).
        document: The answer of `docs/reference/quantify.md`.
    """
    planes = slices_to_show(lungs)
    sheet = Image.new("RGB", (len(_PLACES) * (_PANEL + _MARGIN) + _MARGIN, _HEAD + _PANEL + _FOOT), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, z in enumerate(planes):
        panel = _fitted(overlay(hu[z], lungs[z], opacity[z]), spacing_mm[1:])
        left = _MARGIN + place * (_PANEL + _MARGIN)
        sheet.paste(panel, (left + (_PANEL - panel.width) // 2, _HEAD + (_PANEL - panel.height) // 2))
        _label(pen, left, f"slice {z + 1} of {len(hu)}")
    _write(pen, sheet.width, document)
    out = BytesIO()
    sheet.save(out, "PNG", compress_level=6)
    return out.getvalue()


def slices_to_show(lungs: NDArray[np.uint8]) -> list[int]:
    """Return up to three slices, from the head down, at three quarters, half and a quarter of the lungs' height."""
    present = np.flatnonzero(lungs.any(axis=(1, 2)))
    if present.size == 0:
        return [len(lungs) // 2]
    return sorted({int(present[int(place * (present.size - 1) + 0.5)]) for place in _PLACES}, reverse=True)


def overlay(hu: NDArray[np.int16], lungs: NDArray[np.uint8], opacity: NDArray[np.uint8]) -> Rgb:
    """Return one cross-section in the lung window with finding and lung outline laid over it, (Y, X, 3)."""
    low, high = WINDOW_HU
    grey = np.clip((hu.astype(np.float32) - low) / (high - low), 0, 1) * 255
    rgb = np.repeat(grey[..., None], 3, axis=2)
    for label, colour in ((1, GROUND_GLASS_COLOUR), (2, CONSOLIDATION_COLOUR)):
        here = opacity == label
        rgb[here] = (1 - _OPAQUENESS) * rgb[here] + _OPAQUENESS * np.array(colour, np.float32)
    rgb[outline(lungs)] = OUTLINE_COLOUR
    return rgb.astype(np.uint8)


def outline(lungs: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels of each lung that touch something else."""
    padded = np.pad(lungs, 1)
    centre = padded[1:-1, 1:-1]
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.asarray((centre > 0) & np.any([side != centre for side in sides], axis=0))


def _fitted(rgb: Rgb, spacing_mm: tuple[float, ...]) -> Image.Image:
    """Scale to the panel with square millimetres."""
    height_mm, width_mm = rgb.shape[0] * spacing_mm[0], rgb.shape[1] * spacing_mm[1]
    scale = _PANEL / max(height_mm, width_mm)
    size = max(1, round(width_mm * scale)), max(1, round(height_mm * scale))
    return Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR)


def _label(pen: ImageDraw.ImageDraw, left: int, text: str) -> None:
    places = (((6, _PANEL - 22), text, 14), ((6, _PANEL // 2), "R", 18), ((_PANEL - 20, _PANEL // 2), "L", 18))
    for (x, y), word, size in places:
        pen.text((left + x, _HEAD + y), word, fill=_INK, font=_font(size), stroke_width=2, stroke_fill=_PAPER)


def _write(pen: ImageDraw.ImageDraw, width: int, document: Mapping[str, Any]) -> None:
    """Write banner, numbers, key and flags."""
    pen.text((_MARGIN, 12), BANNER, fill=_WARN, font=_font(20))
    made_by = f"{document['model_release']}"
    pen.text((width - _MARGIN - pen.textlength(made_by, font=_font(15)), 15), made_by, fill=_INK, font=_font(15))
    top = _HEAD + _PANEL + 12
    low, high = document["opacity_interval"]
    numbers = (
        (f"Ground glass {_percent(document['ggo_fraction'])}", GROUND_GLASS_COLOUR),
        (f"Consolidation {_percent(document['consolidation_fraction'])}", CONSOLIDATION_COLOUR),
        (f"Opacity {_percent(document['opacity_fraction'])} ({_percent(low)} to {_percent(high)})", _INK),
        (f"Lungs {document['lung_volume_ml'] / 1000:.2f} L", OUTLINE_COLOUR),
        (f"Zone score {document['severity']['score']} of 24", _INK),
    )
    left = float(_MARGIN)
    for text, colour in numbers:
        pen.text((left, top), text, fill=colour, font=_font(17))
        left += pen.textlength(text, font=_font(17)) + 26
    flags = ", ".join(flag.replace("-", " ") for flag in document["quality"]) or "none"
    pen.text(
        (_MARGIN, top + 34), f"Quality flags: {flags}", fill=_WARN if document["quality"] else _INK, font=_font(15)
    )
    pen.text((_MARGIN, top + 62), "Shares of lung volume. Blue line: lungs as found.", fill=_INK, font=_font(13))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
