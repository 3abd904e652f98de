"""The long line: so many bits a second, so late, and no more than its queue holds."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.far import QUEUE_S, Direction

RATE, DELAY_S = 100e6, 0.04


@pytest.fixture
def way() -> Iterator[Direction]:
    """A direction whose far end is a pipe."""
    arrived, sink = os.pipe()
    os.set_blocking(arrived, False)
    made = Direction(source=arrived, sink=sink, rate_bits=RATE, delay_s=DELAY_S)
    yield made
    os.close(arrived)
    os.close(sink)


def test_a_packet_arrives_when_it_has_left_and_travelled(way: Direction) -> None:
    way.take(b"x" * 1250, now=10.0)  # 0.1 ms at 100 Mbit/s
    assert way.deliver(10.0400) == pytest.approx(10.0401)
    assert way.deliver(10.0402) == float("inf")
    assert os.read(way.source, 2000) == b"x" * 1250


def test_packets_arrive_in_their_order(way: Direction) -> None:
    for number in range(5):
        way.take(bytes([number]), now=1.0)
    way.deliver(2.0)
    assert os.read(way.source, 10) == bytes(range(5))


@given(st.lists(st.integers(min_value=40, max_value=1500), min_size=1, max_size=200))
def test_no_more_passes_than_the_rate(sizes: list[int]) -> None:
    way = Direction(source=-1, sink=-1, rate_bits=RATE, delay_s=DELAY_S)
    for size in sizes:
        way.take(bytes(size), now=0.0)
    taken = sum(len(packet) for _, packet in way.under_way)
    assert way.under_way[-1][0] == pytest.approx(taken * 8 / RATE + DELAY_S)


def test_what_the_queue_does_not_hold_is_lost(way: Direction) -> None:
    for _ in range(2000):
        way.take(bytes(1500), now=0.0)
    assert way.lost == 2000 - len(way.under_way)
    assert way.free_at == pytest.approx(QUEUE_S, abs=2 * 1500 * 8 / RATE)
    way.take(b"later", now=QUEUE_S)
    assert way.under_way[-1][1] == b"later"
