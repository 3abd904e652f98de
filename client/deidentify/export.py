"""De-identifies one DICOM file: bytes in, bytes out."""

from io import BytesIO

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID

from client.deidentify.engine import Names, deidentify
from client.deidentify.profile import Options
from client.deidentify.refusals import require_known_pixels
from client.store.part10 import Content, coded, read_part10

IMPLEMENTATION = UID("2.25.130271914283420962163205637203816450471")
"""Names this software in the files that it writes."""
IMPLEMENTATION_VERSION = "ACINUS_1"


def deidentify_file(content: Content, names: Names, options: Options | None = None) -> tuple[str, bytes]:
    """Return a name and the bytes of the de-identified copy.

    The name is keyed. Preamble and file meta group are written anew, so nothing of the sender's stays in them; pixel data stays bit for
    bit, in the transfer syntax in which it came.

    Args:
        content: A DICOM file.
        names: The site's pseudonyms, or forgotten ones.
        options: What the hospital chose; the least if left out.

    Raises:
        InvalidInputError: `unreadable`, `unsupported-transfer-syntax`, or the code of a kind that `refusals.py` does not pass on.
        UnavailableError: `node-fault` if the installed table is damaged.
    """
    source = read_part10(content, pixels=True)
    with coded():
        syntax = UID(source.file_meta.TransferSyntaxUID)
        require_known_pixels(source, syntax)
        clean = deidentify(source, names, options)
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = syntax
        meta.MediaStorageSOPClassUID = clean.SOPClassUID
        meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
        meta.ImplementationClassUID = IMPLEMENTATION
        meta.ImplementationVersionName = IMPLEMENTATION_VERSION
        out = BytesIO()
        encoding = {"is_implicit_VR": syntax.is_implicit_VR, "is_little_endian": syntax.is_little_endian}
        FileDataset(out, clean, file_meta=meta, preamble=bytes(128), **encoding).save_as(out, enforce_file_format=True)
        name = f"{str(clean.StudyInstanceUID)[5:15]}/{str(clean.SOPInstanceUID)[5:21]}.dcm"
        return name, out.getvalue()
