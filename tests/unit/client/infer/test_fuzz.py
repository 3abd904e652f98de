"""Hostile bytes through the whole of reading: a volume or a code. Nothing else escapes, and the time-out of every test catches a hang."""

import gzip
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from client.infer.nifti import write_nifti
from client.infer.scan import dicom_scan, read_scan
from protocol.codes import Code
from protocol.errors import InvalidInputError
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.outcomes import code_of
from tests.fakes.scans import random_volume
from tests.shared import SHARED, needs_shared
from tests.unit.client.infer.test_slices import enhanced

CODES = {
    None, Code.UNREADABLE, Code.NOT_CT, Code.NOT_HU, Code.LOCALIZER, Code.MISSING_SLICES, Code.GANTRY_TILT, Code.MIXED_GEOMETRY,
    Code.NOT_AXIAL, Code.UNSUPPORTED_TRANSFER_SYNTAX,
}  # fmt: skip

EDITS = st.lists(
    st.tuples(st.sampled_from(["set", "cut", "insert", "ones", "copy"]), st.floats(0, 1), st.binary(min_size=1, max_size=6)),
    min_size=1, max_size=6,
)  # fmt: skip


def mutated(content: bytes, edits: list[tuple[str, float, bytes]], head: int) -> bytes:
    """Most edits fall into the header, where the harm is."""
    out = bytearray(content)
    for verb, where, what in edits:
        span = min(len(out) - 1, head if where < 0.8 else len(out) - 1)
        at = int((where / 0.8 if where < 0.8 else where) * span)
        if verb == "set":
            out[at : at + len(what)] = what
        elif verb == "cut":
            del out[at : at + 7 * len(what)]
        elif verb == "insert":
            out[at:at] = what
        elif verb == "ones":
            out[at : at + 4] = b"\xff\xff\xff\xff"
        else:
            out[at:at] = bytes(out[at : at + 30])
        if not out:
            return b""
    return bytes(out)


@cache
def seeds() -> tuple[bytes, ...]:
    plain = plain_series(2, 32)
    packed = []
    for syntax in (RLELossless, JPEGLSLossless):
        dataset = plain.dataset(1)
        dataset.compress(syntax, generate_instance_uid=False)
        packed.append(as_bytes(dataset))
    deflated = plain.dataset(1)
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return as_bytes(plain.dataset(1)), *packed, as_bytes(deflated), as_bytes(enhanced(3))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 4), edits=EDITS)
def test_mutated_dicom_is_a_volume_or_a_code(seed: int, edits: list[tuple[str, float, bytes]]) -> None:
    whole = as_bytes(plain_series(2, 32).dataset(0))
    assert code_of(lambda: dicom_scan([whole, mutated(seeds()[seed], edits, 1600)])) in CODES


@settings(max_examples=60, deadline=None)
@given(edits=EDITS)
def test_mutated_nifti_is_a_volume_or_a_code(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, float, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("nii")
    write_nifti(folder / "x.nii.gz", random_volume(1, (8, 8, 4)), np.eye(4))
    path = folder / "y.nii"
    path.write_bytes(mutated(gzip.decompress((folder / "x.nii.gz").read_bytes()), edits, 348))
    assert code_of(lambda: read_scan(path)) in CODES


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=400),
    prefix=st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b", bytes(128) + b"DICM", b"\x08\0"]),
)
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, prefix: bytes) -> None:
    path: Path = tmp_path_factory.mktemp("noise") / "x"
    path.write_bytes(prefix + content)
    with pytest.raises(InvalidInputError):
        read_scan(path)


@needs_shared
@settings(max_examples=40, deadline=None)
@given(which=st.integers(0, 1000), edits=EDITS)
def test_mutated_real_files(which: int, edits: list[tuple[str, float, bytes]]) -> None:
    files = sorted((SHARED / "data" / "dicom_stress").glob("*.dcm"))
    content = files[which % len(files)].read_bytes()
    assert code_of(partial(dicom_scan, [mutated(content, edits, 3000)])) in CODES
