"""Labels as a person decides on them: which there are, of which kind, on which grid, how they came there, and which are held out."""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from client.store.database import transaction
from client.store.labels import points_from
from client.store.records import Loss, ZonePoints
from client.store.search import SIZE, Page
from protocol.codes import Code
from protocol.errors import InvalidInputError


class Kind(StrEnum):
    """What a label is."""

    MASK = "mask"
    ZONE_SCORES = "zone-scores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A label as the console lists it. `trained_on` says whether it counts now; zone scores also need the plan's and the policy's leave.

    Attributes:
        study_key: Of the study.
        kind: A mask, or a reader's zone scores.
        source: Who made it: a word for a mask, the reader's id for zone scores.
        labelled_at: Seconds since 1970.
        grid: Names the grid on which it was drawn or read.
        on_present_grid: Whether the study still has that grid.
        held_out: Whether the study is kept out of training.
        withdrawn: Whether its patient has withdrawn.
        outranked: Whether a mask stands before these zone scores.
        points: Of zone scores.
        model_release: The release that finds the pixels for them.
        loss: Of a mask that was brought to another grid.
    """

    study_key: str
    kind: Kind
    source: str
    labelled_at: float
    grid: str
    on_present_grid: bool
    held_out: bool
    withdrawn: bool
    outranked: bool
    points: ZonePoints | None
    model_release: str | None
    loss: Loss | None

    @property
    def trained_on(self) -> bool:
        """Whether the study is among those to train on by this label."""
        return self.on_present_grid and not (self.held_out or self.withdrawn or self.outranked)


_EVERY = """
WITH every AS (
    SELECT study_key, 'mask' AS kind, grid, source, sha256, held_out, labelled_at, 0 AS outranked, NULL AS points, NULL AS model_release
    FROM label
    UNION ALL
    SELECT study_key, 'zone-scores', grid, reader_id, NULL, held_out, labelled_at, study_key IN (SELECT study_key FROM label),
        points, model_release FROM zone_label)
"""
_LABELLED = f"""{_EVERY}
SELECT every.*, study.grid AS present, subject_key IN (SELECT subject_key FROM withdrawn_person) AS withdrawn,
    dice, volume_ratio, outside_fraction
FROM every JOIN study USING (study_key) LEFT JOIN label_resampling
    ON label_resampling.study_key = every.study_key AND label_resampling.label_sha256 = every.sha256
"""  # noqa: S608 - of constants of this module
_TOTAL = f"{_EVERY} SELECT COUNT(*) FROM every"  # noqa: S608 - of constants of this module
_COUNTS = f"""{_EVERY}
SELECT COUNT(*) AS labels, TOTAL(kind = 'zone-scores') AS zone_scores, TOTAL(held_out) AS held_out,
    TOTAL(subject_key IN (SELECT subject_key FROM withdrawn_person)) AS withdrawn
FROM every JOIN study USING (study_key) WHERE NOT outranked
"""  # noqa: S608 - of constants of this module
_NEWEST_FIRST = "ORDER BY labelled_at DESC, every.study_key, kind"


class Labelling:
    """The labels of one node. One object per connection; the tables of the store must be there."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def page(self, number: int = 1) -> Page[Labelled]:
        """Return one page, the newest first."""
        total = int(self._connection.execute(_TOTAL).fetchone()[0])
        rows = self._connection.execute(
            f"{_LABELLED} {_NEWEST_FIRST} LIMIT ? OFFSET ?", (SIZE, (max(1, number) - 1) * SIZE)
        )
        return Page([_labelled(row) for row in rows], number, total)

    def all(self) -> list[Labelled]:
        """Return every label, the newest first."""
        return [_labelled(row) for row in self._connection.execute(f"{_LABELLED} {_NEWEST_FIRST}")]

    def of(self, study_key: str) -> Labelled | None:
        """Return the label of one study that counts, its mask before its zone scores, if it has one."""
        row = self._connection.execute(
            f"{_LABELLED} WHERE every.study_key = ? AND NOT outranked", (study_key,)
        ).fetchone()
        return _labelled(row) if row is not None else None

    def counts(self) -> dict[str, int]:
        """Return how many studies are labelled, how many of them by zone scores alone, held out, and of patients who withdrew."""
        row = self._connection.execute(_COUNTS).fetchone()
        return {name: int(row[name]) for name in ("labels", "zone_scores", "held_out", "withdrawn")}

    def hold_out(self, study_key: str, *, held_out: bool) -> None:
        """Keep a study out of training by whatever label it has, or take it in again.

        Raises:
            InvalidInputError: `not-found` if the study has no label.
        """
        with transaction(self._connection) as connection:
            done = [
                connection.execute(f"UPDATE {table} SET held_out = ? WHERE study_key = ?", (int(held_out), study_key))  # noqa: S608 - our own tables
                for table in ("label", "zone_label")
            ]
            if not any(one.rowcount for one in done):
                raise InvalidInputError(
                    Code.NOT_FOUND, "That study has no label; `acinus-node label list` names those that have."
                )


def _labelled(row: sqlite3.Row) -> Labelled:
    loss = None
    if row["dice"] is not None:
        loss = Loss(dice=row["dice"], volume_ratio=row["volume_ratio"], outside_fraction=row["outside_fraction"])
    return Labelled(
        study_key=row["study_key"], kind=Kind(row["kind"]), source=row["source"], labelled_at=row["labelled_at"], grid=row["grid"],
        on_present_grid=row["grid"] == row["present"], held_out=bool(row["held_out"]), withdrawn=bool(row["withdrawn"]),
        outranked=bool(row["outranked"]), points=points_from(row["points"]) if row["points"] is not None else None,
        model_release=row["model_release"], loss=loss,
    )  # fmt: skip
