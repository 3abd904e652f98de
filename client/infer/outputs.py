"""Writes what a measurement leaves behind: SEG, SR, masks on the input's grid, the picture, the page."""

import gzip
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from client.infer.nifti import write_nifti, zyx_to_nifti
from client.infer.quantify import Result
from client.infer.stack import Stack
from client.report.page import Earlier, make_page
from client.report.picture import draw_picture
from client.store.coarse import HEADER_BYTES, coarse_copy
from client.store.files import disk_faults, make_folder, sweep_drafts, write_durably
from client.store.part10 import as_part10, coded, read_part10
from client.store.results import COARSE_CT, COARSE_MASK, CT, LUNGS, MASK, PICTURE, REPORT, SEG, SR


@cache
def software_version() -> str:
    """Return the version of this program as it is installed."""
    try:
        return version("acinus")
    except PackageNotFoundError:
        return "unpacked"


def write_outputs(result: Result, folder: Path) -> list[str]:
    """Write the files of `quantify --out` and return their names.

    They are made in a hidden folder beside their places and moved when all of them are whole; those of an earlier scan go.

    Raises:
        UnavailableError: `disk-full`; the folder is then as it was.
    """
    picture = picture_of(result)
    contents = {PICTURE: picture, REPORT: page_of(result, picture), **dicom_objects(result)}
    with disk_faults("The results"):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".acinus-", dir=folder) as drafts:
            draft = Path(drafts)
            result.scan.write_on_own_grid(draft / MASK, result.measurement.opacity)
            result.scan.write_on_own_grid(draft / LUNGS, result.measurement.lungs)
            for name, content in contents.items():
                (draft / name).write_bytes(content)
            names = [MASK, LUNGS, *contents]
            for name in names:
                (draft / name).replace(folder / name)
        for name in {SEG, SR} - set(names):
            (folder / name).unlink(missing_ok=True)
    return names


def write_study(
    result: Result, folder: Path, *, previous: Dataset | None = None, earlier: Sequence[Earlier] = ()
) -> None:
    """Write a study's results durably: volume and masks on the canonical grid, picture and page, SEG and SR.

    Each file is replaced as a whole; the row in the index makes the set count.

    Args:
        result: What was measured.
        folder: The study's.
        previous: The last SR of this study that went to the PACS, if any.
        earlier: The patient's earlier scans, the latest first.

    Raises:
        InvalidInputError: `unreadable` if the source headers cannot carry SEG and SR; nothing is written then.
        UnavailableError: `disk-full`.
    """
    objects = dicom_objects(result, previous)
    with disk_faults():
        make_folder(folder)
        sweep_drafts(folder)
    scan, measurement = result.scan, result.measurement
    grids: dict[str, NDArray[np.int16] | NDArray[np.uint8]] = {
        CT: scan.volume.hu, MASK: measurement.opacity, LUNGS: measurement.lungs,
    }  # fmt: skip
    for name, values in grids.items():
        turned, affine = zyx_to_nifti(values, scan.affine)
        write_nifti(folder / name, turned, affine, durable=True)
    for name, whole, values in ((COARSE_CT, CT, scan.volume.hu), (COARSE_MASK, MASK, measurement.opacity)):
        write_durably(folder / name, coarse_copy(_header_of(folder / whole), values))
    picture = picture_of(result)
    write_durably(folder / PICTURE, picture)
    write_durably(folder / REPORT, page_of(result, picture, earlier))
    for name, content in objects.items():
        write_durably(folder / name, content)


def _header_of(path: Path) -> bytes:
    with gzip.open(path) as file:
        return file.read(HEADER_BYTES)


def picture_of(result: Result) -> bytes:
    """Return the picture of a result, PNG."""
    scan, measurement = result.scan, result.measurement
    return draw_picture(scan.volume.hu, measurement.lungs, measurement.opacity, scan.volume.spacing_mm, result.document)


def page_of(result: Result, picture: bytes, earlier: Sequence[Earlier] = ()) -> bytes:
    """Return the report of a result as a page of HTML."""
    return make_page(result.document, picture, software=software_version(), earlier=earlier)


def dicom_objects(result: Result, previous: Dataset | None = None) -> dict[str, bytes]:
    """Return SEG and SR by file name; nothing for a scan that did not come as DICOM.

    Args:
        result: What was measured.
        previous: The SR that this one takes the place of, if any.

    Raises:
        InvalidInputError: `unreadable` if the source headers cannot carry them.
    """
    stack = result.scan.stack
    if stack is None:
        return {}
    from client.report.seg import make_segmentation
    from client.report.sr import make_report

    own = result.scan.on_own_grid(result.measurement.opacity)
    with coded("The header of the series"):
        headers, mask = _sources(stack, own)
        release = str(result.document["model_release"])
        number = 1 if previous is None else int(previous.get("InstanceNumber") or 0) + 1
        software = software_version()
        segmentation = make_segmentation(headers, mask, release=release, software=software, instance_number=number)
        report = make_report(headers, segmentation, result.document, software=software, previous=previous)
        return {SEG: as_part10(segmentation), SR: as_part10(report)}


def _sources(stack: Stack, own: NDArray[np.uint8]) -> tuple[list[Dataset], NDArray[np.uint8]]:
    """Return source headers and the mask in their order: slices that exist, none of the bridged ones."""
    present = own[list(stack.slots)]  # (slices, rows, columns)
    if stack.slices[0].frame is None:
        return [read_part10(one.content, pixels=False) for one in stack.slices], present
    header = read_part10(stack.slices[0].content, pixels=False)
    frames = np.zeros((int(header.NumberOfFrames), *own.shape[1:]), np.uint8)
    frames[[one.frame or 0 for one in stack.slices]] = present
    return [header], frames
