"""A store of objects in files is Flower's store in memory, but that objects come and go by ticket and leave no file behind."""

import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    UnexpectedObjectContentError,
    get_object_id,
    get_object_tree,
)
from flwr.supercore.object_store import NoObjectInStoreError, ObjectStore, ObjectStoreFactory
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore

from protocol.codes import Code
from strategies.flower import FOLDER_VARIABLE
from strategies.flower.objects import STIRRED, FileObjectStore, SharedObjectStoreFactory
from strategies.flower.pieces import ABANDONED_SECONDS, SMALL_BYTES, Pieces
from tests.fakes.outcomes import code_of
from tests.unit.strategies.test_pieces import no_room

RUN, OTHER_RUN = 7, 8


def weights(fill: int, size: int = SMALL_BYTES) -> ConfigRecord:
    """A record larger than what counts as small; with `size` 1, a small one."""
    return ConfigRecord({"weights": bytes([fill]) * size})


LARGE, LARGER, SMALL = weights(1), weights(2, 3 * SMALL_BYTES), weights(3, 1)
MESSAGE = RecordDict({"first": LARGE, "second": LARGER, "words": SMALL})
NEXT = RecordDict({"first": LARGE})
"""It shares a record with the other message."""

CONTENTS = {one.object_id: one.deflate() for one in (LARGE, LARGER, SMALL, MESSAGE, NEXT)}
ALL = set(CONTENTS)


@pytest.fixture
def pieces(tmp_path: Path) -> Pieces:
    return Pieces(tmp_path / "pieces")


@pytest.fixture
def store(pieces: Pieces) -> FileObjectStore:
    made = FileObjectStore(pieces)
    made.preregister(RUN, get_object_tree(MESSAGE))
    return made


def names(pieces: Pieces) -> set[str]:
    return {file.name for file in pieces.folder.iterdir()} - {pieces.whole().path.name}


def deposit(store: FileObjectStore, pieces: Pieces, record: ConfigRecord) -> None:
    store.put(record.object_id, pieces.ticket(pieces.deposit(record.deflate()).name))


def content(store: ObjectStore, pieces: Pieces, object_id: str) -> bytes | None:
    kept = store.get(object_id)
    return None if kept is None else pieces.resolved(kept)


# What comes, and as what it is given.


@pytest.mark.parametrize("put", [deposit, lambda store, _, record: store.put(record.object_id, record.deflate())])
@pytest.mark.parametrize("record", [LARGE, LARGER, SMALL], ids=["large", "larger", "small"])
def test_an_object_lies_in_a_file_of_its_id_and_is_given_by_ticket(
    store: FileObjectStore, pieces: Pieces, put: Callable[..., None], record: ConfigRecord
) -> None:
    put(store, pieces, record)
    assert store.get(record.object_id) == pieces.ticket(record.object_id)
    assert content(store, pieces, record.object_id) == record.deflate()
    assert names(pieces) == {record.object_id}


