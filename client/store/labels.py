"""Labels: masks that a person drew and zone scores that a reader signed, who withdrew, and what of it may be trained on."""

import sqlite3
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path

from client.settings import NodeSettings
from client.store.database import transaction
from client.store.persons import Persons
from client.store.records import (
    EarlierLabel,
    HeldOutCase,
    Label,
    Loss,
    MaskLabel,
    SignedScores,
    TrainingCase,
    ZoneLabel,
    ZonePoints,
)
from client.store.results import CT, LUNGS, mask_name
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from protocol.plan import LabelUse

_CASES = """
SELECT study.study_key, subject_key, sha256, NULL AS points, NULL AS model_release FROM label JOIN study USING (study_key)
WHERE held_out = 0 AND label.grid = study.grid AND subject_key NOT IN (SELECT subject_key FROM withdrawn_person)
UNION ALL
SELECT study.study_key, subject_key, NULL, points, model_release FROM zone_label JOIN study USING (study_key)
WHERE :scores AND held_out = 0 AND zone_label.grid = study.grid AND subject_key NOT IN (SELECT subject_key FROM withdrawn_person)
AND study.study_key NOT IN (SELECT study_key FROM label)
ORDER BY 2, 1
"""
"""A study with a mask is never trained on by its zone scores, not even where the mask itself does not count."""

_HELD_OUT = """
SELECT study.study_key, subject_key, sha256, COALESCE(sex, '') AS sex, COALESCE(age_band, '') AS age_band, COALESCE(maker, '') AS maker
FROM label JOIN study USING (study_key) LEFT JOIN study_context USING (study_key) LEFT JOIN study_input USING (study_key)
WHERE held_out = 1 AND label.grid = study.grid AND subject_key NOT IN (SELECT subject_key FROM withdrawn_person)
ORDER BY received_at, study.study_key
"""
"""Masks only: zone scores are placed by a network, which would be judged by its own hand."""

_TAKEN_IN = """
SELECT subject_key FROM label JOIN study USING (study_key) WHERE held_out = 0
UNION SELECT subject_key FROM zone_label JOIN study USING (study_key) WHERE held_out = 0
"""

_KEEP_SCORES = """
INSERT INTO zone_label SELECT :study, study.grid, :reader, :points, model_release,
    COALESCE((SELECT held_out FROM label WHERE study_key = :study), 0), :signed
FROM study JOIN finding USING (study_key)
WHERE study_key = :study AND state = 'measured' AND study.grid IS NOT NULL AND measured_at < :reported
ON CONFLICT (study_key) DO UPDATE SET grid = excluded.grid, reader_id = excluded.reader_id, points = excluded.points,
    model_release = excluded.model_release, labelled_at = excluded.labelled_at
WHERE excluded.labelled_at >= zone_label.labelled_at
"""


_SUPERSEDE = """
INSERT OR IGNORE INTO label_history SELECT study_key, sha256, grid, source, labelled_at, :now FROM label
WHERE study_key = :study AND sha256 <> :sha256
"""


