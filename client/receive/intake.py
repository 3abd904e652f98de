"""The one door: an instance becomes durable and indexed, or goes to quarantine with a code. The receiver and `ingest` both use it."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import FileDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from client.deidentify.pseudonyms import Pseudonyms
from client.store.files import disk_faults, make_folder
from client.store.part10 import coded, dataset_sha256, read_part10, with_clean_preamble
from client.store.records import Admission, InstanceKeys
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.errors import InvalidInputError

CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
"""The SOP classes that hold CT slices; everything else is not for this node."""

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "IssuerOfPatientID", "Modality",
]  # fmt: skip
_MOST_UID = 64


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an instance: its study and how it was admitted, or the code with which it went to quarantine."""

    study_key: str | None
    admission: Admission | None
    code: Code | None = None


class Intake:
    """Takes instances into one store."""

    def __init__(self, store: StudyStore, pseudonyms: Pseudonyms) -> None:
        self._store = store
        self._pseudonyms = pseudonyms

    def take(self, spooled: Path) -> Taken:
        """Keep the file at `spooled`. When this returns, it is on the disk and in the index.

        Args:
            spooled: A DICOM file with a clean preamble on the store's file system; stays for the caller to remove.

        Raises:
            UnavailableError: `disk-full`; the sender must try again.
        """
        sha256 = dataset_sha256(spooled)
        try:
            keys = self._keys(spooled)
        except InvalidInputError as error:
            self._store.quarantine(spooled, sha256, error.code)
            return Taken(None, None, error.code)
        admission = self._store.admit(keys, spooled, sha256)
        if admission is Admission.CONFLICTING:
            self._store.quarantine(spooled, sha256, Code.ALREADY_EXISTS)
            return Taken(keys.study_key, admission, Code.ALREADY_EXISTS)
        return Taken(keys.study_key, admission)

    def _keys(self, spooled: Path) -> InstanceKeys:
        """Read the header of a CT.

        Raises:
            InvalidInputError: `unreadable` or `not-ct`.
        """
        header = read_part10(spooled, pixels=False, tags=_TAGS)
        with coded():
            if header.get("SOPClassUID") not in CT_CLASSES or header.get("Modality", "CT") != "CT":
                raise InvalidInputError(Code.NOT_CT, "The object is not a CT image; this node measures chest CT only.")
            return self._pseudonyms.instance_keys(
                study_uid=_uid(header, "StudyInstanceUID"),
                series_uid=_uid(header, "SeriesInstanceUID"),
                instance_uid=_uid(header, "SOPInstanceUID"),
                patient_id=str(header.get("PatientID") or ""),
                issuer=str(header.get("IssuerOfPatientID") or ""),
            )


def spool(content: bytes, folder: Path) -> Path:
    """Write `content`, its preamble zeroed, to a new file in `folder`, for `Intake.take`.

    Raises:
        UnavailableError: `disk-full`.
    """
    with disk_faults():
        make_folder(folder)
        descriptor, name = tempfile.mkstemp(dir=folder, suffix=".dcm")
        with os.fdopen(descriptor, "wb") as file:
            file.write(with_clean_preamble(content))
    return Path(name)


def take_bytes(intake: Intake, content: bytes, folder: Path) -> Taken:
    """Spool `content` in `folder`, take it in and remove the spooled file.

    Raises:
        UnavailableError: `disk-full`.
    """
    spooled = spool(content, folder)
    try:
        return intake.take(spooled)
    finally:
        spooled.unlink(missing_ok=True)


def sweep(folder: Path, *, keep: Callable[[Path], bool] = lambda _path: False) -> int:
    """Remove what a killed receiver left half-received in `folder`; none of it was acknowledged. Return how many files."""
    make_folder(folder)
    left = [path for path in folder.iterdir() if path.is_file() and not keep(path)]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def _uid(header: FileDataset, keyword: str) -> str:
    """Return a UID that identifies something. It is only ever hashed: what it looks like does not matter.

    Raises:
        InvalidInputError: `unreadable` if it is absent or longer than a UID can be.
    """
    value = str(header.get(keyword) or "").strip()
    if not value or len(value) > _MOST_UID:
        raise InvalidInputError(Code.UNREADABLE, "The object lacks a study, series or instance UID.")
    return value
