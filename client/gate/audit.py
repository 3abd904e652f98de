"""The audit chain: one row for everything that asked to cross the border, each bound to the one before by SHA-256.

A chain finds a row that was changed, removed, put in or moved. It cannot see that its end was cut off, so the number and hash of
its last row are also kept in a file beside the database (`audit.head`), which moves forward only. Whoever can rewrite both can
rewrite history: copy the head to another machine from time to time, and `audit verify --head` will hold the chain against it.
"""

import fcntl
import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from client.store.database import transaction
from client.store.files import disk_faults, make_folder, write_durably
from protocol.codes import Code
from protocol.errors import RefusedError

SCHEMA = """
CREATE TABLE IF NOT EXISTS audit (
    number INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    event TEXT NOT NULL,
    subject TEXT NOT NULL,
    verdict TEXT NOT NULL,
    body TEXT,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE
) STRICT;
CREATE INDEX IF NOT EXISTS audit_by_event ON audit (event);
CREATE TRIGGER IF NOT EXISTS audit_is_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_is_fixed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
"""
"""`body` holds what left, word for word; of what was refused nothing is kept but the refusal."""

HEAD_FILE = "audit.head"
GENESIS = "0" * 64

_PLAIN = re.compile(r"[a-z0-9@:._/-]{1,120}")
"""No name, date with a clock or free text fits into a word of the audit."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands. `subject` is an opaque id, a run and round, a hash, or `-`."""

    number: int
    at: str
    event: str
    subject: str
    verdict: str
    body: str | None
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain at some moment."""

    number: int
    hash: str


class AuditChain:
    """The chain in one node's database. One object per connection; any number of processes may append."""

    def __init__(self, connection: sqlite3.Connection, head: Path, clock: Callable[[], datetime]) -> None:
        self._connection = connection
        self._head = head
        self._clock = clock

    def append(self, event: str, subject: str, verdict: str) -> None:
        """Write one row durably.

        Raises:
            RefusedError: `policy-shape` if a word could hold more than ids and codes.
            UnavailableError: `disk-full`; then nothing is written.
        """
        with transaction(self._connection):
            self.write(event, subject, verdict)
        self.advance_head()

    def write(self, event: str, subject: str, verdict: str, body: str | None = None) -> None:
        """Write one row inside the caller's transaction; `advance_head` is to follow the commit.

        Raises:
            RefusedError: `policy-shape` if a word could hold more than ids and codes, `audit-broken` if the head of an empty chain is damaged.
            UnavailableError: `disk-full` if the head of an empty chain cannot be written.
        """
        if not all(_PLAIN.fullmatch(word) for word in (event, subject, verdict)):
            raise RefusedError(Code.POLICY_SHAPE, "An audit row holds event names, opaque ids and codes only.")
        last = self.last()
        if last.number == 0:
            self._begin_head()
        at = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        row = Row(last.number + 1, at, event, subject, verdict, body, last.hash, "")
        self._connection.execute(
            "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (row.number, row.at, row.event, row.subject, row.verdict, row.body, row.previous, hash_of(row)),
        )

    def last(self) -> Head:
        """Return the end of the chain as it stands in the database."""
        row = self._connection.execute("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1").fetchone()
        return Head(row["number"], row["hash"]) if row is not None else Head(0, GENESIS)

    def advance_head(self) -> None:
        """Move the head to the end of the chain. A head that the chain does not hold stays: it is the proof of a cut."""
        with self._alone():
            kept = read_head(self._head)
            if kept is None:
                return  # it was there before the first row; `verify` says that it is gone
            if self._holds(kept):
                self._write_head(self.last())

    def rows(self) -> Iterator[Row]:
        """Yield every row, oldest first, unchecked."""
        for row in self._connection.execute("SELECT * FROM audit ORDER BY number"):
            yield Row(**dict(row))

    def newest(self) -> Iterator[Row]:
        """Yield every row, newest first, unchecked."""
        for row in self._connection.execute("SELECT * FROM audit ORDER BY number DESC"):
            yield Row(**dict(row))

    def subjects(self, event: str) -> list[str]:
        """Return the subjects of all rows of one event, oldest first, unchecked."""
        rows = self._connection.execute("SELECT subject FROM audit WHERE event = ? ORDER BY number", (event,))
        return [row["subject"] for row in rows]

    def verify(self, witnessed: Head | None = None) -> Head:
        """Check every row, the head beside the database, and a head that was kept elsewhere.

        Returns:
            The end of the chain.

        Raises:
            RefusedError: `audit-broken`, with the first place that does not fit.
        """
        # Before the rows: other parts of the node append meanwhile, and move it on to what is not seen here.
        head = read_head(self._head)
        end = Head(0, GENESIS)
        places = {0: GENESIS}
        for row in self.rows():
            if row.number != end.number + 1 or row.previous != end.hash or row.hash != hash_of(row):
                raise _broken(f"at row {end.number + 1}")
            end = Head(row.number, row.hash)
            places[row.number] = row.hash
        # There by now, it was begun with its first row meanwhile.
        if head is None and end.number and read_head(self._head) is None:
            raise _broken(f"because {self._head.name} is missing, so that nobody can say whether its end was cut off")
        for witness in (head, witnessed):
            if witness is not None and places.get(witness.number) != witness.hash:
                raise _broken(f"because it once had row {witness.number} in another form, or its end was cut off")
        return end

    def _begin_head(self) -> None:
        """Write the head of an empty chain before its first row is there: one that is missing later was taken away.

        The caller's transaction keeps every other process from writing that row meanwhile.
        """
        with self._alone():
            if read_head(self._head) is None:
                self._write_head(Head(0, GENESIS))

    def _holds(self, head: Head) -> bool:
        if head.number == 0:
            return head.hash == GENESIS
        row = self._connection.execute("SELECT hash FROM audit WHERE number = ?", (head.number,)).fetchone()
        return row is not None and row["hash"] == head.hash

    def _write_head(self, head: Head) -> None:
        write_durably(self._head, json.dumps(asdict(head)).encode() + b"\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time move the head."""
        with disk_faults():
            make_folder(self._head.parent)
            with self._head.with_name(f".{self._head.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield


def read_head(path: Path) -> Head | None:
    """Return the head in `path`, or `None` if there is no such file.

    Raises:
        RefusedError: `audit-broken` if the file holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Head(int(content["number"]), str(content["hash"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise _broken(f"because {path.name} is damaged") from error


def hash_of(row: Row) -> str:
    """Return SHA-256 over everything the row says, the hash of the row before included."""
    said = {key: value for key, value in asdict(row).items() if key != "hash"}
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _broken(where: str) -> RefusedError:
    return RefusedError(
        Code.AUDIT_BROKEN, f"The audit chain does not verify {where}. Compare the node's database with a backup."
    )
