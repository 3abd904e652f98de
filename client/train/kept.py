"""Updates are kept before they leave, so that a round that is asked for twice gets the same answer and is charged once.

With them, in the same commit, the norms that the site keeps to itself: they belong to the update that they were trained with. Training again under one charge would release a second set of noise about the same patients, which the charge does not cover.
So the row and the file are on the disk before an update leaves; without a row nothing has left.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from client.store.database import transaction
from client.store.files import make_folder, write_durably
from protocol.codes import Code
from protocol.errors import ConflictError, UnavailableError
from protocol.plan import RoundOrder
from strategies.arrays import Arrays, arrays_sha256

SCHEMA = """
CREATE TABLE IF NOT EXISTS released_update (
    run_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    base_sha256 TEXT NOT NULL,
    update_sha256 TEXT NOT NULL,
    PRIMARY KEY (run_id, round)
) STRICT;
CREATE TABLE IF NOT EXISTS site_norms (
    lineage TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    norms BLOB NOT NULL
) STRICT;
"""

_ROUNDS_KEPT = 2
"""A run that is taken up again asks for the round after its newest checkpoint: the last one, or the one before."""


@dataclass(frozen=True, slots=True)
class KeptUpdates:
    """The updates that left this site; files of the last rounds of each run, rows of all."""

    connection: sqlite3.Connection
    folder: Path

    def find(self, order: RoundOrder) -> dict[str, NDArray[np.float32]] | None:
        """Return the update that answered this order before; `None` if none has left.

        Raises:
            ConflictError: `already-exists` if the round was answered from another base, or its update is kept no more.
        """
        row = self.connection.execute(
            "SELECT * FROM released_update WHERE run_id = ? AND round = ?", (order.run_id, order.round)
        ).fetchone()
        if row is None:
            return None
        if row["base_sha256"] != order.base_sha256:
            raise ConflictError(
                Code.ALREADY_EXISTS,
                f"Round {order.round} was answered from other weights before. It is not trained twice.",
            )
        return self._read(order, row["update_sha256"])

    def norms(self, lineage: str) -> dict[str, NDArray[np.float32]] | None:
        """Return the norms that this site trained last for a lineage and never sent; `None` if there are none.

        Raises:
            UnavailableError: `node-fault` if they are damaged.
        """
        row = self.connection.execute("SELECT norms FROM site_norms WHERE lineage = ?", (lineage,)).fetchone()
        if row is None:
            return None
        try:
            return dict(load(row["norms"]))
        except SafetensorError as error:
            raise UnavailableError(
                Code.NODE_FAULT, f"The site's own norms of {lineage} are damaged. Restore the node's database."
            ) from error

    def keep(self, order: RoundOrder, update: Arrays, norms: Arrays | None = None) -> None:
        """Write an update down before it leaves, and with it the norms that stay here.

        Raises:
            UnavailableError: `disk-full`; the update must not leave then.
        """
        make_folder(self.folder / order.run_id)
        write_durably(self._path(order.run_id, order.round), _serialised(update))
        with transaction(self.connection):
            self.connection.execute(
                "INSERT INTO released_update VALUES (?, ?, ?, ?)",
                (order.run_id, order.round, order.base_sha256, arrays_sha256(update)),
            )
            if norms is not None:
                self.connection.execute(
                    "INSERT OR REPLACE INTO site_norms VALUES (?, ?, ?, ?)",
                    (order.plan.lineage, order.run_id, order.round, _serialised(norms)),
                )
        self._path(order.run_id, order.round - _ROUNDS_KEPT).unlink(missing_ok=True)

    def spoil(self, order: RoundOrder) -> None:
        """Write down that a round failed at this site after its charge: `find` finds an answer that is kept no more.

        Raises:
            UnavailableError: `disk-full`.
        """
        with transaction(self.connection):
            self.connection.execute(
                "INSERT INTO released_update VALUES (?, ?, ?, '')", (order.run_id, order.round, order.base_sha256)
            )

    def _read(self, order: RoundOrder, update_sha256: str) -> dict[str, NDArray[np.float32]]:
        try:
            update = dict(load(self._path(order.run_id, order.round).read_bytes()))
        except (OSError, SafetensorError) as error:
            raise _gone(order) from error
        if arrays_sha256(update) != update_sha256:
            raise _gone(order)
        return update

    def _path(self, run_id: str, number: int) -> Path:
        return self.folder / run_id / f"{number:04}.safetensors"


def _serialised(arrays: Arrays) -> bytes:
    return save({name: np.asarray(array) for name, array in arrays.items()})


def _gone(order: RoundOrder) -> ConflictError:
    return ConflictError(
        Code.ALREADY_EXISTS,
        f"Round {order.round} was answered here before and its answer is kept no more, or it failed. It is not trained twice.",
    )
