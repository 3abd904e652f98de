"""Kept answers: rendered once, forgotten in the order in which they were asked for, never more than the room; and kept releases."""

from hypothesis import given
from hypothesis import strategies as st

from registry_api.releases.archive import Archive
from registry_api.releases.document import Document
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


class Forgetful(dict[int, Document]):
    """As if another thread made room at once."""

    def __setitem__(self, number: int, document: Document) -> None:
        super().__setitem__(number, document)
        self.clear()


def test_a_release_that_is_let_go_meanwhile_is_read_all_the_same(published: tuple[Registry, AsgiClient]) -> None:
    runtime, archive = published[0].runtime, Archive()
    archive._parsed = Forgetful()
    with runtime.database.reading() as session:
        assert archive.document(archive.row(session)).number == 1
