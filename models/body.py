"""An invented chest: which tissue lies where, with variation from one seed to the next, and the lungs as an exact mask.

Lengths are millimetres in a frame of its own: x to the left, y to the back, z to the head, the origin between the lungs at
half their height. A body larger than the imaged box is shrunk into it, so that any grid shows a whole chest.
"""

from dataclasses import dataclass

import numpy as np

from models.fields import Field, smooth_noise
from models.morphology import Region
from models.quantify import LEFT, RIGHT
from models.volume import Mask, Spacing

AIR_HU, FAT_HU, MUSCLE_HU, BLOOD_HU, LIVER_HU, BONE_HU = -1000.0, -95.0, 50.0, 42.0, 58.0, 420.0


@dataclass(frozen=True, slots=True)
class Frame:
    """Coordinates of voxel centres in mm, broadcastable to (Z, Y, X)."""

    z: Field
    y: Field
    x: Field
    shape: tuple[int, int, int]
    spacing_mm: Spacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The measures of one person, in mm but for `inspiration` (HU of ordinary parenchyma) and `contrast`."""

    width: float
    depth: float
    lung_height: float
    lung_width: float
    lung_depth: float
    fat: float
    dome: float
    left_dome_rise: float
    heart: float
    inspiration: float
    gravity_hu: float
    contrast: bool
    stomach_gas: bool


@dataclass(frozen=True, slots=True)
class Body:
    """True HU before any scanner, and the lungs (1 right, 2 left)."""

    hu: Field
    lungs: Mask


def draw_build(rng: np.random.Generator, *, contrast: bool) -> Build:
    """Draw a person between small and large, well and poorly breathed in."""
    size = rng.uniform(0.88, 1.08)
    return Build(
        width=size * rng.uniform(158, 178), depth=size * rng.uniform(104, 124), lung_height=size * rng.uniform(205, 255),
        lung_width=size * rng.uniform(56, 66), lung_depth=size * rng.uniform(80, 94), fat=rng.uniform(6, 20), dome=rng.uniform(25, 55),
        left_dome_rise=rng.uniform(-12, 25), heart=rng.uniform(0.9, 1.15), inspiration=rng.uniform(-890, -800),
        gravity_hu=rng.uniform(5, 65), contrast=contrast, stomach_gas=bool(rng.random() < 0.6),  # noqa: PLR2004 - six in ten
    )  # fmt: skip


def frame_of(shape: tuple[int, int, int], spacing_mm: Spacing, build: Build) -> Frame:
    """Place the body's frame on a grid, shrinking the body where it would not fit."""
    needed = (1.22 * build.lung_height, 2.2 * build.depth, 2.08 * build.width)
    axes = []
    for axis, (count, mm, wanted) in enumerate(zip(shape, spacing_mm, needed, strict=True)):
        scale = max(1.0, wanted / (count * mm))
        centres = ((np.arange(count, dtype=np.float32) - (count - 1) / 2) * mm * scale).astype(np.float32)
        axes.append(centres.reshape([-1 if index == axis else 1 for index in range(3)]))
    return Frame(axes[0], axes[1], axes[2], shape, spacing_mm)


def draw_body(rng: np.random.Generator, shape: tuple[int, int, int], spacing_mm: Spacing, build: Build) -> Body:
    """Draw all tissues on a grid.

    Args:
        rng: The only source of randomness.
        shape: (Z, Y, X).
        spacing_mm: Along (z, y, x).
        build: The person's measures.
    """
    at = frame_of(shape, spacing_mm, build)
    hu = _torso(at, build)
    lungs = _lungs(rng, at, build)
    airway = _airway(at, build)
    hu = _organs(rng, at, build, hu, lungs)
    hu = np.where(lungs > 0, _parenchyma(rng, at, build, lungs), hu)
    hu = np.where(airway > 0, np.where(airway > 1, AIR_HU + 15, MUSCLE_HU - 30), hu)
    lungs = np.where(airway > 0, 0, lungs).astype(np.uint8)
    return Body(hu.astype(np.float32), lungs)


def _ellipsoid(at: Frame, centre: Spacing, radii: Spacing) -> Field:
    """Return the squared distance in radii, below one inside. Both triples are (z, y, x)."""
    z, y, x = ((c - o) / r for c, o, r in zip((at.z, at.y, at.x), centre, radii, strict=True))
    return np.asarray(z * z + y * y + x * x, dtype=np.float32)


def _tube(at: Frame, *, y: float, x: Field | float, radius: float) -> Region:
    """Return the inside of an upright tube whose axis may lean with z."""
    return np.asarray((at.y - y) ** 2 + (at.x - x) ** 2 < radius * radius)


