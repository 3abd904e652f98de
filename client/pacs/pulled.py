"""What was fetched from the PACS, durably: each instance and each study under its key, so that no UID stands in it."""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from client.gate.backoff import Backoff
from client.store.database import transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS pulled_instance (
    instance_key TEXT PRIMARY KEY,
    code TEXT,
    taken_s REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS pulled_study (
    study_key TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('complete', 'waiting', 'parked')),
    instances INTEGER,
    rules TEXT NOT NULL,
    code TEXT,
    attempts INTEGER NOT NULL,
    due_s REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS pulled_study_by_state ON pulled_study (state);
CREATE TABLE IF NOT EXISTS pull_poll (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    polled_s REAL NOT NULL,
    code TEXT
) STRICT;
"""
"""`pulled_study.instances` is what the PACS counted when the study was complete; `rules` a digest of the rules it was complete under."""

MOST_ATTEMPTS = 12
"""Then a study waits for a person, or for another instance of it in the PACS."""


@dataclass(frozen=True, slots=True)
class StuckPull:
    """A study that could not be fetched so far; it is tried again by itself unless it is parked."""

    study_key: str
    parked: bool
    attempts: int
    code: str | None


@dataclass(frozen=True, slots=True)
class PullState:
    """How pulling is, for `status`."""

    polled: str | None
    code: str | None
    complete: int
    waiting: int
    parked: int


class Pulled:
    """The cursor in one node's database. One object per connection."""

    def __init__(
        self, connection: sqlite3.Connection, clock: Callable[[], float], backoff: Backoff | None = None
    ) -> None:
        """Open the cursor.

        Args:
            connection: To the node's database.
            clock: Seconds since 1970.
            backoff: Between tries at one study.
        """
        self._connection = connection
        self._clock = clock
        self._backoff = backoff or Backoff(first=60.0, ceiling=6 * 3600.0)

    def has(self, instance_keys: Iterable[str]) -> bool:
        """Say whether an instance was fetched before, under whichever of its names, one for each key of the site."""
        known = "SELECT 1 FROM pulled_instance WHERE instance_key = ?"
        return any(self._connection.execute(known, (key,)).fetchone() is not None for key in instance_keys)

    def noted(self, study_keys: tuple[str, ...]) -> str:
        """Return the one of a study's names, one for each key of the site, under which it was noted; else the first."""
        known = "SELECT 1 FROM pulled_study WHERE study_key = ?"
        return next((key for key in study_keys if self._connection.execute(known, (key,)).fetchone()), study_keys[0])

    def note(self, instance_key: str, code: str | None) -> None:
        """Note that an instance is durable in the store, or in quarantine with a code."""
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO pulled_instance VALUES (?, ?, ?)", (instance_key, code, self._clock())
            )

    def forget(self, instance_keys: Iterable[str]) -> None:
        """Let go of these instances: they are fetched as if they never had been."""
        with transaction(self._connection) as connection:
            connection.executemany(
                "DELETE FROM pulled_instance WHERE instance_key = ?", [(key,) for key in instance_keys]
            )

    def is_settled(self, study_key: str, instances: int | None, rules: str) -> bool:
        """Say whether nothing is to be done about a study now.

        It is so when the study is complete under these rules, or parked, and the PACS counts no more instances than then; or when
        it waits for its next try. Where the PACS does not count, its series must be looked at each time.
        """
        row = self._connection.execute("SELECT * FROM pulled_study WHERE study_key = ?", (study_key,)).fetchone()
        if row is None:
            return False
        if row["state"] == "waiting":
            return bool(row["due_s"] > self._clock())
        return instances is not None and row["instances"] == instances and row["rules"] == rules

    def complete(self, study_key: str, instances: int | None, rules: str) -> None:
        """Note that all that the rules want of a study has come."""
        self._put((study_key, "complete", instances, rules, None, 0, 0.0))

    def postpone(self, study_key: str, instances: int | None, rules: str, *, code: str, chance: float) -> None:
        """Note that a study could not be fetched whole: it is tried again later, and parked after twelve tries.

        Args:
            study_key: The study's.
            instances: What the PACS counts.
            rules: The digest of the rules.
            code: Why.
            chance: Uniform in [0, 1), for the jitter.
        """
        row = self._connection.execute("SELECT * FROM pulled_study WHERE study_key = ?", (study_key,)).fetchone()
        fresh = row is None or row["state"] != "waiting"
        attempts = 1 if fresh else int(row["attempts"]) + 1
        due_s = self._clock() + self._backoff.delay(attempts, chance)
        state = "parked" if attempts >= MOST_ATTEMPTS else "waiting"
        self._put((study_key, state, instances, rules, code, attempts, due_s))

    def fetched_by_hand(self, study_key: str) -> None:
        """Note that a person had a study fetched that was parked or waited: nothing of it is stuck any more."""
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE pulled_study SET state = 'complete', code = NULL, attempts = 0 WHERE study_key = ? AND state <> 'complete'",
                (study_key,),
            )

    def retry(self) -> int:
        """Let what is parked or waits be tried with the next look into the PACS, twelve times again; return how many studies."""
        with transaction(self._connection) as connection:
            return connection.execute(
                "UPDATE pulled_study SET state = 'waiting', attempts = 0, due_s = 0 WHERE state <> 'complete'"
            ).rowcount

    def stuck(self, limit: int = 20) -> list[StuckPull]:
        """Return the studies that are parked, and those that wait for another try, the ones that are due last first."""
        rows = self._connection.execute(
            "SELECT * FROM pulled_study WHERE state <> 'complete' AND attempts > 0 ORDER BY state, due_s DESC, study_key LIMIT ?",
            (limit,),
        )
        return [StuckPull(row["study_key"], row["state"] == "parked", row["attempts"], row["code"]) for row in rows]

    def note_poll(self, code: str | None) -> None:
        """Note how the last look into the PACS ended."""
        with transaction(self._connection) as connection:
            connection.execute("INSERT OR REPLACE INTO pull_poll VALUES (1, ?, ?)", (self._clock(), code))

    def state(self) -> PullState:
        """Return how pulling is."""
        poll = self._connection.execute("SELECT * FROM pull_poll").fetchone()
        rows = self._connection.execute("SELECT state, COUNT(*) AS n FROM pulled_study GROUP BY state")
        counts = {row["state"]: int(row["n"]) for row in rows}
        polled = None if poll is None else datetime.fromtimestamp(poll["polled_s"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return PullState(
            polled,
            None if poll is None else poll["code"],
            *(counts.get(s, 0) for s in ("complete", "waiting", "parked")),
        )

    def _put(self, row: tuple[object, ...]) -> None:
        with transaction(self._connection) as connection:
            connection.execute("INSERT OR REPLACE INTO pulled_study VALUES (?, ?, ?, ?, ?, ?, ?)", row)
