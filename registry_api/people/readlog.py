"""Who read which counts: a line per day, person, release and question, written before the first answer goes out."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from itertools import islice
from threading import Lock
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from registry_api.database import Database
from registry_api.people.tables import PersonRow, ReadLogRow
from registry_api.releases.query import may_see

log = logging.getLogger(__name__)

_KNOWN_MAX = 20_000
LISTED_MAX = 500
"""Lines of one answer."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What somebody read: `what` is the kind of answer, `question` its dimensions and values, `release` 0 for the list of releases."""

    day: date
    person_id: str
    what: str
    release: int
    question: str

    @property
    def line(self) -> str:
        """The key of its line."""
        said = (self.day.isoformat(), self.person_id, self.what, str(self.release), self.question)
        return hashlib.sha256("\0".join(said).encode()).hexdigest()


class ReadLog:
    """Notes what is read. That something was read is stored before the answer; how often it was read again, a little later.

    `database` must have connections of its own: a request that waits here holds one of the registry's, and many such would wait for each other.
    What is first read while a line is being stored goes into the next transaction together: a commit waits for the disk.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock
        self._lock, self._storing, self._flushing = Lock(), Lock(), Lock()
        self._first: Counter[Reading] = Counter()
        self._again: Counter[Reading] = Counter()

    def close(self) -> None:
        """Give the log's own connections back."""
        self._database.close()

    def again(self, reading: Reading) -> bool:
        """Count a reading of which the line is stored; False if it is not known to be, or is of another day."""
        with self._lock:
            known = self._knows(reading)
            if known:
                self._again[reading] += 1
            return known

    def knows(self, reading: Reading) -> bool:
        """Say whether the line of a reading is stored and still the day's."""
        with self._lock:
            return self._knows(reading)

    def _knows(self, reading: Reading) -> bool:
        return reading in self._again and reading.day == self._clock().date()

    def note(self, person_id: str, *, what: str, release: int, question: str) -> Reading:
        """Note that a person reads something, and return the reading.

        Raises:
            UnavailableError: `database-unreachable` or `disk-full` if it cannot be stored; then it must not be read either.
        """
        reading = Reading(self._clock().date(), person_id, what, release, question[:500])
        if not self.again(reading):
            with self._lock:
                self._first[reading] += 1
            with self._storing:
                self._store(reading)
        return reading

    def _store(self, reading: Reading) -> None:
        """Store every first reading that waits, unless somebody did so for this one meanwhile."""
        with self._lock:
            if reading in self._again and reading not in self._first:
                return
            first, self._first = self._first, Counter()
            first[reading] = first[reading] or 1  # whoever tried before could not store it
        with self._database.writing() as session:
            _add(session, first, now=self._clock())
        with self._lock:
            for stored in first:
                self._again.setdefault(stored, 0)

    def flush(self) -> None:
        """Store how often things were read again; what cannot be stored stays counted for the next time."""
        with self._flushing:
            with self._lock:
                pending = {reading: times for reading, times in self._again.items() if times}
            with self._database.writing() as session:
                _add(session, pending, now=self._clock())
            with self._lock:
                self._again.subtract(pending)
                if len(self._again) > _KNOWN_MAX:
                    self._again = +self._again


def _add(session: Session, counted: Mapping[Reading, int], *, now: datetime) -> None:
    """Insert lines or count them up, each in one statement: several processes may do so at once."""
    rows = [
        {
            "line": reading.line,
            "day": reading.day.isoformat(),
            "person_id": reading.person_id,
            "what": reading.what,
            "release": reading.release,
            "question": reading.question,
            "times": times,
            "last_at": now,
        }
        for reading, times in sorted(counted.items(), key=lambda one: one[0].line)
    ]
    if rows:
        connection = session.connection()
        connection.execute(_insert_or_count(connection.dialect.name), rows)


@cache
def _insert_or_count(dialect: str) -> Any:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(ReadLogRow)
    more = {"times": col(ReadLogRow.times) + statement.excluded.times, "last_at": statement.excluded.last_at}
    return statement.on_conflict_do_update(index_elements=["line"], set_=more)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the log as hospitals and auditors see it. `who` is the organisation's name, `place` what it may see."""

    day: str
    who: str
    role: str
    place: str | None
    what: str
    release: int
    question: str
    times: int
    last_at: datetime


def readings(
    session: Session, *, since: date, about: str | None, offset: int = 0, limit: int = LISTED_MAX
) -> list[Entry]:
    """Return who read what since a day, newest first: `limit` lines from `offset` on.

    Args:
        session: A reading one.
        since: The first day.
        about: A country or region: only readers are listed whose places include it or lie in it. None lists all.
        offset: How many lines to pass over.
        limit: How many lines at most.
    """
    query = (
        select(ReadLogRow, PersonRow)
        .join(PersonRow, col(PersonRow.id) == ReadLogRow.person_id)
        .where(ReadLogRow.day >= since.isoformat())
        .order_by(col(ReadLogRow.last_at).desc(), ReadLogRow.line)
        .execution_options(yield_per=LISTED_MAX)
    )
    found = (
        Entry(row.day, who.name, who.role, who.region, row.what, row.release, row.question, row.times, row.last_at)
        for row, who in session.exec(query)
        if about is None or may_see(about, who.region) or (who.region is not None and may_see(who.region, about))
    )
    return list(islice(found, offset, offset + limit))
