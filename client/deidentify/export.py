"""De-identifies one DICOM file: bytes in, bytes out."""

from io import BytesIO

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID

from client.deidentify.profile import deidentify
from client.deidentify.pseudonyms import Pseudonyms
from client.store.part10 import Content, coded, read_part10

IMPLEMENTATION = UID("2.25.130271914283420962163205637203816450471")
"""Names this software in the files that it writes."""


def deidentify_file(content: Content, pseudonyms: Pseudonyms) -> tuple[str, bytes]:
    """Return a name and the bytes of the de-identified copy. The name is keyed; the preamble is empty.

    Args:
        content: A DICOM file.
        pseudonyms: The site's, or forgotten ones.

    Raises:
        InvalidInputError: `unreadable`, `not-ct`, `burned-in`.
    """
    source = read_part10(content, pixels=True)
    with coded():
        clean = deidentify(source, pseudonyms)
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
        meta.MediaStorageSOPClassUID = clean.SOPClassUID
        meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
        meta.ImplementationClassUID = IMPLEMENTATION
        out = BytesIO()
        FileDataset(out, clean, file_meta=meta, preamble=bytes(128)).save_as(out, enforce_file_format=True)
        name = f"{str(clean.StudyInstanceUID)[5:15]}/{str(clean.SOPInstanceUID)[5:21]}.dcm"
        return name, out.getvalue()
