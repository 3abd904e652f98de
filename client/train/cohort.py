"""The site's labelled patients, their studies prepared once and kept on the disk.

The truth of a study is its mask; where only a reader's zone scores are known, a mask is made of them (`models.weak`). A prepared study is
slabs in the network's window (float16: 0.3 HU at most are lost), truth and lung, as safetensors that is mapped into memory, so that a
step over thousands of patients touches only the slices it draws. It can be made again at any time and is never backed up;
`<study key>-<label>.safetensors` changes its name with the label, so a stale one is never read.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import cast

import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from client.store.files import write_durably
from client.store.records import MaskLabel, TrainingCase
from client.train.private import Patient
from models.net import GgoNet
from models.scored import prepare_scored
from models.slabs import PatientSlices, PreparedSlabs, prepare_slabs
from models.volume import Volume
from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError, UnavailableError

_PREPARATION = "1"
"""Changes whenever `models.slabs` prepares differently."""

_Array = NDArray[np.int16] | NDArray[np.uint8]

log = logging.getLogger(__name__)


class Cohort:
    """Turns labelled studies into patients to train on; prepared studies lie in `folder`."""

    def __init__(self, folder: Path, network: Callable[[str], GgoNet], device: str = "cpu") -> None:
        """Prepare the cohort.

        Args:
            folder: Of prepared studies.
            network: Returns the network of a release on the site's shelf, in evaluation mode.
            device: Where it runs.
        """
        self._folder = folder
        self._network = network
        self._device = device
        self._unreadable: set[Path] = set()

    def readable(self, cases: Sequence[TrainingCase]) -> list[TrainingCase]:
        """Return the studies but for those of which it is known that they cannot be prepared.

        Those whose files could not be read, as long as these stay as they are; and those whose zone scores are placed by a release that is not on
        this node, or that was taken back. Left in, each would cost every round in which it is sampled, after the charge.
        """
        places = dict[str, bool]()
        return [case for case in cases if self._path(case) not in self._unreadable and self._is_placed(case, places)]

    def _is_placed(self, case: TrainingCase, places: dict[str, bool]) -> bool:
        """Say whether a study is prepared already, or has what its label needs; `places` keeps what is known of releases."""
        if isinstance(case.label, MaskLabel) or self._path(case).exists():
            return True
        name = case.label.model_release
        if name not in places:
            try:
                places[name] = self._network(name) is not None
            except (RefusedError, InvalidInputError) as error:
                log.warning("studies.left-out", extra={"release": name, "code": error.code.value})
                places[name] = False
        return places[name]

    def patients(self, cases: Sequence[TrainingCase]) -> list[Patient]:
        """Return one patient for each subject, with all studies of theirs. Nothing is read yet."""
        by_subject = groupby(sorted(cases, key=_subject), key=_subject)
        return [Patient(tuple(PreparedStudy(self, case) for case in own)) for _, own in by_subject]

    def prepare(self, case: TrainingCase) -> Path:
        """Return the file of the prepared study; it is made if it is not there.

        Raises:
            UnavailableError: `node-fault` if the study's files, or the release for its zone scores, cannot be read; `disk-full`.
        """
        path = self._path(case)
        if not path.exists():
            write_durably(path, _serialised(self._prepared(case)))
            self._drop_stale(case, path)
            log.info("study.prepared", extra={"study": case.study_key})
        return path

    def _path(self, case: TrainingCase) -> Path:
        made_from = f"{_PREPARATION}:{case.label.identity}:{_stamp(case.volume_path)}:{_stamp(case.lungs_path)}"
        return self._folder / f"{case.study_key}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}.safetensors"

    def _prepared(self, case: TrainingCase) -> PreparedSlabs:
        """Prepare a study.

        Raises:
            UnavailableError: `node-fault`.
        """
        try:
            hu, spacing_mm = _read(case.volume_path)
            volume, lungs = Volume(hu.astype(np.int16), spacing_mm), _read(case.lungs_path)[0].astype(np.uint8)
            if isinstance(case.label, MaskLabel):
                return prepare_slabs(volume, lungs, _read(case.label.path)[0].astype(np.uint8))
            return prepare_scored(
                volume, lungs, case.label.points, self._release(case, case.label.model_release), device=self._device
            )
        except (OSError, EOFError, ValueError, ImageFileError) as error:
            self._unreadable.add(self._path(case))
            log.warning("study.unreadable", extra={"study": case.study_key})
            raise UnavailableError(
                Code.NODE_FAULT,
                f"The files of study {case.study_key} cannot be read. Measure it again: `ingest --remeasure`.",
            ) from error

    def _release(self, case: TrainingCase, name: str) -> GgoNet:
        """Return the network that turns the zone scores of a study into a mask.

        Raises:
            UnavailableError: `node-fault`.
        """
        try:
            return self._network(name)
        except (RefusedError, InvalidInputError) as error:
            raise UnavailableError(
                Code.NODE_FAULT,
                f"{name}, which places the zone scores of study {case.study_key}, is not on this node or is damaged. Restore"
                " its folder in models/, or hold the label out: `label hold-out`.",
            ) from error

    def _drop_stale(self, case: TrainingCase, present: Path) -> None:
        for path in self._folder.glob(f"{case.study_key}-*.safetensors"):
            if path != present:
                path.unlink(missing_ok=True)


class PreparedStudy:
    """One study of a patient; prepared when it is first looked at."""

    def __init__(self, cohort: Cohort, case: TrainingCase) -> None:
        self._cohort = cohort
        self._case = case
        self._slabs: PreparedSlabs | None = None

    def __len__(self) -> int:
        return len(self._mapped())

    def take(self, index: Sequence[int]) -> PatientSlices:
        """Return the slices at these places.

        Raises:
            UnavailableError: `node-fault`, `disk-full`.
        """
        return self._mapped().take(index)

    def _mapped(self) -> PreparedSlabs:
        if self._slabs is None:
            path = self._cohort.prepare(self._case)
            try:
                with safe_open(path, framework="pt") as file:
                    self._slabs = PreparedSlabs(*(file.get_tensor(name) for name in ("slabs", "target", "valid")))
            except (SafetensorError, OSError) as error:
                path.unlink(missing_ok=True)
                raise UnavailableError(
                    Code.NODE_FAULT, f"{path} was damaged. It is made again when asked for."
                ) from error
        return self._slabs


def _serialised(slabs: PreparedSlabs) -> bytes:
    """Return a prepared study as safetensors."""
    return save(
        {"slabs": slabs.slabs.half(), "target": slabs.target.to(torch.uint8), "valid": slabs.valid.contiguous()}
    )


def _read(path: Path) -> tuple[_Array, tuple[float, float, float]]:
    """Return an array (Z, Y, X) and its spacing in mm along the same axes."""
    image = Nifti1Image.from_filename(path)
    x_mm, y_mm, z_mm = (float(mm) for mm in image.header.get_zooms()[:3])  # type: ignore[no-untyped-call] # nibabel
    return cast("_Array", np.asarray(image.dataobj).transpose(2, 1, 0)), (z_mm, y_mm, x_mm)


def _stamp(path: Path) -> str:
    """Return what changes when the file is replaced; empty if it is not there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ""
    return f"{found.st_size}:{found.st_mtime_ns}"


def _subject(case: TrainingCase) -> str:
    return case.subject_key
