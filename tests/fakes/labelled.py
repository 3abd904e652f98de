"""Labelled studies as the store keeps them, drawn small: volume, lungs and label as NIfTI on one grid."""

import hashlib
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image

from client.store.records import MaskLabel, TrainingCase
from models.phantom import PROFILES, make_phantom

SPACING_MM = (8.0, 4.0, 4.0)
SHAPE = (10, 80, 80)


def labelled_study(folder: Path, study: int, subject: int) -> TrainingCase:
    """Write one study, if it is not there yet; the same numbers give the same study."""
    paths = {name: folder / f"{study}-{name}.nii.gz" for name in ("ct", "lungs", "label")}
    if not paths["label"].exists():
        _draw(study, paths)
    return TrainingCase(
        subject_key=f"subject-{subject}", study_key=f"study-{study}", volume_path=paths["ct"], lungs_path=paths["lungs"],
        label=MaskLabel(paths["label"], hashlib.sha256(paths["label"].read_bytes()).hexdigest()),
    )  # fmt: skip


def _draw(study: int, paths: dict[str, Path]) -> None:
    made = make_phantom(study, profile=PROFILES["ge-standard"], disease=0.3, shape=SHAPE, spacing_mm=SPACING_MM)
    z_mm, y_mm, x_mm = SPACING_MM
    for name, values in (("ct", made.volume.hu), ("lungs", made.lungs), ("label", made.opacity)):
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        turned = np.ascontiguousarray(values.transpose(2, 1, 0))
        Nifti1Image(turned, np.diag([-x_mm, -y_mm, z_mm, 1.0])).to_filename(paths[name])  # type: ignore[no-untyped-call] # nibabel
