"""Kept answers: rendered once, forgotten in the order in which they were asked for, never more than the room; and kept releases."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_api.releases.archive import Archive
from registry_api.releases.document import Document, read
from registry_api.releases.kept import Kept
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import Registry


def test_an_answer_is_rendered_once() -> None:
    kept, calls = Kept(), []

    def render() -> bytes:
        calls.append(1)
        return b"body"

    assert [kept.get("a", render), kept.get("a", render)] == [b"body", b"body"]
    assert calls == [1]


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    kept = Kept(room=20)
    for tag in ("a", "b", "a", "c"):
        kept.get(tag, lambda: bytes(10))
    assert kept.get("a", lambda: b"new") == bytes(10)
    assert kept.get("b", lambda: b"new") == b"new"


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 40)), max_size=40))
def test_no_more_is_held_than_there_is_room(asked: list[tuple[str, int]]) -> None:
    kept = Kept(room=60)
    sizes: dict[str, int] = {}
    for tag, size in asked:
        sizes.setdefault(tag, size)
        assert kept.get(tag, lambda size=sizes[tag]: bytes(size)) == bytes(sizes[tag])
        assert kept._held == sum(map(len, kept._answers.values())) <= 60


def test_an_answer_larger_than_the_room_is_given_and_not_kept() -> None:
    kept = Kept(room=5)
    assert kept.get("a", lambda: b"longer than that") == b"longer than that"
    assert kept.get("a", lambda: b"new") == b"new"


def test_a_release_is_parsed_once_however_many_ask_for_it_at_once(
    published: tuple[Registry, AsgiClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, archive, parsed = published[0].runtime.database, Archive(), []

    def slowly(body: bytes) -> Document:
        parsed.append(body)
        time.sleep(0.05)
        return read(body)

    def ask(_: int) -> Document:
        with database.reading() as session:
            return archive.open(session, archive.entry(session))

    monkeypatch.setattr("registry_api.releases.archive.read", slowly)
    with ThreadPoolExecutor(4) as pool:
        documents = list(pool.map(ask, range(4)))
    assert len(parsed) == 1
    assert all(document is documents[0] for document in documents)
