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
from client.store.findings import Findings, finding_from
from client.store.history import History
from client.store.labels import Labels
from client.store.names import first_known, known_as, note_names
from client.store.records import (
    Admission,
    Finding,
    InstanceKeys,
    Quarantined,
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
        self.findings = Findings(connection)
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
        barred = self._barred(keys, sha256)
        if barred is not None:
            return barred
        path = self._instance_path(keys, sha256)
        adopt(spooled, path)
        with transaction(self._connection) as connection:
            barred = self._barred(keys, sha256)  # somebody may have deleted or brought it a moment ago
            if barred is not None:
                if barred is not Admission.KNOWN:
                    path.unlink(missing_ok=True)
                return barred
            if not path.exists():  # the last of its kind was being swept when this one came
                adopt(spooled, path)
            self._touch_study(connection, keys)
            note_names(connection, keys)
            connection.execute(
                "INSERT INTO instance VALUES (?, ?, ?, ?, ?, ?, ?)",
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

    def take_back(self, study: Study) -> None:
        """Count an attempt that `begin` counted no more: the node was at fault, and that is nothing against the study."""
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE study SET attempts = attempts - 1 WHERE study_key = ? AND revision = ? AND attempts > 0",
                (study.study_key, study.revision),
            )

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
        return finding_from(row) if row is not None else None

    # Inside

    def _barred(self, keys: InstanceKeys, sha256: str) -> Admission | None:
        """Return why an instance is not stored, if it is not."""
        known = self._connection.execute(
            "SELECT sha256 FROM instance WHERE instance_key = ?", (keys.instance_key,)
        ).fetchone()
        if known is not None:
            return Admission.KNOWN if known["sha256"] == sha256 else Admission.CONFLICTING
        return Admission.DELETED if self.is_deleted(keys.study_key) else None

    def _instance_path(self, keys: InstanceKeys, sha256: str) -> Path:
        """Return a place for this content alone: two files under one UID that come at once do not take each other's."""
        return self._settings.instances / keys.study_key / f"{keys.instance_key}-{sha256}.dcm"

    def _touch_study(self, connection: sqlite3.Connection, keys: InstanceKeys) -> None:
        """Make the study, or re-open it: a late instance makes every earlier result stale."""
        now = self._clock()
        connection.execute(
            "INSERT INTO study VALUES (?, ?, ?, 'received', NULL, 1, 0, NULL, ?, ?) ON CONFLICT (study_key) DO UPDATE"
            " SET state = 'received', code = NULL, attempts = 0, revision = revision + 1, changed_at = excluded.changed_at",
            (keys.study_key, keys.subject_key, keys.case_id, now, now),
        )


def _study(row: sqlite3.Row) -> Study:
    return Study(**{**dict(row), "state": StudyState(row["state"])})
