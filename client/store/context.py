"""What DICOM does not carry, in the node's database: facts by opaque names, found again for the studies that they speak of.

A fact may come before its study and waits for it; one that comes later marks the study, and the worker draws its conclusion anew.
"""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable

from client.store.database import transaction
from client.store.facts import Conclusion, Fact, FactKind, FactNames, Heard, Hearing, Source
from client.store.names import names_of_study, note_study_names
from client.store.records import Finding, StudyNames

_MATCHES = """
SELECT DISTINCT f.*,
    EXISTS (SELECT 1 FROM context_fact_name n WHERE n.slot = f.slot AND n.role IN ('study', 'order')) AS of_study,
    EXISTS (SELECT 1 FROM context_fact_name n WHERE n.slot = f.slot AND n.role = 'study' AND n.name = :study) AS direct
FROM context_fact f JOIN context_fact_name m USING (slot)
WHERE f.retracted = 0 AND (
    (m.role = 'study' AND m.name = :study)
    OR (m.role = 'order' AND m.name IN (SELECT name FROM study_name WHERE study_key = :study AND role = 'order'))
    OR (m.role = 'subject' AND m.name IN (SELECT name FROM study_name WHERE study_key = :study AND role = 'subject')
        AND NOT EXISTS (SELECT 1 FROM context_fact_name n WHERE n.slot = f.slot AND n.role IN ('study', 'order')))
)
ORDER BY f.received_at, f.slot
"""
"""All that is said of one study: by its own name, by its order, by its patient."""

_PATIENTS_OF_ORDER = """
SELECT COUNT(DISTINCT study.subject_key) AS n FROM study WHERE study_key IN (
    SELECT s.study_key FROM study_name s JOIN study_name own ON own.name = s.name AND own.role = 'order' AND s.role = 'order'
    WHERE own.study_key = :study
)
"""

_STUDIES_OF = """
SELECT study_key FROM study WHERE study_key IN (SELECT name FROM context_fact_name WHERE slot = :slot AND role = 'study')
UNION SELECT s.study_key FROM study_name s JOIN context_fact_name f ON f.name = s.name AND f.role = s.role
WHERE f.slot = :slot AND s.role IN ('order', 'subject')
"""
"""The studies that a fact may concern. It errs towards too many: a conclusion that is drawn again changes nothing."""


