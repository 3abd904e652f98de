"""Sends DICOM files as a modality or a PACS does: C-STORE over one association, again for what was not acknowledged."""

import time
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from deploy.local.failures import StepFailed

CALLING = "DEMOPACS"
"""What the sender calls itself; each hospital names it among those who may send."""
_NOT_SUPPORTED = 0x0122
"""SOP class not supported (PS3.7 annex C.5.6)."""
_CONTEXTS = 100
"""An association carries at most 128 presentation contexts (PS3.8 section 9.3.2.2: odd numbers in a byte)."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where to send."""

    port: int
    ae_title: str
    calling: str = CALLING


@dataclass(frozen=True, slots=True)
class RealStudy:
    """A study that is no phantom, as it was sent: how many instances of it the receiver acknowledged."""

    study_uid: str
    instances: int


def send(paths: Iterable[Path], receiver: Receiver, *, patience_s: float = 60.0) -> Iterator[tuple[Path, int | None]]:
    """Send each file until it is answered, and yield it with its status; `None` when an answer never came and it is sent again.

    A dead receiver is tried again until `patience_s` have passed since the last answer: that is what a PACS queue does.

    Raises:
        StepFailed: If no answer came for that long.
    """
    _config.STORE_SEND_CHUNKED_DATASET = True  # the bytes of the file as they are: a damaged one is sent damaged
    waiting = list(paths)
    association: Association | None = None
    last_answer = time.monotonic()
    contexts = _contexts(waiting)
    while waiting:
        if time.monotonic() - last_answer > patience_s:
            raise StepFailed(f"the receiver on port {receiver.port} did not answer for {patience_s:.0f} s", "")
        if association is None:
            association = _associate(receiver, contexts)
            continue
        status = _store(association, waiting[0]) if association.is_established else None
        yield waiting[0], status
        if status is None:
            association.abort()
            association = None
        else:
            waiting.pop(0)
            last_answer = time.monotonic()
    if association is not None and association.is_established:
        association.release()


def dicom_files(source: Path, unpacked: Path) -> list[Path]:
    """Return every DICOM file in `source`: a file, a folder or zips in it (unpacked below `unpacked`)."""
    found = []
    for path in sorted([source] if source.is_file() else source.rglob("*")):
        if path.suffix.lower() == ".zip":
            found += _unzipped(path, unpacked / path.stem)
        elif path.is_file() and _is_dicom(path):
            found.append(path)
    return found


def uids(path: Path) -> tuple[str, str]:
    """Return the UIDs of the study and of the instance in the DICOM file at `path`."""
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID", "SOPInstanceUID"])
    return str(header.StudyInstanceUID), str(header.SOPInstanceUID)


def _store(association: Association, path: Path) -> int | None:
    """Return the DICOM status that the receiver answered, or `None` if the association broke first."""
    try:
        answer = association.send_c_store(str(path))
    except (RuntimeError, ConnectionError):  # pynetdicom: the association went away between two messages
        return None
    except (
        ValueError,
        AttributeError,
    ):  # pynetdicom: no context was accepted for this kind of object, or it has no UID
        return _NOT_SUPPORTED
    return int(answer.Status) if "Status" in answer else None


def _associate(receiver: Receiver, contexts: list[PresentationContext]) -> Association | None:
    entity = AE(ae_title=receiver.calling)
    entity.acse_timeout = entity.network_timeout = 10
    entity.dimse_timeout = 30
    association = entity.associate("127.0.0.1", receiver.port, contexts=contexts, ae_title=receiver.ae_title)
    if association.is_established:
        return association
    time.sleep(0.3)
    return None


def _contexts(paths: list[Path]) -> list[PresentationContext]:
    """Return one context for each pair of SOP class and transfer syntax: files are sent as they are, never converted."""
    pairs = set()
    for path in paths:
        meta = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"]).file_meta
        pairs.add((str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)))
    plain = {ExplicitVRLittleEndian, ImplicitVRLittleEndian}
    ordered = sorted(pairs, key=lambda pair: (pair[1] in plain, pair))
    return [build_context(sop_class, syntax) for sop_class, syntax in ordered[:_CONTEXTS]]


def _unzipped(archive: Path, folder: Path) -> list[Path]:
    """Unpack the DICOM files of `archive` under plain numbers: names inside a zip are not to be trusted."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    with zipfile.ZipFile(archive) as content:
        for number, entry in enumerate(entry for entry in content.infolist() if not entry.is_dir()):
            path = folder / f"{number:06d}.dcm"
            path.write_bytes(content.read(entry))
            if _is_dicom(path):
                found.append(path)
    return found


def _is_dicom(path: Path) -> bool:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except (InvalidDicomError, EOFError, OSError):
        return False
    return "MediaStorageSOPClassUID" in header.file_meta
