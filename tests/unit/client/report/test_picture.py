"""The picture: the right slices, the right sides, the banner, and nobody's name."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from client.report.picture import (
    CONSOLIDATION_COLOUR,
    GROUND_GLASS_COLOUR,
    OUTLINE_COLOUR,
    draw_picture,
    outline,
    overlay,
    slices_to_show,
)

DOCUMENT = {
    "ggo_fraction": 0.12, "consolidation_fraction": 0.03, "opacity_fraction": 0.15, "opacity_interval": [0.1, 0.2],
    "lung_volume_ml": 4321.0, "severity": {"score": 9}, "quality": ["contrast"], "model_release": "ggo@0",
}  # fmt: skip


def chest() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hu = np.full((9, 40, 40), 40, np.int16)
    lungs = np.zeros(hu.shape, np.uint8)
    lungs[:, 10:30, 5:18], lungs[:, 10:30, 22:35] = 1, 2
    hu[lungs > 0] = -850
    opacity = np.zeros_like(lungs)
    opacity[4, 12:20, 24:30] = 1  # in the patient's left lung only
    opacity[4, 20:24, 24:30] = 2
    return hu, lungs, opacity


def picture(spacing_mm: tuple[float, float, float] = (5.0, 2.0, 2.0)) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(draw_picture(*chest(), spacing_mm, DOCUMENT))).convert("RGB")).astype(int)


def near(rgb: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Orange that was laid over dark lung: more red than blue by far."""
    return (rgb[..., 0] - rgb[..., 2] > 40) & (rgb[..., 1] - rgb[..., 2] > 20)


def test_the_patients_left_is_on_the_right() -> None:
    panel = picture()[50:460, 16 + 436 : 16 + 436 + 420]
    found = near(panel, GROUND_GLASS_COLOUR)
    assert found.sum() > 500
    assert np.argwhere(found)[:, 1].min() > panel.shape[1] / 2


def test_overlay_colours_what_was_found_and_nothing_else() -> None:
    hu, lungs, opacity = chest()
    rgb = overlay(hu[4], lungs[4], opacity[4])
    edge = outline(lungs[4])
    assert (rgb[edge] == OUTLINE_COLOUR).all()
    grey = ~edge & (opacity[4] == 0)
    assert (rgb[grey].max(axis=1) == rgb[grey].min(axis=1)).all()
    for label, colour in ((1, GROUND_GLASS_COLOUR), (2, CONSOLIDATION_COLOUR)):
        inside = rgb[(opacity[4] == label) & ~edge].astype(int)
        assert np.argmax(inside.mean(axis=0)) == np.argmax(colour)


def test_the_outline_parts_the_lungs() -> None:
    lungs = np.zeros((6, 8), np.uint8)
    lungs[1:5, 1:4], lungs[1:5, 4:7] = 1, 2
    edge = outline(lungs)
    assert edge[2, 3]
    assert edge[2, 4]
    assert not edge[2, 2]


@pytest.mark.parametrize(("depth", "expected"), [(1, 1), (2, 2), (40, 3)])
def test_slices_lie_within_the_lungs(depth: int, expected: int) -> None:
    lungs = np.zeros((depth + 10, 4, 4), np.uint8)
    lungs[5 : 5 + depth, 1:3, 1:3] = 1
    planes = slices_to_show(lungs)
    assert len(planes) == expected
    assert all(5 <= z < 5 + depth for z in planes)
    assert planes == sorted(planes, reverse=True), "from the head down"


def test_without_lungs_the_middle_is_shown() -> None:
    assert slices_to_show(np.zeros((9, 4, 4), np.uint8)) == [4]


def test_non_square_pixels_are_drawn_square() -> None:
    panel = picture((5.0, 4.0, 2.0))[44 : 44 + 420, 452:872]
    lit = np.argwhere(near(panel, GROUND_GLASS_COLOUR))
    height, width = lit.max(axis=0) - lit.min(axis=0)
    assert height / width == pytest.approx(8 * 4.0 / (6 * 2.0), rel=0.15), "8 rows of 4 mm, 6 columns of 2 mm"


def test_the_banner_is_in_the_head() -> None:
    head = picture()[:44, :500]
    assert (head.sum(axis=2) > 400).sum() > 300, "letters"


def test_png_holds_no_text_chunks() -> None:
    content = draw_picture(*chest(), (5.0, 2.0, 2.0), DOCUMENT)
    assert not any(kind in content for kind in (b"tEXt", b"iTXt", b"zTXt", b"eXIf"))