def _torso(at: Frame, build: Build) -> Field:
    """Air, skin and fat, muscle, ribs and spine, and the table below."""
    narrow = 1.0 - 0.25 * np.clip((at.z - 0.42 * build.lung_height) / 60.0, 0, 1)
    shell = (np.abs(at.x) / (build.width * narrow)) ** 2.6 + (np.abs(at.y) / build.depth) ** 2.6
    flesh = (np.abs(at.x) / (build.width * narrow - build.fat)) ** 2.6 + (
        np.abs(at.y) / (build.depth - build.fat)
    ) ** 2.6
    hu = np.where(shell < 1, FAT_HU, AIR_HU)
    hu = np.where(flesh < 1, MUSCLE_HU, hu)
    ring = (flesh > 0.72) & (flesh < 0.86) & (at.z > -0.5 * build.lung_height)  # noqa: PLR2004 - the chest wall
    slope = at.z - 0.35 * at.y + 0.1 * np.abs(at.x)
    hu = np.where(ring & (np.mod(slope, 24.0) < 9), BONE_HU, hu)  # noqa: PLR2004 - ribs every 24 mm, 9 mm thick
    table = (np.abs(at.y - build.depth - 9) < 4) & (np.abs(at.x) < 200)  # noqa: PLR2004
    return np.where(table & (hu < -900), -250.0, hu)  # noqa: PLR2004 - only in air


def _lungs(rng: np.random.Generator, at: Frame, build: Build) -> Mask:
    """Two warped half-eggs with concave bases, dented by heart and spine."""
    bend = 5.0 * smooth_noise(rng, at.shape, at.spacing_mm, scale_mm=55.0)
    height = np.clip((at.z / build.lung_height + 0.5), 0, 1)  # 0 base, 1 apex
    taper = np.sqrt(np.clip(1.0 - height**3.2, 0, 1)) * (0.86 + 0.14 * np.clip(1.4 - height, 0, 1))
    heart = _ellipsoid(at, *_heart_place(build))
    spine = ((at.y - 0.66 * build.depth) / 34.0) ** 2 + (at.x / 30.0) ** 2
    wall = (np.abs(at.x) / build.width) ** 2.6 + (np.abs(at.y) / build.depth) ** 2.6 < 0.66  # noqa: PLR2004 - ribs and muscle outside
    free = wall & (heart > 1.08) & (spine > 1.0) & (np.abs(at.x) > 17 + 9 * (1 - height))  # noqa: PLR2004 - pericardium and mediastinum
    lungs = np.zeros(at.shape, np.uint8)
    for label, side, rise in ((RIGHT, -1.0, 8.0), (LEFT, 1.0, build.left_dome_rise)):
        middle = side * (build.lung_width + 14.0)
        egg = np.abs((at.x - middle) / build.lung_width) ** 2.3 + np.abs((at.y - 6.0) / build.lung_depth) ** 2.3
        top = np.clip(taper + bend / 400.0, 0.02, None)
        floor = (
            -0.5 * build.lung_height
            + rise
            + build.dome * (1.0 - ((at.x - middle) / build.lung_width) ** 2 - ((at.y + 12.0) / build.lung_depth) ** 2)
        )
        inside = (egg + bend / 90.0 < top**2.3) & (at.z > floor + 0.6 * bend) & (at.z < 0.5 * build.lung_height) & free
        lungs[np.broadcast_to(inside & (np.sign(at.x) == side), at.shape)] = label
    return lungs


def _heart_place(build: Build) -> tuple[Spacing, Spacing]:
    radii = (56.0 * build.heart, 46.0 * build.heart, 56.0 * build.heart)
    return (-0.26 * build.lung_height, -26.0, 20.0), radii


def _airway(at: Frame, build: Build) -> Mask:
    """Trachea and main bronchi: 1 wall, 2 lumen."""
    carina = 0.12 * build.lung_height
    airway = np.zeros(at.shape, np.uint8)
    for radius, mark in ((10.5, 1), (8.5, 2)):
        trachea = _tube(at, y=2.0, x=0.0, radius=radius) & (at.z > carina)
        airway[np.broadcast_to(trachea, at.shape)] = mark
        for side in (-1.0, 1.0):
            below = np.clip(carina - at.z, 0, None)
            bronchus = _tube(at, y=6.0, x=side * (4.0 + 0.9 * below), radius=radius - 2.0)
            reach = (at.z <= carina) & (below < 30)  # noqa: PLR2004 - a main bronchus is about 30 mm long in z
            airway[np.broadcast_to(bronchus & reach, at.shape)] = mark
    return airway


