"""How long things are kept: a period for each kind, in days; 0 keeps for ever. Never removed is what is still owed.

Owed are studies that wait to be measured, records that the gate has not judged, studies that are being read, and the results of labelled
studies as long as the label is kept. Each step may be cut short: what is left is found again at the next sweep.
"""

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from client.settings import NodeSettings
from client.store.database import transaction
from client.store.files import alone_in, disk_faults
from client.store.leftovers import nameless_masks, sweep_leftovers, take_old_names
from client.store.removal import Remover
from client.store.results import COARSE_CT, COARSE_MASK, CT, LUNGS, MASK, PICTURE, SEG, SR
from client.store.studies import MEASURING_LOCK

_DAY = 86_400.0
_EVERY_SECONDS = 3600.0

_SETTLED = (
    "study.state IN ('measured', 'refused') AND NOT EXISTS"
    " (SELECT 1 FROM finding WHERE finding.study_key = study.study_key AND verdict IS NULL)"
)

_OLD_INSTANCES = (
    "EXISTS (SELECT 1 FROM instance WHERE instance.study_key = study.study_key)"
    " AND NOT EXISTS (SELECT 1 FROM instance WHERE instance.study_key = study.study_key AND received_at >= ?)"
)

log = logging.getLogger(__name__)


class Retention:
    """Removes what has been kept long enough. One per thread, as its connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        settings: NodeSettings,
        being_read: Callable[[str], bool] = lambda _study_key: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        connection.execute("PRAGMA secure_delete=ON")
        self._connection = connection
        self._settings = settings
        self._being_read = being_read
        self._clock = clock

    def sweep(self) -> Counter[str]:
        """Remove what is past its period; return how many of each kind.

        Raises:
            UnavailableError: `disk-full` if something cannot be removed or noted.
        """
        periods = self._settings.retention
        removed: Counter[str] = Counter()
        sweeps: tuple[tuple[str, int, Callable[[float], int]], ...] = (
            ("instances", periods.instances_days, self._instances), ("labels", periods.labels_days, self._labels),
            ("results", periods.results_days, self._results), ("pictures", periods.pictures_days, self._pictures),
            ("quarantine", periods.quarantine_days, self._quarantine), ("context", periods.context_days, self._context),
            ("updates", periods.updates_days, self._updates), ("logs", periods.logs_days, self._logs),
        )  # fmt: skip
        for kind, days, sweep in sweeps:
            if days:
                with alone_in(self._settings.studies, MEASURING_LOCK), disk_faults():
                    removed[kind] = sweep(self._clock() - days * _DAY)
        found = {kind: count for kind, count in removed.items() if count}
        if found:
            log.info("retention.swept", extra=found)
        return removed

    def sweep_leftovers(self) -> int:
        """Remove what crashes left behind, once it is older than an hour by the kernel's clock; return how many files.

        Raises:
            UnavailableError: `disk-full`.
        """
        return sweep_leftovers(self._connection, self._settings, time.time() - _EVERY_SECONDS)

    def _instances(self, before: float) -> int:
        """Remove received files. Their rows go too: a study that is sent again is new, and its result stays until it is measured anew."""
        return sum(self._forget_instances(study_key, before) for study_key in self._studies(_OLD_INSTANCES, before))

    def _forget_instances(self, study_key: str, before: float) -> bool:
        """Remove the rows of a study's instances, then their files; return False if one has come meanwhile.

        Receivers do not wait for the worker: what they acknowledge in between counts, under the same name or another.
        """
        with transaction(self._connection) as connection:
            if not self._studies(f"{_OLD_INSTANCES} AND study.study_key = ?", before, study_key):
                return False
            rows = connection.execute("SELECT file FROM instance WHERE study_key = ?", (study_key,)).fetchall()
            connection.execute("DELETE FROM instance WHERE study_key = ?", (study_key,))
            connection.execute("INSERT OR REPLACE INTO expired VALUES (?, 'instances', ?)", (study_key, self._clock()))
        with transaction(self._connection) as connection:  # no row comes while its file goes
            for row in rows:
                if connection.execute("SELECT 1 FROM instance WHERE file = ?", (row["file"],)).fetchone() is None:
                    (self._settings.instances / row["file"]).unlink(missing_ok=True)
        return True

    def _results(self, before: float) -> int:
        """Remove volumes, masks, SEG and SR. The numbers stay: they are the finding."""
        keys = self._studies(
            "study.study_key IN (SELECT study_key FROM finding WHERE measured_at < ?)"
            " AND study.study_key NOT IN (SELECT study_key FROM label)"
            " AND study.study_key NOT IN (SELECT study_key FROM expired WHERE kind = 'results')",
            before,
        )
        for study_key in keys:
            with transaction(self._connection) as connection:  # no label fits a volume that is not there
                connection.execute("UPDATE study SET grid = NULL WHERE study_key = ?", (study_key,))
            for name in (CT, MASK, LUNGS, COARSE_CT, COARSE_MASK, SEG, SR):
                (self._settings.studies / study_key / name).unlink(missing_ok=True)
            self._note(study_key, "results")
        return len(keys)

    def _pictures(self, before: float) -> int:
        keys = self._studies(
            "study.study_key IN (SELECT study_key FROM finding WHERE measured_at < ?)"
            " AND study.study_key NOT IN (SELECT study_key FROM expired WHERE kind = 'pictures')",
            before,
        )
        for study_key in keys:
            (self._settings.studies / study_key / PICTURE).unlink(missing_ok=True)
            self._note(study_key, "pictures")
        return len(keys)

    def _labels(self, before: float) -> int:
        """Remove labels: first the row, so that nobody trains on a mask that is half gone; then files without a row."""
        with transaction(self._connection) as connection:
            gone = connection.execute("DELETE FROM label WHERE labelled_at < ?", (before,)).rowcount
            gone += connection.execute("DELETE FROM zone_label WHERE labelled_at < ?", (before,)).rowcount
            connection.execute("DELETE FROM label_history WHERE labelled_at < ?", (before,))
            connection.execute("DELETE FROM label_resampling WHERE study_key NOT IN (SELECT study_key FROM label)")
        take_old_names(self._connection, self._settings)
        for path in nameless_masks(self._connection, self._settings):
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
        rows = self._connection.execute("SELECT study_key FROM label UNION SELECT study_key FROM zone_label")
        kept = {row["study_key"] for row in rows}
        for path in self._settings.prepared.glob("*.safetensors"):
            if path.name.rpartition("-")[0] not in kept:
                path.unlink(missing_ok=True)
        return gone

    def _quarantine(self, before: float) -> int:
        folder = self._settings.instances.parent / "quarantine"
        rows = self._connection.execute(
            "SELECT sha256, file FROM quarantine WHERE received_at < ?", (before,)
        ).fetchall()
        for row in rows:
            (folder / row["file"]).unlink(missing_ok=True)
            with transaction(self._connection) as connection:
                connection.execute("DELETE FROM quarantine WHERE sha256 = ?", (row["sha256"],))
        return len(rows)

    def _context(self, before: float) -> int:
        """Forget facts that waited in vain, and the names of messages."""
        with transaction(self._connection) as connection:
            slots = connection.execute(
                "SELECT slot FROM context_fact f WHERE received_at < ? AND NOT EXISTS (SELECT 1 FROM context_fact_name n"
                " WHERE n.slot = f.slot AND (n.name IN (SELECT study_key FROM study)"
                " OR EXISTS (SELECT 1 FROM study_name s WHERE s.name = n.name AND s.role = n.role)))",
                (before,),
            ).fetchall()
            for row in slots:
                connection.execute("DELETE FROM context_fact_name WHERE slot = ?", (row["slot"],))
                connection.execute("DELETE FROM context_fact WHERE slot = ?", (row["slot"],))
            connection.execute("DELETE FROM context_message WHERE received_at < ?", (before,))
        return len(slots)

    def _updates(self, before: float) -> int:
        return _remove_old(self._settings.updates.glob("*/*.safetensors"), before)

    def _logs(self, before: float) -> int:
        """Begin today's log if the present one was begun on another day, and remove what is old. Programs follow a renamed log."""
        today = time.strftime("%Y%m%d", time.gmtime(self._clock()))
        for path in self._settings.logs.glob("*.jsonl"):
            marks = sorted(path.parent.glob(f"{path.name}.*"))
            begun = path.with_name(f"{path.name}.{today}")
            if path.stat().st_size and begun not in marks:
                path.rename(begun)
        return _remove_old(self._settings.logs.glob("*.jsonl.*"), before)

    def _studies(self, condition: str, *values: float | str) -> list[str]:
        """Return settled studies that nobody reads and to which `condition` applies."""
        rows = self._connection.execute(
            f"SELECT study_key FROM study WHERE {_SETTLED} AND {condition} ORDER BY study_key",  # noqa: S608 - constants of this module
            values,
        ).fetchall()
        return [row["study_key"] for row in rows if not self._being_read(row["study_key"])]

    def _note(self, study_key: str, kind: str) -> None:
        with transaction(self._connection) as connection:
            connection.execute("INSERT OR REPLACE INTO expired VALUES (?, ?, ?)", (study_key, kind, self._clock()))


class Housekeeper:
    """What the worker does when it has nothing to measure: deletions that were begun, and once an hour the periods and what crashes left."""

    def __init__(self, remover: Remover, retention: Retention, clock: Callable[[], float] = time.monotonic) -> None:
        self._remover = remover
        self._retention = retention
        self._clock = clock
        self._due = 0.0

    def tidy(self) -> None:
        """Tidy up, if it is time.

        Raises:
            UnavailableError: `disk-full`.
        """
        self._remover.finish()
        if self._clock() >= self._due:
            self._due = self._clock() + _EVERY_SECONDS
            self._retention.sweep()
            self._retention.sweep_leftovers()


def _remove_old(paths: Iterable[Path], before: float) -> int:
    old = [path for path in paths if path.stat().st_mtime < before]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)