def test_an_object_is_whole_before_it_has_its_name(
    store: FileObjectStore, pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who shares the folder looks there without asking."""
    written: list[str] = []
    write_bytes = Path.write_bytes

    def noted(self: Path, given: bytes) -> int:
        written.append(self.name)
        return write_bytes(self, given)

    monkeypatch.setattr(Path, "write_bytes", noted)
    store.put(LARGE.object_id, LARGE.deflate())
    assert len(written) == 1
    assert written != [LARGE.object_id]
    assert pieces.stored(LARGE.object_id) == LARGE.deflate()


@pytest.mark.parametrize("record", [LARGE, SMALL], ids=["large", "small"])
def test_what_comes_twice_stays_as_it_is(store: FileObjectStore, pieces: Pieces, record: ConfigRecord) -> None:
    for _ in range(2):
        store.put(record.object_id, record.deflate())
    second = pieces.deposit(record.deflate())
    store.put(record.object_id, pieces.ticket(second.name))
    second.unlink(missing_ok=True)  # its depositor does so
    assert content(store, pieces, record.object_id) == record.deflate()
    assert names(pieces) == {record.object_id}


def test_an_object_that_was_announced_and_has_not_come_is_empty(store: FileObjectStore) -> None:
    assert store.get(LARGE.object_id) == b""
    assert store.get("0" * 64) is None


# What is refused.


def refusals(store: ObjectStore, *put: tuple[str, bytes]) -> list[type[Exception] | None]:
    found: list[type[Exception] | None] = []
    for object_id, given in put:
        try:
            store.put(object_id, given)
            found.append(None)
        except Exception as error:  # noqa: BLE001 - which one it is, is looked at
            found.append(type(error))
    return found


def test_a_deposit_with_another_hash_is_refused_and_the_object_still_awaited(
    store: FileObjectStore, pieces: Pieces
) -> None:
    other = pieces.deposit(LARGER.deflate())
    assert refusals(store, (LARGE.object_id, pieces.ticket(other.name))) == [ValueError]
    assert store.get(LARGE.object_id) == b""
    assert LARGE.object_id not in names(pieces)
    deposit(store, pieces, LARGE)
    assert content(store, pieces, LARGE.object_id) == LARGE.deflate()


def test_bytes_with_another_hash_or_of_another_form_are_refused_without_a_file(
    store: FileObjectStore, pieces: Pieces
) -> None:
    formless = b"n" * 2 * SMALL_BYTES
    tree = ObjectTree(object_id=get_object_id(formless))
    store.preregister(RUN, tree)
    assert refusals(
        store, (LARGE.object_id, LARGER.deflate()), (LARGE.object_id, LARGE.deflate()[:-1]), (tree.object_id, formless)
    ) == [ValueError, ValueError, UnexpectedObjectContentError]
    assert names(pieces) == set()
    assert not store.get(tree.object_id)


def test_a_deposit_of_another_form_is_refused(store: FileObjectStore, pieces: Pieces) -> None:
    file = pieces.deposit(b"n" * 2 * SMALL_BYTES)
    object_id = get_object_id(file.read_bytes())
    store.preregister(RUN, ObjectTree(object_id=object_id))
    assert refusals(store, (object_id, pieces.ticket(file.name))) == [UnexpectedObjectContentError]
    assert object_id not in names(pieces)


def test_nobody_gets_at_a_stored_object_by_its_ticket(store: FileObjectStore, pieces: Pieces) -> None:
    """A site knows the ids of objects. Its ticket for one must neither move the file nor make it that of another object."""
    deposit(store, pieces, LARGE)
    forged = pieces.ticket(LARGE.object_id)
    named = ObjectTree(object_id=get_object_id(forged))
    store.preregister(OTHER_RUN, named)
    tries = [(LARGER.object_id, forged), (named.object_id, forged), ("0" * 64, forged)]
    assert None not in refusals(store, *tries)
    assert content(store, pieces, LARGE.object_id) == LARGE.deflate()
    assert store.get(LARGER.object_id) == b""
    assert store.get(named.object_id) == b""
    assert names(pieces) == {LARGE.object_id}


def test_a_ticket_for_nothing_is_refused(store: FileObjectStore, pieces: Pieces) -> None:
    assert refusals(store, (LARGE.object_id, pieces.ticket("0" * 32))) == [ValueError]
    assert store.get(LARGE.object_id) == b""


def test_what_nobody_announced_is_refused_and_leaves_no_file(pieces: Pieces) -> None:
    store = FileObjectStore(pieces)
    file = pieces.deposit(LARGE.deflate())
    assert (
        refusals(
            store,
            (LARGE.object_id, LARGE.deflate()),
            (LARGE.object_id, pieces.ticket(file.name)),
            (SMALL.object_id, SMALL.deflate()),
        )
        == [NoObjectInStoreError] * 3
    )
    assert names(pieces) == set()


def test_a_full_disk_is_one_error_and_the_object_still_awaited(
    store: FileObjectStore, pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        no_room(patch)
        assert code_of(lambda: store.put(LARGE.object_id, LARGE.deflate())) is Code.DISK_FULL
    assert names(pieces) == set()
    store.put(LARGE.object_id, LARGE.deflate())
    assert content(store, pieces, LARGE.object_id) == LARGE.deflate()


# What goes.


def filled(store: ObjectStore) -> ObjectStore:
    """Both messages, in two runs, with all that belongs to them."""
    store.preregister(RUN, get_object_tree(MESSAGE))
    store.preregister(OTHER_RUN, get_object_tree(NEXT))
    for object_id, given in CONTENTS.items():
        store.put(object_id, given)
    return store


GOES: dict[str, tuple[Callable[[ObjectStore], None], set[str]]] = {
    "the first message": (lambda store: store.delete(MESSAGE.object_id), {LARGE.object_id, NEXT.object_id}),
    "the second": (lambda store: store.delete(NEXT.object_id), ALL - {NEXT.object_id}),
    "both": (lambda store: [store.delete(one.object_id) for one in (MESSAGE, NEXT)] and None, set()),
    "a record that a message needs": (lambda store: store.delete(LARGER.object_id), ALL),
    "nothing": (lambda store: store.delete("0" * 64), ALL),
    "one run": (lambda store: store.delete_objects_in_run(RUN), {LARGE.object_id, NEXT.object_id}),
    "both runs": (lambda store: [store.delete_objects_in_run(run) for run in (RUN, OTHER_RUN)] and None, set()),
    "a run that is unknown": (lambda store: store.delete_objects_in_run(99), ALL),
    "all": (lambda store: store.clear(), set()),
}  # fmt: skip


@pytest.mark.parametrize("what", GOES)
def test_what_is_let_go_of_takes_its_files_along(pieces: Pieces, what: str) -> None:
    go, left = GOES[what]
    store = filled(FileObjectStore(pieces))
    assert names(pieces) == ALL
    go(store)
    assert names(pieces) == left
    assert all(content(store, pieces, name) == CONTENTS[name] for name in left)


def test_what_is_let_go_of_may_come_anew(pieces: Pieces) -> None:
    store = filled(FileObjectStore(pieces))
    store.clear()
    assert len(filled(store)) == len(CONTENTS)
    assert content(store, pieces, LARGE.object_id) == LARGE.deflate()


def test_what_a_process_before_this_one_left_is_removed(pieces: Pieces) -> None:
    filled(FileObjectStore(pieces))
    pieces.deposit(LARGE.deflate())
    assert pieces.whole().count() > 0
    store = FileObjectStore(pieces)
    assert list(pieces.folder.iterdir()) == []
    assert len(store) == 0
    assert pieces.folder.stat().st_mode & 0o777 == 0o700


# Otherwise it is Flower's.


def observed(store: ObjectStore, pieces: Pieces) -> list[Any]:
    """All that somebody who uses a store can see of it."""
    trees: list[Any] = []
    for name in CONTENTS:
        try:
            trees.append(store.get_object_tree(name))
        except NoObjectInStoreError:
            trees.append(None)
    return [
        len(store),
        [name in store for name in CONTENTS],
        [content(store, pieces, name) for name in CONTENTS],
        trees,
    ]


def story(store: ObjectStore, pieces: Pieces) -> list[Any]:
    seen: list[Any] = [observed(store, pieces)]
    bad = ObjectTree(object_id="no hash")

    def step(said: Any) -> None:
        seen.extend([said, observed(store, pieces)])

    step(refusals(store, (LARGE.object_id, LARGE.deflate())))
    step(store.preregister(RUN, get_object_tree(MESSAGE)))
    step(refusals(store, (SMALL.object_id, LARGE.deflate()), (LARGE.object_id, SMALL.deflate())))
    step(refusals(store, *((name, CONTENTS[name]) for name in (LARGE.object_id, SMALL.object_id))))
    step(store.preregister(RUN, get_object_tree(MESSAGE)))
    step(store.preregister(OTHER_RUN, get_object_tree(NEXT)))
    step(refusals(store, *CONTENTS.items()))
    step(store.delete(LARGE.object_id))
    step(store.delete_objects_in_run(RUN))
    step(refusals(store, (LARGER.object_id, LARGER.deflate()), (LARGE.object_id, LARGE.deflate())))
    step(store.delete(NEXT.object_id))
    step(filled(store) and None)
    step(store.clear())
    with pytest.raises(ValueError):
        store.preregister(RUN, bad)
    return seen


def test_it_does_what_flowers_own_store_does(pieces: Pieces) -> None:
    ours, stock = story(FileObjectStore(pieces), pieces), story(InMemoryObjectStore(), pieces)
    assert len(ours) == len(stock) > 20
    for number, (one, other) in enumerate(zip(ours, stock, strict=True)):
        assert one == other, number


# Who has one.


def test_a_process_with_a_folder_keeps_its_objects_there(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(pieces.folder))
    factory = SharedObjectStoreFactory("state.db")
    store = factory.store()
    assert isinstance(store, FileObjectStore)
    filled(store)
    assert factory.store() is store, "a second one would empty the folder of the first"
    assert names(pieces) == ALL


@pytest.mark.filterwarnings("ignore:No path_separator:DeprecationWarning")  # Flower's alembic
@pytest.mark.parametrize("database", [":flwr-in-memory:", "sqlite"])
def test_a_process_without_one_has_flowers_own(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    where = str(tmp_path / "state.db") if database == "sqlite" else database
    factory = SharedObjectStoreFactory(where)
    assert type(factory.store()) is type(ObjectStoreFactory(where).store())
    assert factory.store() is factory.store()


def test_the_end_of_a_run_takes_deposits_of_the_dead_with_it(store: FileObjectStore, pieces: Pieces) -> None:
    """Whoever is killed between its deposit and the answer removes nothing."""
    abandoned, on_its_way = pieces.deposit(b"a"), pieces.deposit(b"b")
    long_ago = time.time() - ABANDONED_SECONDS - 1
    os.utime(abandoned, (long_ago, long_ago))
    deposit(store, pieces, LARGE)
    os.utime(pieces.folder / LARGE.object_id, (long_ago, long_ago))
    store.preregister(OTHER_RUN, get_object_tree(NEXT))
    store.delete_objects_in_run(RUN)
    assert names(pieces) == {on_its_way.name, LARGE.object_id}


# Who is rung for.


def rings(store: FileObjectStore, pieces: Pieces, *records: InflatableObject) -> list[int]:
    """Put one after the other, and say after each how often it has rung."""
    counts = []
    for record in records:
        store.put(record.object_id, record.deflate())
        counts.append(pieces.whole().count())
    return counts


@pytest.mark.parametrize("order", list(itertools.permutations([LARGE, LARGER, SMALL, MESSAGE])))
def test_it_rings_when_a_message_is_whole_in_whatever_order_its_objects_come(
    store: FileObjectStore, pieces: Pieces, order: Sequence[InflatableObject]
) -> None:
    assert rings(store, pieces, *order) == [0, 0, 0, 1]
    assert rings(store, pieces, *order) == [1, 1, 1, 1], "what comes twice makes nothing whole"


def test_a_message_that_lacks_only_its_own_words_rings_when_they_come(store: FileObjectStore, pieces: Pieces) -> None:
    rings(store, pieces, LARGE, LARGER, SMALL, MESSAGE)
    store.preregister(OTHER_RUN, get_object_tree(NEXT))
    assert rings(store, pieces, NEXT) == [2]


def test_two_messages_that_wait_for_one_object_are_rung_for_both(store: FileObjectStore, pieces: Pieces) -> None:
    store.preregister(OTHER_RUN, get_object_tree(NEXT))
    assert rings(store, pieces, NEXT, MESSAGE, LARGER, SMALL) == [0, 0, 0, 0]
    assert rings(store, pieces, LARGE) == [2]


def test_what_is_refused_rings_for_nobody(store: FileObjectStore, pieces: Pieces) -> None:
    rings(store, pieces, LARGE, LARGER, MESSAGE)
    assert refusals(store, (SMALL.object_id, LARGE.deflate())) == [ValueError]
    assert pieces.whole().count() == 0
    assert rings(store, pieces, SMALL) == [1]


@pytest.mark.parametrize(
    "let_go",
    [
        lambda store: store.delete(MESSAGE.object_id),
        lambda store: store.delete_objects_in_run(RUN),
        lambda store: store.clear(),
    ],
)
def test_a_message_that_was_let_go_of_is_not_waited_for(
    store: FileObjectStore, pieces: Pieces, let_go: Callable[[FileObjectStore], None]
) -> None:
    rings(store, pieces, LARGER)
    let_go(store)
    store.preregister(OTHER_RUN, get_object_tree(NEXT))
    assert rings(store, pieces, LARGE, NEXT) == [0, 1]
    assert store._missing == {}


def test_whoever_waits_for_anything_new_is_woken_by_an_announcement_and_by_each_object(
    store: FileObjectStore,
) -> None:
    for stir in (
        lambda: store.preregister(OTHER_RUN, get_object_tree(NEXT)),
        lambda: store.put(LARGE.object_id, LARGE.deflate()),
        lambda: store.put(MESSAGE.object_id, MESSAGE.deflate()),
    ):
        STIRRED.clear()
        stir()
        assert STIRRED.is_set()
