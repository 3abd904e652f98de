"""What a message holds comes out as it went in, and whatever else a message holds is refused without a word of it."""

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_object_id
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from protocol.codes import Code
from protocol.errors import InvalidInputError
from strategies import message
from strategies.arrays import Arrays, arrays_sha256
from strategies.message import pack_notice, pack_order, unpack_notice, unpack_order, weight_bytes
from tests.fakes.rounds import a_notice, an_order

NAMES = st.text("abcXYZ019_.", min_size=1, max_size=20)
VALUES = arrays(np.float32, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))


def named(**values: list[float]) -> dict[str, np.ndarray]:
    return {name: np.array(value, np.float32) for name, value in values.items()}


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_every_value_comes_back_bit_by_bit(weights: dict[str, np.ndarray]) -> None:
    order, back = unpack_order(pack_order(an_order(), weights))
    assert order == an_order()
    assert back.keys() == weights.keys()
    for name, array in weights.items():
        assert (back[name].shape, back[name].dtype) == (array.shape, np.dtype("<f4"))
        assert back[name].tobytes() == np.ascontiguousarray(array).tobytes()
    assert arrays_sha256(back) == arrays_sha256(weights)


def test_a_notice_comes_back_too() -> None:
    notice, update = unpack_notice(pack_notice(a_notice(), named(a=[1, 2], b=[3])))
    assert notice == a_notice()
    assert {name: array.tolist() for name, array in update.items()} == {"a": [1, 2], "b": [3]}


def test_odd_layouts_in_memory_make_no_difference() -> None:
    square = np.arange(12, dtype=np.float32).reshape(3, 4)
    for odd in (square.T, square[::2, ::-1], np.asfortranarray(square), square.astype(">f4")):
        _, back = unpack_order(pack_order(an_order(), {"w": odd}))
        assert np.array_equal(back["w"], odd)


def test_a_network_of_many_arrays_is_one_record_on_the_way() -> None:
    content = pack_order(an_order(), {f"layer{n}": np.zeros(10, np.float32) for n in range(60)})
    assert len(content) == len(content.config_records) == 1
    assert weight_bytes(content) == 60 * 10 * 4


@pytest.mark.parametrize(("values", "records"), [(0, 1), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_weights_that_one_request_cannot_hold_follow_in_further_records(
    monkeypatch: pytest.MonkeyPatch, values: int, records: int
) -> None:
    monkeypatch.setattr(message, "PIECE_BYTES", 16)
    content = pack_order(an_order(), {"w": np.arange(values, dtype=np.float32)})
    assert len(content) == records
    assert weight_bytes(content) == 4 * values
    assert all(len(record["weights"]) <= 16 for record in content.config_records.values())
    _, back = unpack_order(content)
    assert back["w"].tolist() == list(range(values))


def test_an_order_is_no_notice() -> None:
    with pytest.raises(InvalidInputError):
        unpack_notice(pack_order(an_order(), named(a=[1])))
    with pytest.raises(InvalidInputError):
        unpack_order(pack_notice(a_notice(), named(a=[1])))


def content_of(**changes: Any) -> RecordDict:
    """A site's reply with two arrays, some of it changed by name: `weights`, `layout`, `json`."""
    good = pack_notice(a_notice(), named(a=[1, 2], b=[3]))
    return RecordDict({"notice": ConfigRecord(dict(good.config_records["notice"]) | changes)})


def refused(content: RecordDict) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        unpack_notice(content)
    assert caught.value.code is Code.BAD_SHAPE
    assert str(caught.value) == "The message holds no UpdateNotice with its weights."
    return caught.value


def test_the_unchanged_content_is_taken() -> None:
    unpack_notice(content_of())


@pytest.mark.parametrize(
    "layout",
    [
        [["a", [2]]],  # less than there is
        [["a", [2]], ["b", [2]]],  # more
        [["a", [2**30, 2**30, 2**30]], ["b", [1]]],  # far more than any memory
        [["a", [2**31]], ["b", [1]]],
        [["a", [-3]], ["b", [6]]],
        [["a", [-1, -2]], ["b", [1]]],
        [["a", [2]], ["a", [1]]],  # one name twice
        [["a", [2.5]], ["b", [0.5]]],
        [["a", ["2"] * 9], ["b", [1]]],
        [["a", [1] * 9 + [2]], ["b", [1]]],
        [["MUSTERMANN^ERIKA", [2]], ["b", [1]]],  # a name that could be a person's
        [["a b", [2]], ["b", [1]]],
        [["", [2]], ["b", [1]]],
        [["a" * 201, [2]], ["b", [1]]],
        [["a"], ["b", [1]]],
        [["a", 3]],
        {"a": [2], "b": [1]},
        3,
        None,
    ],
)  # fmt: skip
def test_a_layout_that_does_not_fit_is_refused(layout: Any) -> None:
    refused(content_of(layout=json.dumps(layout)))


@pytest.mark.parametrize(
    "text", ["", "[", "[" * 100_000, "NaN", '[["a", [1e400]], ["b", [1]]]', "\x00", '"' + "9" * 5000]
)
def test_a_layout_that_is_no_json_is_refused(text: str) -> None:
    refused(content_of(layout=text))


@pytest.mark.parametrize("data", [b"", b"\0" * 11, b"\0" * 13, b"\0" * 24, b"\x93NUMPY\x01\x00"])
def test_other_bytes_than_the_layout_says_are_refused(data: bytes) -> None:
    refused(content_of(weights=data))


@settings(deadline=None)
@given(st.binary(max_size=64), st.text(max_size=64))
def test_nothing_but_a_refusal_comes_of_arbitrary_bytes(data: bytes, layout: str) -> None:
    if len(data) == 12:
        data += b"\0"
    refused(content_of(weights=data, layout=layout))


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 255))
def test_one_changed_character_of_the_words_is_refused_or_says_the_same_kind_of_thing(at: int, byte: int) -> None:
    good = str(content_of().config_records["notice"]["json"])
    changed = good[: at % len(good)] + chr(byte) + good[at % len(good) + 1 :]
    try:
        notice, _ = unpack_notice(content_of(json=changed))
    except InvalidInputError:
        return
    assert set(notice.model_dump()) == set(a_notice().model_dump())


