"""Masks that came as DICOM SEG: kept as they came until they are labels, or refused.

One that came by a door is a draft until a person at the hospital approves it: whoever can send to the node could otherwise say what is
learnt. One that a reader drew on the gateway was decided on by the reader's signature.
"""

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


SIGNATURE = "signature"
"""Who decided on a mask that came with a signed report."""

_WAITING = """
SELECT drawn_mask.sha256, drawn_mask.study_key FROM drawn_mask JOIN study USING (study_key)
LEFT JOIN drawn_decision USING (sha256) LEFT JOIN drawn_draft USING (sha256)
WHERE settled_at IS NULL AND study.state = 'measured' AND {condition} ORDER BY drawn_mask.received_at, drawn_mask.sha256
"""
_DRAFTS = """
SELECT drawn_draft.*, received_at, label.source AS present FROM drawn_draft JOIN drawn_mask USING (sha256)
LEFT JOIN label ON label.study_key = drawn_draft.study_key
WHERE settled_at IS NULL AND drawn_draft.sha256 NOT IN (SELECT sha256 FROM drawn_decision)
ORDER BY received_at, drawn_draft.sha256
"""


@dataclass(frozen=True, slots=True)
class DrawnMask:
    """A mask that waits to become a label of its study."""

    sha256: str
    study_key: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A mask that fits its study and waits for a person's word.

    Attributes:
        sha256: Of its data set.
        study_key: Of its study.
        author: Who drew it, as it says itself; empty if it does not.
        ground_glass_ml: How much of it there is.
        consolidation_ml: How much of it there is.
        received_at: Seconds since 1970.
        present: Who made the label that it would take the place of, if there is one.
    """

    sha256: str
    study_key: str
    author: str
    ground_glass_ml: float
    consolidation_ml: float
    received_at: float
    present: str | None


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

    def keep(self, study_key: str, spooled: Path, sha256: str, *, decided_by: str | None = None) -> bool:
        """Keep a mask durably until its study is measured, and somebody has decided on it.

        Args:
            study_key: Of a study that the node holds.
            spooled: Where it lies now; stays for the caller to remove.
            sha256: Of its data set.
            decided_by: Who has approved it already, if anybody has.

        Returns:
            False if it came before and was not refused: it is not kept again then.

        Raises:
            InvalidInputError: `no-label-match` if the study was deleted a moment ago.
            UnavailableError: `disk-full`.
        """
        path, fresh = self._path(study_key, sha256), not self._is_known(sha256)
        if fresh:
            adopt(spooled, path)
        with transaction(self._connection) as connection:
            fresh = fresh and not self._is_known(sha256)
            if fresh and not self._noted(connection, study_key, sha256):
                path.unlink(missing_ok=True)
                raise InvalidInputError(Code.NO_LABEL_MATCH, "The node does not hold the study of this mask any more.")
            if decided_by is not None:
                self._decide(connection, sha256, approved=True, by=decided_by)
        return fresh

    def waiting(self) -> list[DrawnMask]:
        """Return the approved masks of measured studies that are no labels yet, in the order in which they came."""
        return self._masks("approved = 1")

    def unseen(self) -> list[DrawnMask]:
        """Return the masks of measured studies at which nobody has looked yet, in the order in which they came."""
        return self._masks("approved IS NULL AND author IS NULL")

    def propose(self, mask: DrawnMask, *, author: str, ground_glass_ml: float, consolidation_ml: float) -> None:
        """Note what a mask holds that fits its study: it is a draft now."""
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO drawn_draft SELECT sha256, study_key, ?, ?, ? FROM drawn_mask WHERE sha256 = ?",
                (author, ground_glass_ml, consolidation_ml, mask.sha256),
            )

    def drafts(self) -> list[Draft]:
        """Return the masks that wait for a person's word, in the order in which they came."""
        return [Draft(**dict(row)) for row in self._connection.execute(_DRAFTS)]

    def approve(self, sha256: str, *, by: str) -> Draft:
        """Let a draft become a label; the worker makes it. Returns the draft.

        Raises:
            InvalidInputError: `not-found` if nothing of that hash waits for a word, or does no longer.
        """
        return self._decided(sha256, approved=True, by=by)

    def discard(self, sha256: str, *, by: str) -> Draft:
        """Let a draft become no label, not even if it is sent again; its file goes. Returns the draft.

        Raises:
            InvalidInputError: `not-found` if nothing of that hash waits for a word, or does no longer.
        """
        draft = self._decided(sha256, approved=False, by=by)
        self._path(draft.study_key, sha256).unlink(missing_ok=True)
        return draft

    def settle(self, mask: DrawnMask, code: Code | None = None) -> None:
        """Note that a mask is a label now, was discarded, or why it cannot be a label; its file goes."""
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE drawn_mask SET settled_at = ?, code = ? WHERE sha256 = ?",
                (self._clock(), code.value if code is not None else None, mask.sha256),
            )
        mask.path.unlink(missing_ok=True)

    def _masks(self, condition: str) -> list[DrawnMask]:
        rows = self._connection.execute(_WAITING.format(condition=condition))
        return [DrawnMask(row["sha256"], row["study_key"], self._path(row["study_key"], row["sha256"])) for row in rows]

    def _noted(self, connection: sqlite3.Connection, study_key: str, sha256: str) -> bool:
        """Note that a mask waits; return whether the node holds its study. What was found or decided when it came before is forgotten."""
        for table in ("drawn_draft", "drawn_decision"):
            connection.execute(f"DELETE FROM {table} WHERE sha256 = ?", (sha256,))  # noqa: S608 - our own tables
        kept = connection.execute(
            "INSERT OR REPLACE INTO drawn_mask SELECT ?, study_key, ?, NULL, NULL FROM study WHERE study_key = ?",
            (sha256, self._clock(), study_key),
        )
        return kept.rowcount > 0

    def _decided(self, sha256: str, *, approved: bool, by: str) -> Draft:
        with transaction(self._connection) as connection:
            draft = next((one for one in self.drafts() if one.sha256 == sha256), None)
            if draft is None:
                raise InvalidInputError(
                    Code.NOT_FOUND,
                    "No mask of that kind waits for a decision, or it does no longer. Go back to the labels.",
                )
            self._decide(connection, sha256, approved=approved, by=by)
            if not approved:
                connection.execute("UPDATE drawn_mask SET settled_at = ? WHERE sha256 = ?", (self._clock(), sha256))
        return draft

    def _decide(self, connection: sqlite3.Connection, sha256: str, *, approved: bool, by: str) -> None:
        """Note a decision; the first one stands."""
        connection.execute(
            "INSERT OR IGNORE INTO drawn_decision SELECT sha256, study_key, ?, ?, ? FROM drawn_mask WHERE sha256 = ?",
            (int(approved), by, self._clock(), sha256),
        )

    def _is_known(self, sha256: str) -> bool:
        """Say whether a mask waits, is a label or was discarded; one that did not fit may be tried again."""
        row = self._connection.execute("SELECT 1 FROM drawn_mask WHERE sha256 = ? AND code IS NULL", (sha256,))
        return row.fetchone() is not None

    def _path(self, study_key: str, sha256: str) -> Path:
        return self._settings.labels / DRAWN / f"{study_key}-{sha256}.dcm"
