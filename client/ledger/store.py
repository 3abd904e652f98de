"""The budget ledger: an append-only, hash-chained list of charges in the node's database.

A charge replays the history, compares with the site's limit and appends, or refuses. Nothing is ever taken back: a node that
dies after the charge has spent it, whether or not the update left. The accountants take a moment, so they run outside the
transaction, which then appends only if the history is still the one that was replayed.
"""

import hashlib
import json
import math
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from client.ledger.account import Event, epsilon
from client.store.database import add_column, transaction
from protocol.codes import Code
from protocol.errors import ConflictError, RefusedError

SCHEMA = """
CREATE TABLE IF NOT EXISTS spend (
    number INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    lineage TEXT NOT NULL,
    noise_multiplier REAL NOT NULL,
    sample_rate REAL NOT NULL,
    steps INTEGER NOT NULL,
    clipping_norm REAL NOT NULL,
    charged_at TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    kind TEXT,
    UNIQUE (run_id, round)
) STRICT;
CREATE TRIGGER IF NOT EXISTS spend_is_kept BEFORE DELETE ON spend BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS spend_is_fixed BEFORE UPDATE ON spend BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""

_GENESIS = "0" * 64
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


class Kind(StrEnum):
    """What a charge pays for. One charge pays for one release: what was paid as a summand cannot leave as an update too."""

    UPDATE = "update"
    SUMMAND = "summand"
    EVALUATION = "evaluation"


_KINDS: dict[str | None, Kind | None] = {None: None, **{kind.value: kind for kind in Kind}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What a site is about to spend: one round of one run. Entries from before kinds were kept have none, and equal no spend of today."""

    run_id: str
    round: int
    kind: Kind | None
    lineage: str
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The site's own caps on ε at `delta`: for ever, within one run, and within any `period_days` days."""

    epsilon_total: float
    epsilon_per_run: float
    delta: float
    epsilon_per_period: float = math.inf
    period_days: int = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """The charge is on the disk. `epsilon` is of the whole history with it, the others of its run and of the period before it."""

    number: int
    epsilon: float
    epsilon_run: float
    epsilon_period: float
    again: bool = False
    """True if this round had been charged before: nothing was added."""

    def within(self, limit: Limit) -> bool:
        """Say whether no cap is passed."""
        return (
            self.epsilon <= limit.epsilon_total
            and self.epsilon_run <= limit.epsilon_per_run
            and self.epsilon_period <= limit.epsilon_per_period
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing was charged. `epsilon` is what the history would have come to."""

    epsilon: float
    code: Code = Code.BUDGET_SPENT


Price = Callable[[Sequence[Event], float], float]
"""Returns ε of a history at some δ (`client.ledger.account.epsilon`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger as it stands. `charged_at` is UTC, such as 2026-03-01T12:00:00Z, so it sorts as text."""

    number: int
    spend: Spend
    charged_at: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What charges would come to, one after the other, if nothing else happened.

    `passing` of them would pass; `epsilon` of the whole history and `epsilon_run` of the run are after those, `epsilon_whole` after all.
    """

    passing: int
    epsilon: float
    epsilon_run: float
    epsilon_whole: float


class Witness(Protocol):
    """Remembers each charge where the ledger itself does not stand (`client.gate.charges`). A chain cannot see that its end was cut off."""

    def note(self, number: int, sha256: str) -> None:
        """Write a charge down durably."""

    def noted(self) -> Iterable[tuple[int, str]]:
        """Return the number and hash of every charge that was written down."""


class BudgetLedger:
    """The site's ledger. One object per connection; any number of processes may charge at once."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        clock: Callable[[], datetime],
        witness: Witness,
        *,
        price: Price = epsilon,
    ) -> None:
        """Open the ledger.

        Args:
            connection: To the node's database.
            clock: The time, with its zone.
            witness: Is told of each charge before `charge` returns, and asked whenever the history is read.
            price: What a history costs at some δ.
        """
        self._connection = connection
        self._clock = clock
        self._witness = witness
        self._price = price
        add_column(connection, "spend", "kind")  # what stood there before has none, and so its hash stays

    def charge(self, spend: Spend, *, limit: Limit) -> Charged | Refused:
        """Append `spend` if the limit allows it.

        The same run and round is charged once: asking again gives the entry that stands there.

        Raises:
            RefusedError: `audit-broken` if the chain does not verify.
            ConflictError: `already-exists` if the round was charged with other numbers, or for another kind of release.
            UnavailableError: `disk-full`; then nothing may be computed. What was charged stays charged.
        """
        while True:
            entries = self.history()
            standing = next((e for e in entries if _same_round(e.spend, spend)), None)
            if standing is not None:
                outcome = self._charged_before(entries, standing, spend, limit)
                self._note(standing)
                return outcome
            entry = self._drafted(entries, spend)
            outcome = self._charged([*entries, entry], entry, limit)
            if not outcome.within(limit):
                return Refused(epsilon=outcome.epsilon)
            if self._appended(entry, entries):
                self._note(entry)
                return outcome

    def forecast(self, spends: Sequence[Spend], *, limit: Limit) -> Forecast:
        """Say how far `spends`, one after the other, would get; nothing is charged.

        Raises:
            RefusedError: `audit-broken`.
        """
        entries = self.history()
        before = len(entries)
        for spend in spends:
            entries.append(self._drafted(entries, spend))

        def after(count: int) -> Charged:
            """Say what the first `count` of them come to."""
            return self._charged(entries[: before + count], entries[before + count - 1], limit)

        def exceeds(count: int) -> bool:
            return not after(count).within(limit)

        whole = self._price(_events(entries), limit.delta)
        if not spends or not exceeds(len(spends)):
            passing = len(spends)
        else:  # more charges cost more, so a few looks find the first that does not pass
            passing = bisect_left(range(1, len(spends)), x=True, key=exceeds)
        if not passing:
            return Forecast(
                passing=0,
                epsilon=self._price(_events(entries[:before]), limit.delta),
                epsilon_run=0.0,
                epsilon_whole=whole,
            )
        last = after(passing)
        return Forecast(passing=passing, epsilon=last.epsilon, epsilon_run=last.epsilon_run, epsilon_whole=whole)

    def history(self) -> list[Entry]:
        """Return every entry, oldest first, after checking the chain and that it holds every charge that the witness was told of.

        Raises:
            RefusedError: `audit-broken` if an entry was changed, removed or moved, or the end was cut off.
        """
        noted = list(self._witness.noted())  # before the rows: a charge is written down after its row
        rows = self._connection.execute("SELECT * FROM spend ORDER BY number").fetchall()
        previous, entries = _GENESIS, []
        for place, row in enumerate(rows, start=1):
            entry = _entry(row)
            said = row["kind"] in _KINDS and row["hash"] == _hash(entry, previous)
            if row["number"] != place or row["previous"] != previous or not said:
                raise _broken(place)
            entries.append(entry)
            previous = row["hash"]
        hashes = {entry.number: entry.hash for entry in entries}
        for number, sha256 in noted:
            if hashes.get(number) != sha256:
                raise _broken(number)
        return entries

    def rounds_of(self, run_id: str) -> set[int]:
        """Return which rounds of a run were charged, for whatever it was.

        Raises:
            RefusedError: `audit-broken`.
        """
        return {entry.spend.round for entry in self.history() if entry.spend.run_id == run_id}

    def epsilon(self, delta: float) -> float:
        """Return what has been spent so far, at `delta`."""
        return self._price(_events(self.history()), delta)

    def _charged(self, entries: list[Entry], entry: Entry, limit: Limit, *, again: bool = False) -> Charged:
        """Say what `entry` and all before it come to."""
        before = [one for one in entries if one.number <= entry.number]
        own_run = [one for one in before if one.spend.run_id == entry.spend.run_id]
        since = (datetime.fromisoformat(entry.charged_at) - timedelta(days=limit.period_days)).strftime(_MOMENT)
        return Charged(
            number=entry.number,
            epsilon=self._price(_events(before), limit.delta),
            epsilon_run=self._price(_events(own_run), limit.delta),
            epsilon_period=self._price(_events([one for one in before if one.charged_at > since]), limit.delta),
            again=again,
        )

    def _charged_before(self, entries: list[Entry], standing: Entry, spend: Spend, limit: Limit) -> Charged:
        if standing.spend != spend:
            raise ConflictError(
                Code.ALREADY_EXISTS,
                "This round was charged before with other numbers or for another release; see `acinus-node ledger`.",
            )
        return self._charged(entries, standing, limit, again=True)

    def _note(self, entry: Entry) -> None:
        """Tell the witness of a charge, once."""
        if (entry.number, entry.hash) not in self._witness.noted():
            self._witness.note(entry.number, entry.hash)

    def _drafted(self, entries: list[Entry], spend: Spend) -> Entry:
        """Return the entry that would follow `entries`."""
        moment = self._clock().astimezone(UTC).strftime(_MOMENT)
        draft = Entry(number=len(entries) + 1, spend=spend, charged_at=moment, hash="")
        return replace(draft, hash=_hash(draft, _end(entries)))

    def _appended(self, entry: Entry, after: list[Entry]) -> bool:
        """Append `entry` if `after` is still the whole history; say whether it is in the ledger now."""
        with transaction(self._connection):
            last = self._connection.execute("SELECT hash FROM spend ORDER BY number DESC LIMIT 1").fetchone()
            unchanged = (last["hash"] if last else _GENESIS) == _end(after)
            if unchanged:
                self._insert(entry, _end(after))
        return unchanged

    def _insert(self, entry: Entry, previous: str) -> None:
        spend, event = entry.spend, entry.spend.event
        self._connection.execute(
            "INSERT INTO spend (number, run_id, round, kind, lineage, noise_multiplier, sample_rate, steps, clipping_norm, charged_at,"
            " previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.number, spend.run_id, spend.round, spend.kind, spend.lineage,
                event.noise_multiplier, event.sample_rate, event.steps, event.clipping_norm,
                entry.charged_at, previous, entry.hash,
            ),
        )  # fmt: skip


def _broken(number: int) -> RefusedError:
    return RefusedError(
        Code.AUDIT_BROKEN,
        f"The privacy ledger does not verify at charge {number}. Training is refused; restore the newest copy of the node's database.",
    )


def _events(entries: Sequence[Entry]) -> list[Event]:
    return [entry.spend.event for entry in entries]


def _end(entries: list[Entry]) -> str:
    return entries[-1].hash if entries else _GENESIS


def _same_round(one: Spend, other: Spend) -> bool:
    return (one.run_id, one.round) == (other.run_id, other.round)


def _entry(row: sqlite3.Row) -> Entry:
    event = Event(
        noise_multiplier=row["noise_multiplier"],
        sample_rate=row["sample_rate"],
        steps=row["steps"],
        clipping_norm=row["clipping_norm"],
    )
    spend = Spend(
        run_id=row["run_id"], round=row["round"], kind=_KINDS.get(row["kind"]), lineage=row["lineage"], event=event
    )
    return Entry(number=row["number"], spend=spend, charged_at=row["charged_at"], hash=row["hash"])


def _hash(entry: Entry, previous: str) -> str:
    """SHA-256 over the previous hash and everything the entry says; of a kind that was never said, nothing."""
    said = {"number": entry.number, "charged_at": entry.charged_at, "previous": previous, **asdict(entry.spend)}
    if entry.spend.kind is None:
        del said["kind"]
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
