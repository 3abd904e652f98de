"""The index of studies: what arrived, what became of it, what is labelled. Files first, then the row that makes them count."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from client.settings import NodeSettings
from client.store.arrivals import DUE, Arrivals
from client.store.database import transaction
from client.store.drawn import DrawnMasks
from client.store.files import adopt, alone_in, sweep_drafts
from client.store.history import History
from client.store.labels import Labels
from client.store.names import first_known, known_as, note_names
from client.store.records import (
    Admission,
    Finding,
    InstanceKeys,
    Quarantined,
    ScanInput,
    Study,
    StudyState,
)
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError

MEASURING_LOCK = ".worker.lock"
"""Beside those folders: held by whoever writes or removes results. It does not nest."""

_MOST_ATTEMPTS = 5
"""A study at which the worker has died this often is refused: it must not keep the others from being measured."""


class StudyStore:
    """Studies, instances and findings of one node, with what arrives and the labels in rooms of their own. One instance per thread, as its connection."""

    def __init__(
        self, connection: sqlite3.Connection, settings: NodeSettings, clock: Callable[[], float] = time.time
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._clock = clock
        self.arrivals = Arrivals(connection, clock)
        self.history = History(connection)
        self.labels = Labels(connection, settings, clock)
        self.drawn = DrawnMasks(connection, settings, clock)

    def close(self) -> None:
        """Close the connection; a receiver opens one for each association."""
        self._connection.close()

    def now(self) -> float:
        """Return the store's time, seconds since 1970."""
        return self._clock()

    # Arrival

    def known_as(self, keys: InstanceKeys) -> InstanceKeys:
        """Return the names under which the node knows this instance's study and patient (`client.store.names`)."""
        return known_as(self._connection, keys)

    def first_known(self, study_keys: tuple[str, ...]) -> str:
        """Return the one of a study's names, one for each key of the site, under which the node knows it; else the first."""
        return first_known(self._connection, study_keys)

    def holds(self, study_keys: tuple[str, ...]) -> bool:
        """Say whether the node has a study, by its names, one for each key of the site."""
        known = "SELECT 1 FROM study WHERE study_key = ?"
        return any(self._connection.execute(known, (key,)).fetchone() is not None for key in study_keys)

    def is_deleted(self, study_key: str) -> bool:
        """Say whether the study was deleted and must not come back."""
        row = self._connection.execute(
            "SELECT 1 FROM tombstone WHERE study_key = ? AND (admit_again = 0 OR done_at IS NULL)", (study_key,)
        ).fetchone()
        return row is not None

    def admit(self, keys: InstanceKeys, spooled: Path, sha256: str) -> Admission:
        """Keep the instance at `spooled` durably and index it. Sent again, it changes nothing.

        Args:
            keys: Its pseudonymous names, as `known_as` gives them.
            spooled: Where it lies now, with a clean preamble; stays for the caller to remove.
            sha256: Of its data set, without preamble and file meta group (those change with the sender).

        Raises:
            UnavailableError: `disk-full`; nothing is indexed then.
        """
        known = self._connection.execute(
            "SELECT sha256 FROM instance WHERE instance_key = ?", (keys.instance_key,)
        ).fetchone()
        if known is not None:
            return Admission.KNOWN if known["sha256"] == sha256 else Admission.CONFLICTING
        path = self._instance_path(keys)
        if self.is_deleted(keys.study_key):
            return Admission.DELETED
        adopt(spooled, path)
        with transaction(self._connection) as connection:
            if self.is_deleted(keys.study_key):  # it may have been deleted a moment ago
                path.unlink(missing_ok=True)
                return Admission.DELETED
            self._touch_study(connection, keys)
            note_names(connection, keys)
            connection.execute(
                "INSERT OR IGNORE INTO instance VALUES (?, ?, ?, ?, ?, ?, ?)",
                (keys.instance_key, keys.study_key, keys.series_key, f"{keys.study_key}/{path.name}", sha256,
                 path.stat().st_size, self._clock()),
            )  # fmt: skip
        return Admission.STORED

    def sweep_arrivals(self) -> int:
        """Remove what a killed receiver left half-written among the studies that are still arriving; return how many files."""
        waiting = self._connection.execute("SELECT study_key FROM study WHERE state = 'received'")
        return sum(sweep_drafts(self._settings.instances / row["study_key"]) for row in waiting)

    def quarantine(self, spooled: Path, sha256: str, code: Code) -> None:
        """Keep what cannot be used, with the reason.

        Raises:
            UnavailableError: `disk-full`.
        """
        path = self._settings.quarantine / f"{sha256}.bin"
        adopt(spooled, path)
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO quarantine VALUES (?, ?, ?, ?, ?)",
                (sha256, code.value, path.name, path.stat().st_size, self._clock()),
            )

    def quarantined(self) -> list[Quarantined]:
        """Return all that is in quarantine, oldest first."""
        rows = self._connection.execute("SELECT * FROM quarantine ORDER BY received_at, sha256")
        return [
            Quarantined(
                sha256=row["sha256"], code=row["code"], path=self._settings.quarantine / row["file"], bytes=row["bytes"],
                received_at=row["received_at"],
            )
            for row in rows
        ]  # fmt: skip

    # Studies

    def studies(self) -> list[Study]:
        """Return every study, oldest first."""
        rows = self._connection.execute("SELECT * FROM study ORDER BY received_at, study_key")
        return [_study(row) for row in rows]

    def study(self, study_key: str) -> Study:
        """Return one study.

        Raises:
            InvalidInputError: `not-found`.
        """
        row = self._connection.execute("SELECT * FROM study WHERE study_key = ?", (study_key,)).fetchone()
        if row is None:
            raise InvalidInputError(
                Code.NOT_FOUND, "There is no study of that key; `acinus-node status --studies` lists them."
            )
        return _study(row)

    def instances(self, study_key: str) -> list[Path]:
        """Return the instance files of a study."""
        rows = self._connection.execute(
            "SELECT file FROM instance WHERE study_key = ? ORDER BY series_key, instance_key", (study_key,)
        )
        return [self._settings.instances / row["file"] for row in rows]

    def folder(self, study_key: str) -> Path:
        """Return the folder of a study's results."""
        return self._settings.studies / study_key

    def counts(self) -> dict[str, int]:
        """Return how many studies are in each state, and how many instances in quarantine."""
        rows = self._connection.execute("SELECT state, COUNT(*) AS n FROM study GROUP BY state")
        found = {row["state"]: int(row["n"]) for row in rows}
        quarantined = self._connection.execute("SELECT COUNT(*) AS n FROM quarantine").fetchone()["n"]
        return {state.value: found.get(state.value, 0) for state in StudyState} | {"quarantined": int(quarantined)}

    def due(self, quiet_seconds: float, patience_seconds: float = 0.0) -> list[Study]:
        """Return the studies that wait to be measured and are complete, oldest first.

        Args:
            quiet_seconds: How long nothing must have come.
            patience_seconds: How long a study may wait for announced instances, or for an open association, after the last one.
        """
        rows = self._connection.execute(
            DUE,
            {"now": self._clock(), "quiet": quiet_seconds, "patience": patience_seconds},
        )
        return [_study(row) for row in rows]

    def begin(self, study_key: str) -> Study | None:
        """Count an attempt at a study and return it as it is now; `None` when it has been tried too often.

        The count is written before the work: a study that kills its worker cannot do so for ever.
        """
        with transaction(self._connection) as connection:
            connection.execute("UPDATE study SET attempts = attempts + 1 WHERE study_key = ?", (study_key,))
        study = self.study(study_key)
        return study if study.attempts <= _MOST_ATTEMPTS else None

    def settle_measured(self, study: Study, finding: Finding, grid: str) -> bool:
        """Make a measurement count; its files are on the disk already.

        Returns:
            False when instances have come since `study` was read: the study waits to be measured again.
        """
        with transaction(self._connection) as connection:
            if not self._is_current(connection, study):
                return False
            connection.execute(
                "INSERT OR REPLACE INTO finding VALUES (?, ?, ?, ?, ?, ?, ?)",
                (finding.study_key, finding.model_release, finding.document, finding.record, finding.version,
                 finding.verdict, finding.measured_at),
            )  # fmt: skip
            connection.execute(
                "UPDATE study SET state = 'measured', code = NULL, attempts = 0, grid = ? WHERE study_key = ?",
                (grid, study.study_key),
            )
        return True

    def note_input(self, study_key: str, scan: ScanInput) -> None:
        """Write down what the scanner gave, for groups of held-out patients and to see scans change; it never leaves as it is."""
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO study_input SELECT study_key, ?, ?, ? FROM study WHERE study_key = ? AND grid IS NOT NULL",
                (scan.maker, scan.slice_mm, scan.lung_hu, study_key),
            )

    def settle_refused(self, study: Study, code: Code, withdrawal: Finding | None = None) -> bool:
        """Refuse a study with `code`; where it had been measured before, `withdrawal` takes the place of its finding.

        Returns:
            False when instances have come since `study` was read.
        """
        with transaction(self._connection) as connection:
            if not self._is_current(connection, study):
                return False
            connection.execute(
                "UPDATE study SET state = 'refused', code = ?, attempts = 0, grid = NULL WHERE study_key = ?",
                (code.value, study.study_key),
            )
            if withdrawal is not None:
                connection.execute(
                    "UPDATE finding SET record = ?, version = ?, verdict = NULL WHERE study_key = ?",
                    (withdrawal.record, withdrawal.version, study.study_key),
                )
        return True

    def settle_as_before(self, study: Study) -> bool:
        """Keep the result of a study whose first instances were removed after their period and of which a few more have come.

        Returns:
            False for any other study: nothing is changed then.
        """
        with transaction(self._connection) as connection:
            kept = connection.execute(
                "UPDATE study SET state = 'measured', code = NULL, attempts = 0 WHERE study_key = :key AND revision = :revision"
                " AND study_key IN (SELECT study_key FROM expired WHERE kind = 'instances')"
                " AND study_key IN (SELECT study_key FROM finding WHERE record NOT LIKE '%\"withdrawn\":true%')",
                {"key": study.study_key, "revision": study.revision},
            )
        return kept.rowcount > 0

    def reopen(self, study_key: str) -> Study:
        """Ask for a study to be measured again, at once.

        Raises:
            InvalidInputError: `not-found`.
            ConflictError: `illegal-transition` if its instances are kept no more.
        """
        self.study(study_key)
        if not self.instances(study_key):
            raise ConflictError(
                Code.ILLEGAL_TRANSITION,
                "The instances of this study are kept no more. Send it again to measure it again.",
            )
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE study SET state = 'received', attempts = 0, changed_at = 0 WHERE study_key = ?", (study_key,)
            )
        return self.study(study_key)

    # Findings

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Let no two processes measure, or read the files of a measurement while they change.

        Raises:
            UnavailableError: `disk-full`.
        """
        with alone_in(self._settings.studies, MEASURING_LOCK):
            yield

    def finding(self, study_key: str) -> Finding | None:
        """Return what was measured of a study; `None` if nothing is valid at present."""
        row = self._connection.execute(
            "SELECT finding.* FROM finding JOIN study USING (study_key) WHERE study_key = ? AND state = 'measured'",
            (study_key,),
        ).fetchone()
        return _finding(row) if row is not None else None

    def latest(self, study_key: str) -> Finding | None:
        """Return the last finding of a study, even if it is stale: its record and version are what the centre may hold."""
        row = self._connection.execute("SELECT * FROM finding WHERE study_key = ?", (study_key,)).fetchone()
        return _finding(row) if row is not None else None

    def next_version(self, study_key: str) -> int:
        """Return the version of a study's next record.

        A study that was deleted and has come again goes on counting: the centre takes no version that it has seen.
        """
        row = self._connection.execute(
            "SELECT max(version) AS last FROM (SELECT version FROM finding WHERE study_key = :key"
            " UNION ALL SELECT version FROM tombstone WHERE study_key = :key)",
            {"key": study_key},
        ).fetchone()
        return int(row["last"] or 0) + 1

    def revise_record(self, finding: Finding) -> bool:
        """Give a finding the next version of its record, which then waits for the gate; return False if another was first.

        Raises:
            UnavailableError: `disk-full`.
        """
        with transaction(self._connection) as connection:
            revised = connection.execute(
                "UPDATE finding SET record = ?, version = ?, verdict = NULL WHERE study_key = ? AND version = ?",
                (finding.record, finding.version, finding.study_key, finding.version - 1),
            )
        return revised.rowcount > 0

    def unsent(self) -> list[Finding]:
        """Return the findings whose record the gate has not judged yet, oldest first."""
        rows = self._connection.execute("SELECT * FROM finding WHERE verdict IS NULL ORDER BY measured_at, study_key")
        return [_finding(row) for row in rows]

    def mark_sent(self, finding: Finding, verdict: str) -> None:
        """Note the gate's verdict on this version of a finding's record."""
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE finding SET verdict = ? WHERE study_key = ? AND version = ?",
                (verdict, finding.study_key, finding.version),
            )

    # Inside

    def _instance_path(self, keys: InstanceKeys) -> Path:
        return self._settings.instances / keys.study_key / f"{keys.instance_key}.dcm"

    def _touch_study(self, connection: sqlite3.Connection, keys: InstanceKeys) -> None:
        """Make the study, or re-open it: a late instance makes every earlier result stale."""
        now = self._clock()
        connection.execute(
            "INSERT INTO study VALUES (?, ?, ?, 'received', NULL, 1, 0, NULL, ?, ?) ON CONFLICT (study_key) DO UPDATE"
            " SET state = 'received', code = NULL, attempts = 0, revision = revision + 1, changed_at = excluded.changed_at",
            (keys.study_key, keys.subject_key, keys.case_id, now, now),
        )

    @staticmethod
    def _is_current(connection: sqlite3.Connection, study: Study) -> bool:
        row = connection.execute("SELECT revision FROM study WHERE study_key = ?", (study.study_key,)).fetchone()
        return row is not None and int(row["revision"]) == study.revision


def _study(row: sqlite3.Row) -> Study:
    return Study(**{**dict(row), "state": StudyState(row["state"])})


def _finding(row: sqlite3.Row) -> Finding:
    return Finding(**dict(row))
