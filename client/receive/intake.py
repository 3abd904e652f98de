"""The one door: an instance becomes durable and indexed, or goes to quarantine with a code. The receiver and `ingest` both use it."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from client.deidentify.orders import ORDER_TAGS, orders_of
from client.deidentify.pseudonyms import Pseudonyms
from client.receive.masks import MASK_CLASSES, study_of_mask
from client.store.arrivals import WHOLE_STUDY
from client.store.files import disk_faults, make_folder
from client.store.glance import read_head
from client.store.part10 import coded, dataset_sha256, read_part10, with_clean_preamble
from client.store.records import Admission, InstanceKeys
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError

CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
"""The SOP classes that hold CT slices; everything else is not for this node."""

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "IssuerOfPatientID", "Modality",
    "NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances",
    *ORDER_TAGS,
]  # fmt: skip
_MOST_UID = 64
_MOST_COUNT_DIGITS = 5
_COPY_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What the receiver saw of a file while it wrote it, so that nobody need read it again."""

    sha256: str
    """Of the data set (`part10.dataset_sha256`)."""
    head: bytes
    """The beginning of the data set."""
    syntax: str
    """Its transfer syntax UID."""


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

    def take(self, spooled: Path, *, glimpse: Glimpse | None = None, association: str | None = None) -> Taken:
        """Keep the file at `spooled`. When this returns, it is on the disk and in the index.

        Args:
            spooled: A DICOM file with a clean preamble on the store's file system; stays for the caller to remove.
            glimpse: What the caller knows of it already.
            association: The node's name of the association that brought it; the study is not complete while that is open.

        Raises:
            UnavailableError: `disk-full`; the sender must try again.
        """
        sha256 = glimpse.sha256 if glimpse is not None else dataset_sha256(spooled)
        try:
            header = self._header(spooled, glimpse)
            if header.get("SOPClassUID") in MASK_CLASSES:
                return self._take_mask(spooled, sha256)
            keys, announced = self._named(header)
        except InvalidInputError as error:
            self._store.quarantine(spooled, sha256, error.code)
            return Taken(None, None, error.code)
        if association is not None:
            self._store.arrivals.hold(keys.study_key, association)
        admission = self._store.admit(keys, spooled, sha256)
        if admission is Admission.DELETED:
            return Taken(None, admission, Code.STUDY_DELETED)
        for series_key, instances in announced.items():
            self._store.arrivals.expect(keys.study_key, instances, series_key=series_key)
        if admission is Admission.CONFLICTING:
            self._store.quarantine(spooled, sha256, Code.ALREADY_EXISTS)
            return Taken(keys.study_key, admission, Code.ALREADY_EXISTS)
        return Taken(keys.study_key, admission)

    def _take_mask(self, spooled: Path, sha256: str) -> Taken:
        """Keep a mask that a person drew on a series of this node, until the worker makes a label of it.

        Raises:
            InvalidInputError: `unreadable`, `machine-made`, `no-label-match`.
            UnavailableError: `disk-full`.
        """
        try:
            study_key = study_of_mask(spooled, self._store, self._pseudonyms)
        except RefusedError as error:
            return Taken(None, Admission.DELETED, error.code)
        fresh = self._store.drawn.keep(study_key, spooled, sha256)
        return Taken(study_key, Admission.STORED if fresh else Admission.KNOWN)

    @staticmethod
    def _header(spooled: Path, glimpse: Glimpse | None) -> Dataset:
        """Read what is needed of a header.

        Raises:
            InvalidInputError: `unreadable`.
        """
        header = read_head(glimpse.head, glimpse.syntax, _TAGS) if glimpse is not None else None
        return header if header is not None else read_part10(spooled, pixels=False, tags=_TAGS)

    def _named(self, header: Dataset) -> tuple[InstanceKeys, dict[str, int]]:
        """Return the names of a CT, and how many instances the sender says its study and its series have.

        Raises:
            InvalidInputError: `unreadable` or `not-ct`.
        """
        with coded():
            if header.get("SOPClassUID") not in CT_CLASSES or header.get("Modality", "CT") != "CT":
                raise InvalidInputError(Code.NOT_CT, "The object is not a CT image; this node measures chest CT only.")
            patient_id, issuer = str(header.get("PatientID") or ""), str(header.get("IssuerOfPatientID") or "")
            keys = self._pseudonyms.instance_keys(
                study_uid=_uid(header, "StudyInstanceUID"),
                series_uid=_uid(header, "SeriesInstanceUID"),
                instance_uid=_uid(header, "SOPInstanceUID"),
                patient_id=patient_id,
                issuer=issuer,
            )
            names = self._pseudonyms.study_names(orders=orders_of(header), patient_id=patient_id, issuer=issuer)
            keys = self._store.known_as(replace(keys, context=names))
            counts = {
                WHOLE_STUDY: _count(header, "NumberOfStudyRelatedInstances"),
                keys.series_key: _count(header, "NumberOfSeriesRelatedInstances"),
            }
            return keys, {series_key: count for series_key, count in counts.items() if count}


def spool(content: bytes, folder: Path) -> Path:
    """Write `content`, its preamble zeroed, to a new file in `folder`, for `Intake.take`.

    Raises:
        UnavailableError: `disk-full`.
    """
    with disk_faults():
        make_folder(folder)
        with _new_file(folder) as file:
            file.write(with_clean_preamble(content))
    return Path(file.name)


def spool_file(source: Path, folder: Path) -> Path:
    """Copy a file, its preamble zeroed, to a new file in `folder`, a piece at a time.

    Raises:
        InvalidInputError: `not-found` if it is gone, `unreadable` if it may not be read.
        UnavailableError: `disk-full`.
    """
    try:
        stream = source.open("rb")
    except FileNotFoundError as error:
        raise InvalidInputError(Code.NOT_FOUND, "The file is not there any more.") from error
    except OSError as error:
        raise InvalidInputError(Code.UNREADABLE, "The file cannot be opened. Check its permissions.") from error
    with stream, disk_faults():
        make_folder(folder)
        with _new_file(folder) as file:
            file.write(with_clean_preamble(stream.read(_COPY_STEP)))
            shutil.copyfileobj(stream, file, _COPY_STEP)
    return Path(file.name)


@contextmanager
def _new_file(folder: Path) -> Iterator[IO[bytes]]:
    """Open a new file in `folder`; what cannot be written to its end does not stay."""
    file = tempfile.NamedTemporaryFile(dir=folder, suffix=".dcm", delete=False)  # noqa: SIM115 - closed below, kept if whole
    try:
        with file:
            yield file
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise


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


def _count(header: Dataset, keyword: str) -> int:
    """Return an announced number of instances; 0 for none, or one that no study has."""
    text = str(header.get(keyword) or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_COUNT_DIGITS else 0


def _uid(header: Dataset, keyword: str) -> str:
    """Return a UID that identifies something. It is only ever hashed: what it looks like does not matter.

    Raises:
        InvalidInputError: `unreadable` if it is absent or longer than a UID can be.
    """
    value = str(header.get(keyword) or "").strip()
    if not value or len(value) > _MOST_UID:
        raise InvalidInputError(Code.UNREADABLE, "The object lacks a study, series or instance UID.")
    return value
