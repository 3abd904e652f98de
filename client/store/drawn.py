"""Masks that came by the node's own doors as DICOM SEG: kept as they came until they are labels, or refused."""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from client.settings import NodeSettings
from client.store.database import transaction
from client.store.files import adopt
from client.store.results import DRAWN
from protocol.codes import Code
from protocol.errors import InvalidInputError

_HOLDS = """
SELECT 1 FROM study WHERE study_key = ? AND (
    NOT EXISTS (SELECT 1 FROM instance WHERE instance.study_key = study.study_key)
    OR EXISTS (SELECT 1 FROM instance WHERE instance.study_key = study.study_key AND series_key = ?))
"""
"""Instances may have been removed after their period; then the study is all that can be asked for, and geometry decides later."""


@dataclass(frozen=True, slots=True)
class DrawnMask:
    """A mask that waits to become a label of its study."""

    sha256: str
    study_key: str
    path: Path


class DrawnMasks:
    """The masks of one node that came by its doors. One per connection."""

    def __init__(self, connection: sqlite3.Connection, settings: NodeSettings, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._settings = settings
        self._clock = clock

    def holds(self, study_key: str, series_keys: Iterable[str]) -> bool:
        """Say whether the node holds one of these series of a study."""
        asked = (self._connection.execute(_HOLDS, (study_key, key)).fetchone() for key in series_keys)
        return any(row is not None for row in asked)

    def keep(self, study_key: str, spooled: Path, sha256: str) -> bool:
        """Keep a mask durably until its study is measured.

        Args:
            study_key: Of a study that the node holds.
            spooled: Where it lies now; stays for the caller to remove.
            sha256: Of its data set.

        Returns:
            False if it came before and was not refused: nothing changes then.

        Raises:
            InvalidInputError: `no-label-match` if the study was deleted a moment ago.
            UnavailableError: `disk-full`.
        """
        path = self._path(study_key, sha256)
        if self._is_known(sha256):
            return False
        adopt(spooled, path)
        with transaction(self._connection) as connection:
            if self._is_known(sha256):
                return False
            kept = connection.execute(
                "INSERT OR REPLACE INTO drawn_mask SELECT ?, study_key, ?, NULL, NULL FROM study WHERE study_key = ?",
                (sha256, self._clock(), study_key),
            )
            if not kept.rowcount:
                path.unlink(missing_ok=True)
                raise InvalidInputError(Code.NO_LABEL_MATCH, "The node does not hold the study of this mask any more.")
        return True

    def waiting(self) -> list[DrawnMask]:
        """Return the masks of measured studies that are no labels yet, in the order in which they came."""
        rows = self._connection.execute(
            "SELECT sha256, study_key FROM drawn_mask JOIN study USING (study_key)"
            " WHERE settled_at IS NULL AND study.state = 'measured' ORDER BY drawn_mask.received_at, sha256"
        )
        return [DrawnMask(row["sha256"], row["study_key"], self._path(row["study_key"], row["sha256"])) for row in rows]

    def settle(self, mask: DrawnMask, code: Code | None = None) -> None:
        """Note that a mask is a label now, or why it cannot be one; its file goes."""
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE drawn_mask SET settled_at = ?, code = ? WHERE sha256 = ?",
                (self._clock(), code.value if code is not None else None, mask.sha256),
            )
        mask.path.unlink(missing_ok=True)

    def _is_known(self, sha256: str) -> bool:
        """Say whether a mask waits or is a label; one that was refused may be tried again."""
        row = self._connection.execute("SELECT 1 FROM drawn_mask WHERE sha256 = ? AND code IS NULL", (sha256,))
        return row.fetchone() is not None

    def _path(self, study_key: str, sha256: str) -> Path:
        return self._settings.labels / DRAWN / f"{study_key}-{sha256}.dcm"
