"""Weights as files and as arrays: safetensors on disk, numpy on the wire, never pickle."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from models.net import LUNG_WIDTHS, GgoNet
from protocol.codes import Code
from protocol.errors import InvalidInputError

STARTING = Path(__file__).parent / "weights" / "starting.safetensors"
"""Release `ggo@0`: the weights that every wheel carries, made by `python -m models.pretrain`."""

LUNGS = Path(__file__).parent / "weights" / "lungs.safetensors"
"""The lung network: fixed, never trained at sites."""

Arrays = dict[str, NDArray[np.float32]]


def to_arrays(net: torch.nn.Module) -> Arrays:
    """Return the parameters of `net` by name, as float32 copies."""
    return {name: tensor.detach().cpu().numpy().astype(np.float32).copy() for name, tensor in net.state_dict().items()}


def from_arrays(arrays: Mapping[str, NDArray[np.float32]]) -> GgoNet:
    """Return an opacity network with these parameters, in evaluation mode.

    Raises:
        InvalidInputError: `bad-shape` if a name or a shape does not fit the architecture or a value is not finite.
    """
    net = GgoNet()
    _fill(net, arrays)
    return net


def load_net(path: Path) -> GgoNet:
    """Return the opacity network stored at `path`, in evaluation mode.

    Raises:
        InvalidInputError: `not-found` without the file, `bad-shape` if it does not fit the architecture.
    """
    return from_arrays(load_arrays(path))


def load_lung_net(path: Path = LUNGS) -> GgoNet:
    """Return the lung network (0 neither, 1 right lung, 2 left lung), in evaluation mode.

    Raises:
        InvalidInputError: As `load_net`.
    """
    net = GgoNet(LUNG_WIDTHS)
    _fill(net, load_arrays(path))
    return net


def save_arrays(arrays: Mapping[str, NDArray[np.float32]], path: Path) -> None:
    """Write `arrays` to `path` as safetensors, all or nothing."""
    draft = path.with_name(path.name + ".part")
    save_file({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}, draft)
    draft.replace(path)


def load_arrays(path: Path) -> Arrays:
    """Read safetensors from `path`.

    Raises:
        InvalidInputError: `not-found` without the file, `bad-shape` if it is damaged or of another format.
    """
    try:
        return dict(load_file(path))
    except FileNotFoundError as error:
        raise InvalidInputError(
            Code.NOT_FOUND, f"There are no weights at {path}; make them with `python -m models.pretrain`."
        ) from error
    except (SafetensorError, OSError) as error:
        raise InvalidInputError(
            Code.BAD_SHAPE, f"{path} is not a readable safetensors file; fetch the release again."
        ) from error


def _fill(net: GgoNet, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    if {name: array.shape for name, array in arrays.items()} != expected:
        raise InvalidInputError(Code.BAD_SHAPE, "The weights are of another architecture than lite-2p5d.")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise InvalidInputError(Code.BAD_SHAPE, "The weights hold values that are not finite.")
    net.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    net.eval()
