"""Where a SuperLink, or a SuperNode, keeps the objects of messages on their way: in files."""

import shutil
import threading
from pathlib import Path

from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import get_object_id
from flwr.supercore.inflatable.inflatable_utils import validate_object_content
from flwr.supercore.object_store import NoObjectInStoreError, ObjectStore, ObjectStoreFactory
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore

from strategies.flower.pieces import Pieces, shared_pieces

STIRRED = threading.Event()
"""Set whenever something has come into this process's store, or was announced: who waits for it looks, and clears it."""


class FileObjectStore(InMemoryObjectStore):
    """Flower's store in memory, which keeps each object in a file under its id, takes deposits, gives tickets, and rings (`strategies.flower.pieces`).

    Flower's other store, tables in SQLite, writes a piece of 8 MiB as two thousand pages, twice, under the lock that every other request
    waits for: with three sites and 20 MB of weights that was half of a round. A file is gone before it reaches the disk.

    What is on its way ends with the process, as the ServerApp does, which is the SuperLink's child: a new SuperLink finds messages without
    their objects, and lets go of them; the round is asked for again.

    Args:
        pieces: Its folder is made anew: what a process before this one left is removed.
    """

    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        self._pieces = pieces
        self._bell = pieces.whole()
        self._missing: dict[str, set[str]] = {}
        if pieces.folder.exists():
            shutil.rmtree(pieces.folder)
        pieces.folder.mkdir(mode=0o700, parents=True)

    def preregister(self, run_id: int, object_tree: ObjectTree) -> list[str]:
        """Announce a message; return which of its objects are not here."""
        with self.lock_store:
            missing = super().preregister(run_id, object_tree)
            if missing:
                self._missing[object_tree.object_id] = set(missing)
        STIRRED.set()
        return missing

    def put(self, object_id: str, object_content: bytes) -> None:
        """Keep an object that was announced, whole or by ticket; one that is here already stays.

        Raises:
            ValueError: If its id is not the hash of its content, or the content is none of Flower's objects, or was never deposited.
            UnavailableError: `disk-full`.
            NoObjectInStoreError: If it was not announced, or its message is gone meanwhile.
        """
        deposited = self._pieces.deposited(object_content)
        if self._has(object_id):
            return
        content = object_content if deposited is None else _read(deposited)
        if get_object_id(content) != object_id:
            raise ValueError(f"The content of the object {object_id} has another hash. Send it again.")
        validate_object_content(content)
        file = deposited or self._pieces.deposit(content)
        try:
            self._keep(object_id, file)
        finally:
            file.unlink(missing_ok=True)

    def _has(self, object_id: str) -> bool:
        with self.lock_store:
            entry = self.store.get(object_id)
            return entry is not None and entry.is_available

    def _keep(self, object_id: str, file: Path) -> None:
        with self.lock_store:
            entry = self.store.get(object_id)
            if entry is None:
                raise NoObjectInStoreError(f"The object {object_id} was not announced, or its message is gone.")
            if not entry.is_available:
                file.rename(self._pieces.folder / object_id)
                entry.content, entry.is_available = self._pieces.ticket(object_id), True
                self._ring_for(object_id)
        STIRRED.set()

    def _ring_for(self, object_id: str) -> None:
        """Ring if this was the last object that a message waited for."""
        for message_id, missing in list(self._missing.items()):
            missing.discard(object_id)
            if not missing:
                del self._missing[message_id]
                self._bell.ring()

    def delete(self, object_id: str) -> None:
        """Let go of an object that no other needs, and of those of its own that nobody else needs."""
        with self.lock_store:
            super().delete(object_id)
            if object_id not in self.store:
                self._missing.pop(object_id, None)
                (self._pieces.folder / object_id).unlink(missing_ok=True)

    def delete_objects_in_run(self, run_id: int) -> None:
        """Let go of a run's objects, and of deposits whose depositor died before it was answered."""
        super().delete_objects_in_run(run_id)
        self._pieces.sweep()

    def clear(self) -> None:
        """Let go of all."""
        with self.lock_store:
            for object_id in self.store:
                (self._pieces.folder / object_id).unlink(missing_ok=True)
            self._missing.clear()
            super().clear()


class SharedObjectStoreFactory(ObjectStoreFactory):
    """Makes the one store of a SuperLink or a SuperNode: in the folder that the process was started with, else Flower's own."""

    def store(self) -> ObjectStore:
        """Return the store."""
        pieces = shared_pieces()
        if pieces is None:
            return super().store()
        with self._store_lock:
            if self.store_instance is None:
                self.store_instance = FileObjectStore(pieces)
            return self.store_instance


def _read(deposited: Path) -> bytes:
    try:
        return deposited.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"There is no deposited piece {deposited.name}. Send the object again.") from None
