"""What our Flower messages hold: all weights behind one another as bytes, their names and shapes, and one shape as canonical JSON.

The shape is a `RoundOrder` on the way to a site and an `UpdateNotice` on the way back; in an evaluation an `EvaluationOrder` with weights
and an `EvaluationNotice` without; in a secure summation a `SecureQuestion`, with
weights at one step only, and a `SecureReply`, with padded integers in place of weights at that step. Flower carries every record of a
message, and every array and piece of an array in it, by requests of their own, each of which costs the SuperLink more than a megabyte does.
So the weights are bytes beside the words, in the same record; what is more than one request may hold follows in further records.
"""

import json
from collections.abc import Mapping
from typing import Annotated, TypeVar

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, TypeAdapter

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.evaluation import EvaluationNotice, EvaluationOrder
from protocol.plan import RoundOrder, UpdateNotice
from protocol.secure_sum import SecureQuestion, SecureReply
from protocol.shape import Shape, canonical_json
from strategies.arrays import Arrays, cut, layout_of, size_of
from strategies.flower import PIECE_BYTES
from strategies.securesum.pads import Words

S = TypeVar("S", bound=Shape)

ORDER, NOTICE, QUESTION, REPLY = "order", "notice", "question", "reply"
EVALUATION, EVALUATED = "evaluation", "evaluated"
SECURE_ACTION = "secure"
"""By which Flower's app knows a question of a secure summation from an order to send an update."""

_WEIGHTS, _JSON, _LAYOUT = "weights", "json", "layout"
_PIECES_MAX = 1024

_ParameterName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]{1,200}$")]
_Shape = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(max_length=8)]
_LAYOUTS: TypeAdapter[tuple[tuple[_ParameterName, _Shape], ...]] = TypeAdapter(
    tuple[tuple[_ParameterName, _Shape], ...]
)


class _Sealed(ConfigRecord):
    """A record that nobody changes once it is packed: what Flower serialises and hashes three times for each message, it does once."""

    __qualname__ = "ConfigRecord"  # Flower writes the class's name before the content, and the other side looks for it
    _deflated: bytes | None = None

    @property
    def is_dirty(self) -> bool:
        """Never: Flower need not work out its id again."""
        return False

    def deflate(self) -> bytes:
        """Return the record as Flower sends it: worked out for the id, and given away when it is sent."""
        kept, self._deflated = self._deflated, None
        if kept is None:
            kept = self._deflated = super().deflate()
        return kept


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


def pack_questions(questions: Mapping[int, SecureQuestion], base: Arrays) -> dict[int, RecordDict]:
    """Return the content of one question of a secure summation for each site; `base` is empty but for the step with boxes.

    The words differ from site to site. The weights do not: they are the same records in every message, here and at the SuperLink, which
    knows a record by its content. A request more for each site is the price.
    """
    layout, flat = _laid_out(base)
    weights = _further(flat)
    return {
        site: RecordDict({QUESTION: _Sealed({**_words(question, layout), _WEIGHTS: b""}), **weights})
        for site, question in questions.items()
    }


def unpack_question(content: RecordDict) -> tuple[SecureQuestion, dict[str, NDArray[np.float32]]]:
    """Return the question and the base weights, if there are any.

    Raises:
        InvalidInputError: `bad-shape` if the content is of another form; the message quotes nothing of it.
    """
    return _unpack(QUESTION, SecureQuestion, content)


def pack_reply(reply: SecureReply, words: Words | None) -> RecordDict:
    """Return the content of a site's answer in a secure summation."""
    raw = b"" if words is None else words.astype("<u4", copy=False).tobytes()
    return _in_pieces(REPLY, _Sealed({_JSON: canonical_json(reply).decode()}), raw)


def unpack_reply(content: RecordDict) -> tuple[SecureReply, Words | None]:
    """Return a site's answer and its padded summand, if there is one; neither is compared with the question yet.

    Raises:
        InvalidInputError: `bad-shape` if the content is of another form; the message quotes nothing of it.
    """
    try:
        reply = SecureReply.model_validate_json(str(content.config_records[REPLY][_JSON]))
        words = np.frombuffer(b"".join(_pieces(REPLY, content)), dtype="<u4")
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(Code.BAD_SHAPE, "The message holds no SecureReply.") from error
    return reply, words if len(words) else None


