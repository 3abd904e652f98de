"""Bytes that would run a program if they were unpickled, in every place where weights come from the network: nothing of them runs.

`test_architecture.py` looks for what could unpickle in our own code. This looks at what the libraries below it do with such bytes.
"""

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from models.weights import load_arrays, load_net
from protocol.codes import Code
from strategies.message import pack_notice, pack_order, unpack_notice, unpack_order
from tests.fakes.outcomes import code_of
from tests.fakes.rounds import a_notice, an_order, weights


class Runs:
    """Whoever unpickles this touches a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.canary,)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "ran"


def plain(canary: Path) -> bytes:
    return pickle.dumps(Runs(canary))


def in_numpy(canary: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Runs(canary)], dtype=object), allow_pickle=True)
    return file.getvalue()


def in_torch(canary: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"w": Runs(canary)}, file)
    return file.getvalue()


FORMS = [plain, in_numpy, in_torch]


@pytest.mark.parametrize("form", FORMS)
def test_weights_in_a_message_are_never_unpickled(form: Callable[[Path], bytes], canary: Path) -> None:
    content = form(canary)
    for packed, unpack in (
        (pack_order(an_order(), weights()), unpack_order),
        (pack_notice(a_notice(), weights()), unpack_notice),
    ):
        ((name, record),) = packed.config_records.items()
        for key, value in record.items():
            if isinstance(value, bytes):
                swapped = ConfigRecord({**record, key: content})
                assert (
                    code_of(lambda unpack=unpack, swapped=swapped, name=name: unpack(RecordDict({name: swapped})))
                    is Code.BAD_SHAPE
                )  # type: ignore[misc]
        array = Array(dtype="object", shape=(1,), stype="numpy.ndarray", data=content)
        both = RecordDict({name: record, "arrays": ArrayRecord({"w": array})})
        assert code_of(lambda unpack=unpack, both=both: unpack(both)) is Code.BAD_SHAPE  # type: ignore[misc]
    assert not canary.exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_weights_is_never_unpickled(form: Callable[[Path], bytes], canary: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(form(canary))
    for load in (load_net, load_arrays):
        assert code_of(lambda load=load: load(path)) is not None  # type: ignore[misc]
    assert not canary.exists()


def test_the_bytes_do_run_where_somebody_unpickles_them(canary: Path) -> None:
    for form, load in (
        (plain, pickle.loads),
        (in_numpy, lambda content: np.load(io.BytesIO(content), allow_pickle=True)),
        (in_torch, lambda content: torch.load(io.BytesIO(content), weights_only=False)),
    ):
        load(form(canary))
        assert canary.exists()
        canary.unlink()