@pytest.mark.parametrize("value", [3, 2.5, b"{}", [1, 2], ["a"], [True], True])
def test_words_of_another_kind_are_refused(value: Any) -> None:
    refused(content_of(json=value))
    refused(content_of(layout=value))


@pytest.mark.parametrize("value", [3, 2.5, "abcdefghijkl", [1, 2, 3], [b"abcdefghijkl"], True])
def test_weights_of_another_kind_are_refused(value: Any) -> None:
    refused(content_of(weights=value))


def test_missing_records_are_refused() -> None:
    whole = content_of()
    refused(RecordDict())
    refused(RecordDict({"notice": ConfigRecord()}))
    refused(RecordDict({"notice": MetricRecord({"json": 1.0})}))
    for name in ("json", "layout", "weights"):
        words = {key: value for key, value in whole.config_records["notice"].items() if key != name}
        refused(RecordDict({"notice": ConfigRecord(words)}))


def test_records_that_belong_to_no_message_of_ours_are_refused() -> None:
    whole = content_of()["notice"]
    refused(RecordDict({"notice": whole, "weights-2": ConfigRecord({"weights": b""})}))
    refused(RecordDict({"notice": whole, "more": ConfigRecord({"weights": b""})}))
    refused(RecordDict({"notice": whole, "arrays": ArrayRecord()}))
    refused(RecordDict({"notice": whole, "weights-1": MetricRecord({"weights": 1.0})}))
    refused(RecordDict({"notice": whole, "weights-1": ConfigRecord({"weights": b"four"})}))


def test_weights_in_pieces_are_refused_when_one_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message, "PIECE_BYTES", 4)
    content = pack_notice(a_notice(), named(a=[1, 2], b=[3]))
    unpack_notice(content)
    for missing in ("weights-1", "weights-2"):
        refused(RecordDict({name: content[name] for name in content if name != missing}))


@pytest.mark.parametrize("epsilon", ["Infinity", "NaN", "-1", "1e999"])
def test_an_epsilon_that_is_no_number_is_refused(epsilon: str) -> None:
    good = str(content_of().config_records["notice"]["json"])
    assert '"epsilon":0.5' in good
    refused(content_of(json=good.replace('"epsilon":0.5', f'"epsilon":{epsilon}')))


def test_values_that_are_not_finite_come_through_for_the_round_to_refuse() -> None:
    """A message says what it says; whether an update counts is `check_update`'s to decide."""
    update: Arrays = {"a": np.array([np.nan, np.inf], np.float32)}
    _, back = unpack_notice(pack_notice(a_notice(), update))
    assert np.isnan(back["a"][0])


# What a packed record is to Flower.


def several() -> RecordDict:
    """A message of more than one record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(message, "PIECE_BYTES", 16)
        return pack_notice(a_notice(), named(a=[1, 2, 3, 4, 5, 6], b=[7]))


def plain(content: RecordDict) -> RecordDict:
    """The same content in records of Flower's own."""
    return RecordDict({name: ConfigRecord(dict(record)) for name, record in content.config_records.items()})


def test_a_packed_message_has_flowers_ids_and_bytes_to_the_last_one() -> None:
    ours, stock = several(), plain(several())
    assert len(ours) == 2
    assert [type(record) for record in stock.config_records.values()] == [ConfigRecord] * 2
    for name, record in stock.config_records.items():
        assert ours.config_records[name].object_id == record.object_id
        assert ours.config_records[name].deflate() == record.deflate()
    assert ours.object_id == stock.object_id
    assert ours.deflate() == stock.deflate()
    assert ours == stock


def test_the_other_side_reads_a_packed_record_as_flowers_own() -> None:
    for record in several().config_records.values():
        (back,) = inflated(record.deflate())
        assert type(back) is ConfigRecord
        assert back == record


def inflated(raw: bytes) -> list[Any]:
    name = get_object_id(raw)
    return [inflate_object_from_contents(name, {name: raw})]


def test_a_packed_record_is_serialised_once_for_its_id_and_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    serialised: list[int] = []
    deflate = ConfigRecord.deflate

    def counted(self: ConfigRecord) -> bytes:
        serialised.append(1)
        return deflate(self)

    record = several()["notice"]
    monkeypatch.setattr(ConfigRecord, "deflate", counted)
    assert [record.object_id for _ in range(3)] == [get_object_id(record.deflate())] * 3
    assert len(serialised) == 1


def test_a_packed_record_keeps_no_second_copy_of_its_weights_once_they_are_sent() -> None:
    """The ServerApp holds the messages of a round until it ends."""
    record = next(iter(pack_notice(a_notice(), {"w": np.zeros(1_000_000, np.float32)}).config_records.values()))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        record.object_id  # noqa: B018 - Flower asks for it first
        assert tracemalloc.get_traced_memory()[0] - before > 3_500_000
        sent = len(record.deflate())
        assert sent > 4_000_000
        assert tracemalloc.get_traced_memory()[0] - before < 500_000
    finally:
        tracemalloc.stop()


def test_a_packed_record_may_be_sent_to_several_sites_one_after_the_other() -> None:
    record = several()["notice"]
    assert len({record.deflate() for _ in range(5)} | {plain(several())["notice"].deflate()}) == 1
