"""Deletes a study on request: first the word that it goes, then its files, then its rows. Killed at any moment, it goes on where it was.

What stays is a tombstone (keyed names, the version of the last record), the audit's rows, which name a case by its id, and what training has
cost: none of it can be taken back. docs/adr/0054 says why.
"""

import logging
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from client.settings import NodeSettings
from client.store.database import transaction
from client.store.files import alone_in, disk_faults, settle_folder
from client.store.persons import KEEP_NUMBERS
from client.store.results import DRAWN
from client.store.studies import MEASURING_LOCK
from protocol.case import CaseRecord
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError

CLEAR = "clear"

_FACTS = """
SELECT DISTINCT f.slot FROM context_fact_name f JOIN study_name s ON s.name = f.name AND s.role = f.role
WHERE s.study_key = :key AND ((:patient AND s.role = 'subject') OR (s.role = 'order' AND NOT EXISTS
    (SELECT 1 FROM study_name o WHERE o.name = s.name AND o.role = s.role AND o.study_key <> :key)))
UNION SELECT slot FROM context_fact_name WHERE role = 'study' AND name = :key
"""
"""What was said of a study, of its order unless another study carries the same, and, if asked for, of its patient."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Others:
    """What other rooms know of a study: whether a read is under way, and how to let go of reports and of what waits for the PACS."""

    under_way: Callable[[str], bool] = lambda _study_key: False
    forget: Callable[[str], None] = lambda _study_key: None


class Remover:
    """Deletes studies of one node. One per thread, as its connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        settings: NodeSettings,
        others: Others | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare the remover.

        Args:
            connection: To the node's database. Rows that it deletes are overwritten with zeros (`PRAGMA secure_delete`).
            settings: The node's.
            others: What other rooms know.
            clock: Seconds since 1970.
        """
        connection.execute("PRAGMA secure_delete=ON")
        self._connection = connection
        self._settings = settings
        self._others = others or Others()
        self._clock = clock

    def of_subject(self, study_key: str) -> list[str]:
        """Return every study of the patient of a study.

        Raises:
            InvalidInputError: `not-found`.
        """
        rows = self._connection.execute(
            "SELECT study_key FROM study WHERE subject_key = (SELECT subject_key FROM study WHERE study_key = ?)"
            " ORDER BY received_at, study_key",
            (study_key,),
        ).fetchall()
        if not rows:
            raise _unknown()
        return [row["study_key"] for row in rows]

    def delete(self, study_key: str, *, admit_again: bool = False, facts_of_patient: bool = False) -> None:
        """Delete a study for good. Its record is withdrawn from the centre by the worker; then its last rows go too.

        Args:
            study_key: The study.
            admit_again: If it is sent again, take it as new; otherwise it is refused with `study-deleted`.
            facts_of_patient: Delete also what was said of its patient.

        Raises:
            InvalidInputError: `not-found`.
            ConflictError: `illegal-transition` if a read of it is under way.
            UnavailableError: `disk-full`; what was begun is finished at the next start.
        """
        if self._others.under_way(study_key):
            raise ConflictError(
                Code.ILLEGAL_TRANSITION,
                "A read of this study is under way. Withdraw it first: `read list`, `read withdraw`.",
            )
        with alone_in(self._settings.studies, MEASURING_LOCK):
            self._bury(study_key, admit_again=admit_again, facts_of_patient=facts_of_patient)
            log.info("study.deletion_begun")
            self._finish_begun()

    def finish(self) -> int:
        """Go on with deletions that were begun: files, then rows. A study whose withdrawal the gate has not judged waits for that.

        Returns:
            How many are done now.

        Raises:
            UnavailableError: `disk-full`.
        """
        if not self.unfinished():
            return 0
        with alone_in(self._settings.studies, MEASURING_LOCK):
            return self._finish_begun()

    def unfinished(self) -> list[str]:
        """Return the studies whose deletion was begun and is not done."""
        return [
            row["study_key"]
            for row in self._connection.execute("SELECT study_key FROM tombstone WHERE done_at IS NULL")
        ]

    def readmit(self, study_key: str) -> None:
        """Let a deleted study be taken again when it is sent.

        Raises:
            InvalidInputError: `not-found`.
        """
        with transaction(self._connection) as connection:
            changed = connection.execute("UPDATE tombstone SET admit_again = 1 WHERE study_key = ?", (study_key,))
            if changed.rowcount == 0:
                raise InvalidInputError(Code.NOT_FOUND, "No study of that key was deleted. Check the key.")

    def _bury(self, study_key: str, *, admit_again: bool, facts_of_patient: bool) -> None:
        """Write the tombstone, and let go of everything that is rows alone: one commit, from which there is no way back.

        Raises:
            InvalidInputError: `not-found`.
        """
        with transaction(self._connection) as connection:
            study = connection.execute("SELECT * FROM study WHERE study_key = ?", (study_key,)).fetchone()
            if study is None:
                raise _unknown()
            connection.execute(
                "INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (study_key, study["subject_key"], study["case_id"], self._withdraw(connection, study_key),
                 int(admit_again), self._clock()),
            )  # fmt: skip
            self._delete_facts(connection, study_key, of_patient=facts_of_patient)
            connection.execute(KEEP_NUMBERS, (study_key,))
            for table in (
                "label",
                "label_resampling",
                "label_history",
                "drawn_draft",
                "drawn_decision",
                "drawn_mask",
                "zone_label",
                "study_context",
                "study_input",
                "held_out_score",
                "context_due",
                "study_name",
                "expired",
            ):
                connection.execute(f"DELETE FROM {table} WHERE study_key = ?", (study_key,))  # noqa: S608 - our own tables
            connection.execute(
                "UPDATE study SET state = 'refused', code = ?, grid = NULL, revision = revision + 1 WHERE study_key = ?",
                (Code.STUDY_DELETED.value, study_key),
            )

    def _finish_begun(self) -> int:
        return sum(self._finish_one(study_key) for study_key in self.unfinished())

    def _finish_one(self, study_key: str) -> bool:
        with disk_faults():
            self._remove_files(study_key)
        self._others.forget(study_key)
        with transaction(self._connection) as connection:
            for table in ("instance", "expectation", "hold"):
                connection.execute(f"DELETE FROM {table} WHERE study_key = ?", (study_key,))  # noqa: S608 - our own tables
            waits = connection.execute(
                "SELECT 1 FROM finding WHERE study_key = ? AND verdict IS NULL", (study_key,)
            ).fetchone()
            if waits is not None:
                return False
            connection.execute("DELETE FROM finding WHERE study_key = ?", (study_key,))
            connection.execute("DELETE FROM study WHERE study_key = ?", (study_key,))
            connection.execute("UPDATE tombstone SET done_at = ? WHERE study_key = ?", (self._clock(), study_key))
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        log.info("study.deleted")
        return True

    def _remove_files(self, study_key: str) -> None:
        settings = self._settings
        for folder in (settings.instances / study_key, settings.studies / study_key):
            if folder.exists():
                shutil.rmtree(folder)
                settle_folder(folder.parent)
        remove_label_files(settings, study_key)

    @staticmethod
    def _withdraw(connection: sqlite3.Connection, study_key: str) -> int:
        """Put the withdrawal in the place of a record that left or may leave, empty the finding, and return the last version."""
        row = connection.execute("SELECT * FROM finding WHERE study_key = ?", (study_key,)).fetchone()
        before = connection.execute("SELECT version FROM tombstone WHERE study_key = ?", (study_key,)).fetchone()
        if row is None:
            return int(before["version"]) if before is not None else 0
        record = CaseRecord.model_validate_json(row["record"]) if row["record"] else None
        if record is None or record.withdrawn or row["verdict"] not in {None, CLEAR}:
            verdict = row["verdict"] if record is not None and record.withdrawn else row["verdict"] or "nothing"
            connection.execute(
                "UPDATE finding SET document = '{}', verdict = ? WHERE study_key = ?", (verdict, study_key)
            )
            return int(row["version"])
        gone = record.model_copy(update={"version": record.version + 1, "withdrawn": True})
        connection.execute(
            "UPDATE finding SET document = '{}', record = ?, version = ?, verdict = NULL WHERE study_key = ?",
            (gone.model_dump_json(), gone.version, study_key),
        )
        return gone.version

    @staticmethod
    def _delete_facts(connection: sqlite3.Connection, study_key: str, *, of_patient: bool) -> None:
        """Delete what was said of a study, and of its order unless another study carries the same."""
        slots = connection.execute(_FACTS, {"key": study_key, "patient": of_patient}).fetchall()
        for row in slots:
            connection.execute("DELETE FROM context_fact_name WHERE slot = ?", (row["slot"],))
            connection.execute("DELETE FROM context_fact WHERE slot = ?", (row["slot"],))


def remove_label_files(settings: NodeSettings, study_key: str) -> None:
    """Remove a study's masks, earlier ones and those that wait included, and what was prepared from them."""
    for folder in (settings.prepared, settings.labels, settings.labels / DRAWN):
        for path in folder.glob(f"{study_key}-*"):
            path.unlink(missing_ok=True)


def _unknown() -> InvalidInputError:
    return InvalidInputError(
        Code.NOT_FOUND, "There is no study of that key; `acinus-node status --studies` lists them."
    )