def pack_evaluation(order: EvaluationOrder, candidate: Arrays) -> RecordDict:
    """Return the content of a message that asks a site to compare `candidate` with the present release."""
    return _pack(EVALUATION, order, candidate)


def unpack_evaluation(content: RecordDict) -> tuple[EvaluationOrder, dict[str, NDArray[np.float32]]]:
    """Return the order to compare and the candidate's weights.

    Raises:
        InvalidInputError: `bad-shape` if the content is of another form; the message quotes nothing of it.
    """
    return _unpack(EVALUATION, EvaluationOrder, content)


def pack_evaluated(notice: EvaluationNotice) -> RecordDict:
    """Return the content of a site's answer to an evaluation: no weights."""
    return _pack(EVALUATED, notice, {})


def unpack_evaluated(content: RecordDict) -> EvaluationNotice:
    """Return a site's answer to an evaluation; it is not compared with the order yet.

    Raises:
        InvalidInputError: `bad-shape` if the content is of another form; the message quotes nothing of it.
    """
    return _unpack(EVALUATED, EvaluationNotice, content)[0]


def _pack(name: str, shape: Shape, arrays: Arrays) -> RecordDict:
    layout, flat = _laid_out(arrays)
    return _in_pieces(name, _Sealed({**_words(shape, layout)}), flat)


def _laid_out(arrays: Arrays) -> tuple[str, bytes]:
    """Put all weights behind one another, in the order of their names; return the layout as JSON, and them."""
    layout = layout_of(arrays)
    return json.dumps(layout), b"".join(np.ascontiguousarray(arrays[key], dtype="<f4").tobytes() for key, _ in layout)


def _words(shape: Shape, layout: str) -> dict[str, str]:
    return {_JSON: canonical_json(shape).decode(), _LAYOUT: layout}


def _in_pieces(name: str, words: ConfigRecord, flat: bytes) -> RecordDict:
    """Put `flat` into the record of the words, and what is too much for it into further ones."""
    words[_WEIGHTS] = flat[:PIECE_BYTES]
    return RecordDict({name: words, **_further(flat, PIECE_BYTES)})


def _further(flat: bytes, begin: int = 0) -> dict[str, ConfigRecord]:
    """Return records beside that of the words, with `flat` from `begin` on, in pieces."""
    pieces = [flat[start : start + PIECE_BYTES] for start in range(begin, len(flat), PIECE_BYTES)]
    return {f"{_WEIGHTS}-{number}": _Sealed({_WEIGHTS: piece}) for number, piece in enumerate(pieces, start=1)}


def _unpack(name: str, kind: type[S], content: RecordDict) -> tuple[S, dict[str, NDArray[np.float32]]]:
    try:
        words = content.config_records[name]
        shape = kind.model_validate_json(str(words[_JSON]))
        return shape, _cut(b"".join(_pieces(name, content)), str(words[_LAYOUT]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(Code.BAD_SHAPE, f"The message holds no {kind.__name__} with its weights.") from error


def _pieces(name: str, content: RecordDict) -> list[bytes]:
    """Return the weights of a message, piece by piece.

    Raises:
        KeyError: If a piece is missing, a record is there that is none, or there are more than a message has.
        TypeError: If a piece is something else than bytes.
    """
    if len(content) > _PIECES_MAX:
        raise KeyError("more records than a message has")
    records = content.config_records  # once: Flower gathers them anew each time
    names = [name, *(f"{_WEIGHTS}-{number}" for number in range(1, len(content)))]
    pieces = [records[one][_WEIGHTS] for one in names]
    if not all(isinstance(piece, bytes) for piece in pieces):
        raise TypeError("a piece of the weights is no bytes")
    return pieces  # type: ignore[return-value] # looked at above


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
    pieces = [record.get(_WEIGHTS, b"") for record in content.config_records.values()]
    return sum(len(piece) for piece in pieces if isinstance(piece, bytes))