def _organs(rng: np.random.Generator, at: Frame, build: Build, hu: Field, lungs: Mask) -> Field:
    """Spine, heart, aorta, liver and stomach, with soft variation of tissue."""
    blood = BLOOD_HU + (rng.uniform(90, 260) if build.contrast else 0.0)
    abdomen = (at.z < -0.5 * build.lung_height + build.dome + 30) & (lungs == 0)
    belly = abdomen & (hu == MUSCLE_HU) & (np.abs(at.x) < 0.75 * build.width) & (np.abs(at.y) < 0.75 * build.depth)
    hu = np.where(belly, LIVER_HU + (40.0 if build.contrast else 0.0), hu)
    fat = (np.abs(at.x) < 30) & (at.y > -70) & (at.y < 40) & (at.z > -0.3 * build.lung_height) & (hu == MUSCLE_HU)  # noqa: PLR2004
    hu = np.where(fat & (smooth_noise(rng, at.shape, at.spacing_mm, scale_mm=12.0) > 0.2), FAT_HU, hu)  # noqa: PLR2004
    hu = np.where(_ellipsoid(at, *_heart_place(build)) < 1, blood, hu)
    hu = np.where(_tube(at, y=30.0, x=22.0, radius=12.5) & (at.z < 0.3 * build.lung_height), blood, hu)
    spine = ((at.y - 0.66 * build.depth) / 26.0) ** 2 + (at.x / 22.0) ** 2 < 1
    disc = np.mod(at.z, 27.0) < 6  # noqa: PLR2004 - a disc of 6 mm every 27 mm
    hu = np.where(spine, np.where(disc, 90.0, BONE_HU - 150), hu)
    if build.stomach_gas:
        place = (-0.5 * build.lung_height + build.left_dome_rise - 22.0, -30.0, 55.0)
        gas = (_ellipsoid(at, place, (22.0, 30.0, 38.0)) < 1) & (lungs == 0)
        hu = np.where(gas, np.where(at.y < -20, AIR_HU, 10.0), hu)  # noqa: PLR2004 - fluid level
    return hu + 6.0 * smooth_noise(rng, at.shape, at.spacing_mm, scale_mm=9.0) * (hu > -200)  # noqa: PLR2004 - tissue only


def _parenchyma(rng: np.random.Generator, at: Frame, build: Build, lungs: Mask) -> Field:
    """Air-filled lung with its gradient, texture, vessels and what is dense without being disease."""
    back = np.clip(at.y / build.lung_depth, -1, 1)
    hu = build.inspiration + build.gravity_hu * back + 14.0 * smooth_noise(rng, at.shape, at.spacing_mm, scale_mm=9.0)
    hu = hu + _vessels(rng, at) * (BLOOD_HU + (140 if build.contrast else 0) - hu)
    if rng.random() < 0.35:  # noqa: PLR2004 - emphysema in a third
        holes = smooth_noise(rng, at.shape, at.spacing_mm, scale_mm=14.0) + 0.6 * at.z / build.lung_height
        hu = np.where(holes > rng.uniform(1.0, 2.0), np.minimum(hu, -965.0), hu)
    if rng.random() < 0.35:  # noqa: PLR2004 - dependent density in a third, not disease
        depth = rng.uniform(4, 12)
        rim = np.clip(1.0 - (_back_edge(lungs, at) / depth), 0, 1)
        hu = hu + rim * rng.uniform(80, 220)
    return _nodules(rng, at, lungs, hu)


def _vessels(rng: np.random.Generator, at: Frame) -> Field:
    """Return the share of blood per voxel: where two random sheets cross runs a tube, thicker near the hila."""
    first = smooth_noise(rng, at.shape, at.spacing_mm, scale_mm=19.0)
    second = smooth_noise(rng, at.shape, at.spacing_mm, scale_mm=19.0)
    hilum = np.exp(-((np.abs(at.x) - 35.0) ** 2 + at.y**2 + at.z**2 / 2.0) / (2 * 45.0**2))
    return np.clip(1.4 - (first * first + second * second) / (0.016 + 0.05 * hilum), 0, 1).astype(np.float32)


def _back_edge(lungs: Mask, at: Frame) -> Field:
    """Return for each lung voxel the distance in mm to the hindmost lung voxel of its column."""
    inside = lungs > 0
    rows = np.arange(at.shape[1])[None, :, None]
    last = np.where(inside, rows, -1).max(axis=1, keepdims=True)
    distance: Field = ((last - rows) * at.spacing_mm[1]).astype(np.float32)
    return distance


def _nodules(rng: np.random.Generator, at: Frame, lungs: Mask, hu: Field) -> Field:
    """Add up to three solid nodules: dense, small, and no opacity."""
    where = np.argwhere(lungs > 0)
    for _ in range(int(rng.integers(0, 4)) if len(where) else 0):
        z, y, x = where[rng.integers(len(where))]
        centre = (float(at.z[z, 0, 0]), float(at.y[0, y, 0]), float(at.x[0, 0, x]))
        radius = rng.uniform(2.5, 7)
        hu = np.where(_ellipsoid(at, centre, (radius, radius, radius)) < 1, 30.0, hu).astype(np.float32)
    return hu
