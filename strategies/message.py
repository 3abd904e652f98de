"""What our Flower messages hold: weights as one array, their names and shapes beside it, and one shape as canonical JSON.

The shape is a `RoundOrder` on the way to a site and an `UpdateNotice` on the way back.
"""

import json
from typing import Annotated, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, TypeAdapter

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.plan import RoundOrder, UpdateNotice
from protocol.shape import Shape, canonical_json
from strategies.arrays import Arrays, cut, layout_of, size_of

S = TypeVar("S", bound=Shape)

ARRAYS, ORDER, NOTICE = "arrays", "order", "notice"
_FLAT, _JSON, _LAYOUT = "flat", "json", "layout"
_FORMAT = "acinus.float32"

_ParameterName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]{1,200}$")]
_Shape = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(max_length=8)]
_LAYOUTS: TypeAdapter[tuple[tuple[_ParameterName, _Shape], ...]] = TypeAdapter(
    tuple[tuple[_ParameterName, _Shape], ...]
)


def pack_order(order: RoundOrder, base: Arrays) -> RecordDict:
    """Return the content of a message that asks a site to train from `base`."""
    return _pack(ORDER, order, base)


def pack_notice(notice: UpdateNotice, update: Arrays) -> RecordDict:
    """Return the content of a site's reply: its update and what it says of it."""
    return _pack(NOTICE, notice, update)


def unpack_order(content: RecordDict) -> tuple[RoundOrder, dict[str, NDArray[np.float32]]]:
    """Return the order and the base weights of a message.

    Raises:
        InvalidInputError: `bad-shape` if the content is of another form; the message quotes nothing of it.
    """
    return _unpack(ORDER, RoundOrder, content)


def unpack_notice(content: RecordDict) -> tuple[UpdateNotice, dict[str, NDArray[np.float32]]]:
    """Return the notice and the update of a site's reply; neither is compared with the order yet.

    Raises:
        InvalidInputError: `bad-shape` if the content is of another form; the message quotes nothing of it.
    """
    return _unpack(NOTICE, UpdateNotice, content)


def _pack(name: str, shape: Shape, arrays: Arrays) -> RecordDict:
    """Put all weights into one array: Flower carries each array by some requests of its own, and a network has dozens of them."""
    layout = layout_of(arrays)
    flat = b"".join(np.ascontiguousarray(arrays[key], dtype="<f4").tobytes() for key, _ in layout)
    weights = Array(dtype="float32", shape=(len(flat) // 4,), stype=_FORMAT, data=flat)
    words = ConfigRecord({_JSON: canonical_json(shape).decode(), _LAYOUT: json.dumps(layout)})
    return RecordDict({ARRAYS: ArrayRecord({_FLAT: weights}), name: words})


def _unpack(name: str, kind: type[S], content: RecordDict) -> tuple[S, dict[str, NDArray[np.float32]]]:
    try:
        words = content.config_records[name]
        shape = kind.model_validate_json(str(words[_JSON]))
        return shape, _cut(content.array_records[ARRAYS][_FLAT].data, str(words[_LAYOUT]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(Code.BAD_SHAPE, f"The message holds no {kind.__name__} with its weights.") from error


def _cut(flat: bytes, layout_json: str) -> dict[str, NDArray[np.float32]]:
    """Return the little-endian float32 arrays that lie one behind the other in `flat`, without copying them.

    Raises:
        ValueError: If the layout is none, names an array twice, or claims more or less than there is.
    """
    layout = _LAYOUTS.validate_json(layout_json)
    if len({name for name, _ in layout}) != len(layout):
        raise ValueError("a name comes twice")
    if 4 * size_of(layout) != len(flat):
        raise ValueError("the layout claims more or less than there is")
    return cut(np.frombuffer(flat, dtype="<f4"), layout)


def weight_bytes(content: RecordDict) -> int:
    """Return how many bytes of weights a message holds."""
    return sum(len(array.data) for record in content.array_records.values() for array in record.values())