class ContextStore:
    """Facts and conclusions of one node. One instance per thread, as its connection."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock

    # Hearing

    def put(self, facts: Iterable[Fact], *, message: str = "") -> bool:
        """Keep facts durably, all or none. A fact that is known under its slot is replaced, unless the known one was stated later.

        Args:
            facts: What was said.
            message: Opaque name of the message that said it; the same message again changes nothing.

        Returns:
            False if the message had come before.

        Raises:
            UnavailableError: `disk-full`; nothing is kept then, and nothing may be acknowledged.
        """
        with transaction(self._connection) as connection:
            if message and not self._first_time(connection, message):
                return False
            for fact in facts:
                self._put_one(connection, fact)
        return True

    def remember(self, study_key: str, names: StudyNames) -> None:
        """Note by what names a stored study is found; for instances that came before the node looked for them.

        Raises:
            UnavailableError: `disk-full`.
        """
        with transaction(self._connection) as connection:
            note_study_names(connection, study_key, names)

    def about(self, study_key: str) -> Hearing:
        """Return all that is said of a study.

        What names its order and another patient is left out and counted; and then nothing counts that knows the study by its order
        alone, for one of the two numbers is wrong and nobody can say which. The same holds for an order that studies of two patients
        carry.
        """
        mark = self._mark(study_key)
        own = names_of_study(self._connection, study_key)
        rows = self._connection.execute(_MATCHES, {"study": study_key}).fetchall()
        others = {row["slot"] for row in rows if self._speaks_of_another(row["slot"], own)}
        by_order = {row["slot"] for row in rows if row["of_study"] and not row["direct"]}
        shared = self._connection.execute(_PATIENTS_OF_ORDER, {"study": study_key}).fetchone()["n"] > 1
        confused = bool(others) or (shared and bool(by_order))
        left_out = others | (by_order if confused else set())
        heard = tuple(_heard(row) for row in rows if row["slot"] not in left_out)
        return Hearing(heard=heard, confused=confused, mark=mark)

    # Concluding

    def due(self) -> list[str]:
        """Return the measured studies of which something new was said, or of which no conclusion was ever drawn."""
        rows = self._connection.execute(
            "SELECT study_key FROM study WHERE state = 'measured' AND (study_key IN (SELECT study_key FROM context_due)"
            " OR study_key NOT IN (SELECT study_key FROM study_context)) ORDER BY changed_at, study_key"
        )
        return [row["study_key"] for row in rows]

    def conclude(self, study_key: str, conclusion: Conclusion, mark: int, revised: Finding | None = None) -> None:
        """Make a conclusion count; what was said since `mark` keeps the study due.

        Args:
            study_key: The study.
            conclusion: What is known of it.
            mark: Of the hearing that the conclusion was drawn from.
            revised: The finding with a new version of its record, where the record changes; it waits for the gate.

        Raises:
            UnavailableError: `disk-full`.
        """
        with transaction(self._connection) as connection:
            if connection.execute("SELECT 1 FROM study WHERE study_key = ?", (study_key,)).fetchone() is None:
                return  # deleted meanwhile
            connection.execute(
                "INSERT OR REPLACE INTO study_context VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (study_key, conclusion.day, conclusion.header_sex, conclusion.header_age_band, conclusion.sex,
                 conclusion.age_band, conclusion.pcr, conclusion.care_setting, conclusion.question,
                 json.dumps(conclusion.sources, sort_keys=True), json.dumps(list(conclusion.doubts)), self._clock()),
            )  # fmt: skip
            connection.execute("DELETE FROM context_due WHERE study_key = ? AND mark = ?", (study_key, mark))
            if revised is not None:
                connection.execute(
                    "UPDATE finding SET record = ?, version = ?, verdict = NULL WHERE study_key = ? AND version = ?",
                    (revised.record, revised.version, study_key, revised.version - 1),
                )

    def conclusion(self, study_key: str) -> Conclusion | None:
        """Return what the node holds of a study; `None` if no conclusion has been drawn yet."""
        row = self._connection.execute("SELECT * FROM study_context WHERE study_key = ?", (study_key,)).fetchone()
        if row is None:
            return None
        return Conclusion(
            day=row["day"], header_sex=row["header_sex"], header_age_band=row["header_age_band"], sex=row["sex"],
            age_band=row["age_band"], pcr=row["pcr"], care_setting=row["care_setting"], question=row["question"],
            sources=json.loads(row["sources"]), doubts=tuple(json.loads(row["doubts"])),
        )  # fmt: skip

    def counts(self) -> dict[str, object]:
        """Return how many facts are held and how many of them wait for a study, and how many studies are in doubt, by why."""
        held = self._connection.execute("SELECT COUNT(*) AS n FROM context_fact WHERE retracted = 0").fetchone()["n"]
        found = self._connection.execute(
            "SELECT COUNT(DISTINCT f.slot) AS n FROM context_fact f JOIN context_fact_name n USING (slot)"
            " WHERE f.retracted = 0 AND ((n.role = 'study' AND n.name IN (SELECT study_key FROM study))"
            " OR (n.role IN ('order', 'subject') AND EXISTS"
            " (SELECT 1 FROM study_name s WHERE s.name = n.name AND s.role = n.role)))"
        ).fetchone()["n"]
        doubts: Counter[str] = Counter()
        for row in self._connection.execute("SELECT doubts FROM study_context WHERE doubts <> '[]'"):
            doubts.update(json.loads(row["doubts"]))
        return {"facts": int(held), "waiting": int(held) - int(found), "doubts": dict(sorted(doubts.items()))}

    # Inside

    def _first_time(self, connection: sqlite3.Connection, message: str) -> bool:
        noted = connection.execute(
            "INSERT OR IGNORE INTO context_message VALUES (?, ?)", (message, self._clock())
        )  # fmt: skip
        return noted.rowcount > 0

    def _put_one(self, connection: sqlite3.Connection, fact: Fact) -> None:
        now = self._clock()
        stated_at = (
            now if fact.stated_at is None else min(now, fact.stated_at)
        )  # a clock ahead must not bar corrections
        slot = self._known_slot(connection, fact.slots)
        known = connection.execute("SELECT stated_at FROM context_fact WHERE slot = ?", (slot,)).fetchone()
        if known is not None and known["stated_at"] > stated_at:
            return
        self._mark_due(connection, slot)  # whatever the earlier statement was about loses it
        connection.execute("DELETE FROM context_fact_name WHERE slot = ?", (slot,))
        connection.execute(
            "INSERT INTO context_fact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (slot) DO UPDATE SET"
            " source = excluded.source, kind = excluded.kind, value = excluded.value, first_day = excluded.first_day,"
            " last_day = excluded.last_day, retracted = excluded.retracted, stated_at = excluded.stated_at,"
            " received_at = excluded.received_at",
            (slot, fact.source.value, fact.kind.value, "" if fact.retracted else fact.value, fact.first_day,
             fact.last_day, int(fact.retracted), stated_at, now),
        )  # fmt: skip
        connection.executemany(
            "INSERT OR IGNORE INTO context_fact_name VALUES (?, ?, ?)",
            [(slot, role, name) for role, name in _roles(fact.names)],
        )
        self._mark_due(connection, slot)

    @staticmethod
    def _known_slot(connection: sqlite3.Connection, slots: tuple[str, ...]) -> str:
        """Return the one of a statement's names that is known: it may have come first under an earlier key."""
        for slot in reversed(slots):
            if connection.execute("SELECT 1 FROM context_fact WHERE slot = ?", (slot,)).fetchone() is not None:
                return slot
        return slots[0]

    @staticmethod
    def _mark_due(connection: sqlite3.Connection, slot: str) -> None:
        connection.execute(
            f"INSERT INTO context_due SELECT study_key, 1 FROM ({_STUDIES_OF}) WHERE true"  # noqa: S608 - a constant of this module
            " ON CONFLICT (study_key) DO UPDATE SET mark = mark + 1",
            {"slot": slot},
        )

    def _mark(self, study_key: str) -> int:
        row = self._connection.execute("SELECT mark FROM context_due WHERE study_key = ?", (study_key,)).fetchone()
        return int(row["mark"]) if row is not None else 0

    def _speaks_of_another(self, slot: str, own: StudyNames) -> bool:
        """Say whether a fact names another patient than the study's. Where one of them has no number it cannot be told, and counts."""
        rows = self._connection.execute(
            "SELECT name FROM context_fact_name WHERE slot = ? AND role = 'number'", (slot,)
        ).fetchall()
        said = {row["name"] for row in rows}
        return bool(said and own.numbers) and not said & own.numbers


def _roles(names: FactNames) -> Iterable[tuple[str, str]]:
    for role, found in (
        ("study", names.studies), ("order", names.orders), ("subject", names.subjects), ("number", names.numbers),
    ):  # fmt: skip
        for name in sorted(found):
            yield role, name


def _heard(row: sqlite3.Row) -> Heard:
    return Heard(
        source=Source(row["source"]), kind=FactKind(row["kind"]), value=row["value"], first_day=row["first_day"],
        last_day=row["last_day"], of_study=bool(row["of_study"]), received_at=row["received_at"],
    )  # fmt: skip