class Labels:
    """The labels of one node. One per connection."""

    def __init__(self, connection: sqlite3.Connection, settings: NodeSettings, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._settings = settings
        self._clock = clock

    def place(self, study_key: str, sha256: str) -> Path:
        """Return where a mask of this content lies, or would lie.

        Every mask has a name of its own, and the row says which one counts: so a crash between file and row changes no label. One without
        a row is left over (`client.store.leftovers`).
        """
        return self._settings.labels / mask_name(study_key, sha256)

    def history(self, study_key: str) -> list[EarlierLabel]:
        """Return the masks of a study that others took the place of, the newest first."""
        rows = self._connection.execute(
            "SELECT sha256, source, labelled_at, superseded_at FROM label_history WHERE study_key = ?"
            " ORDER BY superseded_at DESC, labelled_at DESC",
            (study_key,),
        )
        return [EarlierLabel(**dict(row)) for row in rows]

    def keep_mask(
        self,
        study_key: str,
        *,
        grid: str,
        source: str,
        sha256: str,
        held_out: bool | None = None,
        loss: Loss | None = None,
    ) -> None:
        """Make the mask at its `place` count; its file is on the disk already.

        Args:
            study_key: Of the study.
            grid: On which it lies.
            source: Who made it, in a word.
            sha256: Of the mask, uncompressed.
            held_out: Whether the study is kept out of training; `None` leaves it as it was: a corrected mask of a study that is held
                out must not slip into training.
            loss: What it lost on its way to the grid, if it was drawn on another.

        Raises:
            InvalidInputError: `not-found`.
            ConflictError: `illegal-transition` if the study is on another grid now.
        """
        with transaction(self._connection) as connection:
            if self._study(study_key)["grid"] != grid:
                raise ConflictError(
                    Code.ILLEGAL_TRANSITION, "The study changed while the label was read; import the label again."
                )
            connection.execute(_SUPERSEDE, {"study": study_key, "sha256": sha256, "now": self._clock()})
            connection.execute(
                "INSERT OR REPLACE INTO label VALUES (?1, ?2, ?3, ?4, COALESCE(?5, (SELECT held_out FROM label WHERE study_key = ?1),"
                " (SELECT held_out FROM zone_label WHERE study_key = ?1), 0), ?6)",
                (study_key, grid, source, sha256, None if held_out is None else int(held_out), self._clock()),
            )
            connection.execute(
                "UPDATE zone_label SET held_out = (SELECT held_out FROM label WHERE study_key = ?1) WHERE study_key = ?1",
                (study_key,),
            )
            connection.execute("DELETE FROM label_resampling WHERE study_key = ?", (study_key,))
            if loss is not None:
                connection.execute(
                    "INSERT INTO label_resampling VALUES (?, ?, ?, ?, ?)",
                    (study_key, sha256, loss.dice, loss.volume_ratio, loss.outside_fraction),
                )

    def keep_scores(self, scores: SignedScores) -> bool:
        """Keep what a reader signed as the zone scores of a study; of several readers the last one counts.

        Returns:
            False when the study was measured again after the report was written, or is not measured now: the reader saw another
            volume than would be trained on.
        """
        with transaction(self._connection) as connection:
            kept = connection.execute(
                _KEEP_SCORES,
                {
                    "study": scores.study_key, "reader": scores.reader_id, "points": points_text(scores.points),
                    "signed": scores.signed_at, "reported": scores.reported_at,
                },
            )  # fmt: skip
        return kept.rowcount > 0

    def masks(self) -> list[Label]:
        """Return every mask, oldest first."""
        rows = self._connection.execute("SELECT * FROM label ORDER BY labelled_at, study_key")
        return [
            Label(
                study_key=row["study_key"], path=self.place(row["study_key"], row["sha256"]), source=row["source"],
                held_out=bool(row["held_out"]), labelled_at=row["labelled_at"],
            )
            for row in rows
        ]  # fmt: skip

    def withdraw_subject(self, study_key: str) -> str:
        """Keep the patient of a study, with all studies of theirs, out of every later sample; return their key.

        Raises:
            InvalidInputError: `not-found`.
        """
        with transaction(self._connection) as connection:
            subject_key = str(self._study(study_key)["subject_key"])
            connection.execute("INSERT OR IGNORE INTO withdrawn_subject VALUES (?, ?)", (subject_key, self._clock()))
        return subject_key

    def withdrawn_subjects(self) -> list[str]:
        """Return the keys of the patients who withdrew, in the order in which they did."""
        rows = self._connection.execute("SELECT subject_key FROM withdrawn_subject ORDER BY withdrawn_at, subject_key")
        return [row["subject_key"] for row in rows]

    def training_cases(self, use: LabelUse) -> list[TrainingCase]:
        """Return the labelled, measured studies that may be trained on.

        Left out are those held out, those whose label lies on another grid than the present one, and those of withdrawn patients.

        Args:
            use: Whether studies count of which only zone scores are known.
        """
        rows, persons = (
            self._connection.execute(_CASES, {"scores": use is LabelUse.MASKS_AND_ZONE_SCORES}).fetchall(),
            Persons(self._connection),
        )
        return [self._case(row, persons.of(row["subject_key"]), self._label(row)) for row in rows]

    def held_out_cases(self) -> list[HeldOutCase]:
        """Return the studies with a mask of patients who are held out altogether, for each patient the newest last."""
        persons = Persons(self._connection)
        taken_in = {persons.of(row["subject_key"]) for row in self._connection.execute(_TAKEN_IN)}
        found = [(persons.of(row["subject_key"]), row) for row in self._connection.execute(_HELD_OUT)]
        return [
            HeldOutCase(self._case(row, person, self._label(row)), row["sex"], row["age_band"], row["maker"])
            for person, row in sorted(found, key=itemgetter(0))
            if person not in taken_in
        ]

    def _case(self, row: sqlite3.Row, person: str, label: MaskLabel | ZoneLabel) -> TrainingCase:
        folder = self._settings.studies / row["study_key"]
        return TrainingCase(
            subject_key=person, study_key=row["study_key"], volume_path=folder / CT, lungs_path=folder / LUNGS, label=label
        )  # fmt: skip

    def _label(self, row: sqlite3.Row) -> MaskLabel | ZoneLabel:
        if row["sha256"] is not None:
            return MaskLabel(self.place(row["study_key"], row["sha256"]), row["sha256"])
        return ZoneLabel(points_from(row["points"]), row["model_release"])

    def _study(self, study_key: str) -> sqlite3.Row:
        row: sqlite3.Row | None = self._connection.execute(
            "SELECT grid, subject_key FROM study WHERE study_key = ?", (study_key,)
        ).fetchone()
        if row is None:
            raise InvalidInputError(
                Code.NOT_FOUND, "There is no study of that key; `acinus-node status --studies` lists them."
            )
        return row


def points_text(points: ZonePoints) -> str:
    """Return six digits, as the table holds them.

    >>> points_text(((0, 1), (2, 3), (4, 0)))
    '012340'
    """
    return "".join(str(zone) for pair in points for zone in pair)


def points_from(text: str) -> ZonePoints:
    """Return what `points_text` wrote down."""
    right, left = text[::2], text[1::2]
    return tuple((int(one), int(other)) for one, other in zip(right, left, strict=True))
