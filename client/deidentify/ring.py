"""The site's pseudonym keys over time: a new one for what is new, earlier ones as long as something is known by them.

The key file is one key a line, the newest first. The database notes the ids of all keys that were ever used, so that a key file from an
old backup is noticed: under it, what the newer key named would be strange, and come in twice.
"""

import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from client.deidentify.pseudonyms import KEY_BYTES, Pseudonyms, load_pseudonyms, save_pseudonyms
from client.store.database import transaction
from client.store.names import settle_names, uses_by_key
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, UnavailableError


@dataclass(frozen=True, slots=True)
class KeyUse:
    """One key of the ring: its id, and how many studies, patients, withdrawals and deletions are known by it."""

    key_id: str
    current: bool
    uses: int


class KeyRing:
    """The key file and what the database knows of it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._connection = connection
        self._clock = clock

    def load(self) -> Pseudonyms:
        """Return the site's pseudonyms.

        Raises:
            UnavailableError: `missing-certificate` if the file is absent or damaged, or lacks a key that is still in use.
        """
        pseudonyms = load_pseudonyms(self._path)
        held = {one.key_id for one in pseudonyms.ring}
        rows = self._connection.execute("SELECT key_id FROM pseudonym_key WHERE retired_at IS NULL")
        missing = {row["key_id"] for row in rows} - held
        if missing:
            raise UnavailableError(
                Code.MISSING_CERTIFICATE,
                f"{self._path} is older than the database: it lacks key {', '.join(sorted(missing))}."
                " Restore the newest copy; under an older one, known studies would come in twice.",
            )
        return pseudonyms

    def held(self) -> list[KeyUse]:
        """Return the keys, newest first.

        Raises:
            UnavailableError: `missing-certificate`.
        """
        ring = self.load().ring
        uses = uses_by_key(self._connection, ring[-1].key_id)
        return [KeyUse(one.key_id, at == 0, uses.get(one.key_id, 0)) for at, one in enumerate(ring)]

    def rotate(self) -> Pseudonyms:
        """Make a new key, for whatever is new from now on. No other program of this node may run meanwhile.

        First the names of before are noted under their key, then the file is replaced, then the database learns the new key's id. A crash
        in between leaves a ring that works; the step that is missing is made up for at the next rotation.

        Raises:
            UnavailableError: `missing-certificate`, `disk-full`.
        """
        before = self.load()
        with transaction(self._connection) as connection:
            settle_names(connection, before.ring[-1].key_id)
        after = Pseudonyms(secrets.token_bytes(KEY_BYTES), (before.key, *before.older))
        save_pseudonyms(self._path, after)
        with transaction(self._connection) as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO pseudonym_key VALUES (?, ?, NULL)",
                [(one.key_id, self._clock()) for one in after.ring],
            )
        return after

    def retire(self, key_id: str, *, forget: bool = False) -> None:
        """Destroy an earlier key by which nothing is known any more. The node must not run meanwhile.

        Args:
            key_id: Of an earlier key.
            forget: Let go also of withdrawals and deletions that are known by it: those patients and studies come back as strangers.

        Raises:
            InvalidInputError: `not-found` if the ring has no such key.
            ConflictError: `illegal-transition` for the current key, or one that is still needed.
            UnavailableError: `missing-certificate`, `disk-full`.
        """
        pseudonyms = self.load()
        kept = tuple(one.key for one in pseudonyms.ring[1:] if one.key_id != key_id)
        if key_id == pseudonyms.key_id:
            raise ConflictError(Code.ILLEGAL_TRANSITION, "This is the key in use. `key rotate` first makes a new one.")
        if len(kept) == len(pseudonyms.older):
            raise InvalidInputError(Code.NOT_FOUND, "There is no key of that id. `key list` shows them.")
        self._let_go(key_id, oldest=pseudonyms.ring[-1].key_id, forget=forget)
        save_pseudonyms(self._path, Pseudonyms(pseudonyms.key, kept))

    def _let_go(self, key_id: str, *, oldest: str, forget: bool) -> None:
        """Note that a key is retired, if nothing needs it.

        Raises:
            ConflictError: `illegal-transition`.
        """
        with transaction(self._connection) as connection:
            settle_names(connection, oldest)
            if forget:
                for statement in (_FORGET_PATIENTS, _FORGET_DELETED):
                    connection.execute(statement, (key_id,))
            uses = uses_by_key(connection, oldest).get(key_id, 0)
            if uses:
                raise ConflictError(
                    Code.ILLEGAL_TRANSITION,
                    f"{uses} names of studies and patients were given by this key. Delete those studies first;"
                    " --forget lets go of withdrawals and deletions only.",
                )
            connection.execute("DELETE FROM named_under WHERE key_id = ?", (key_id,))
            connection.execute(
                "INSERT INTO pseudonym_key VALUES (?, ?, ?) ON CONFLICT (key_id) DO UPDATE SET retired_at = excluded.retired_at",
                (key_id, self._clock(), self._clock()),
            )


_FORGET_PATIENTS = """
DELETE FROM withdrawn_subject WHERE subject_key IN (SELECT name FROM named_under WHERE key_id = ?)
AND subject_key NOT IN (SELECT subject_key FROM study)
"""
_FORGET_DELETED = """
DELETE FROM tombstone WHERE done_at IS NOT NULL AND study_key IN (SELECT name FROM named_under WHERE key_id = ?)
"""
