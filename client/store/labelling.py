"""Labels as a person decides on them: which there are, on which grid, how they came there, and which are held out."""

import sqlite3
from dataclasses import dataclass

from client.store.database import transaction
from client.store.records import Loss
from client.store.search import SIZE, Page
from protocol.codes import Code
from protocol.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A label as the console lists it. `grid` names the grid on which it was drawn; `trained_on` says whether it counts now."""

    study_key: str
    source: str
    labelled_at: float
    grid: str
    on_present_grid: bool
    held_out: bool
    withdrawn: bool
    loss: Loss | None

    @property
    def trained_on(self) -> bool:
        """Whether the study is among those to train on."""
        return self.on_present_grid and not self.held_out and not self.withdrawn


_COLUMNS = (
    "label.*, study.grid AS present, subject_key IN (SELECT subject_key FROM withdrawn_subject) AS withdrawn,"
    " dice, volume_ratio, outside_fraction"
)
_FROM = (
    "FROM label JOIN study USING (study_key) LEFT JOIN label_resampling"
    " ON label_resampling.study_key = label.study_key AND label_resampling.label_sha256 = label.sha256"
)


class Labelling:
    """The labels of one node. One object per connection; the tables of the store must be there."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def page(self, number: int = 1) -> Page[Labelled]:
        """Return one page, the newest first."""
        total = int(self._connection.execute("SELECT COUNT(*) FROM label").fetchone()[0])
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} {_FROM} ORDER BY labelled_at DESC, label.study_key LIMIT ? OFFSET ?",
            (SIZE, (max(1, number) - 1) * SIZE),
        )
        return Page([_labelled(row) for row in rows], number, total)

    def all(self) -> list[Labelled]:
        """Return every label, the newest first."""
        rows = self._connection.execute(f"SELECT {_COLUMNS} {_FROM} ORDER BY labelled_at DESC, label.study_key")
        return [_labelled(row) for row in rows]

    def of(self, study_key: str) -> Labelled | None:
        """Return the label of one study, if it has one."""
        row = self._connection.execute(
            f"SELECT {_COLUMNS} {_FROM} WHERE label.study_key = ?",
            (study_key,),
        ).fetchone()
        return _labelled(row) if row is not None else None

    def counts(self) -> dict[str, int]:
        """Return how many labels there are, how many are held out, and of how many studies patients withdrew."""
        row = self._connection.execute(
            "SELECT COUNT(*) AS labels, TOTAL(held_out) AS held_out,"
            " TOTAL(subject_key IN (SELECT subject_key FROM withdrawn_subject)) AS withdrawn"
            " FROM label JOIN study USING (study_key)"
        ).fetchone()
        return {name: int(row[name]) for name in ("labels", "held_out", "withdrawn")}

    def hold_out(self, study_key: str, *, held_out: bool) -> None:
        """Keep the label of a study out of training, or take it in again.

        Raises:
            InvalidInputError: `not-found` if the study has no label.
        """
        with transaction(self._connection) as connection:
            done = connection.execute("UPDATE label SET held_out = ? WHERE study_key = ?", (int(held_out), study_key))
            if not done.rowcount:
                raise InvalidInputError(
                    Code.NOT_FOUND, "That study has no label; `acinus-node label list` names those that have."
                )


def _labelled(row: sqlite3.Row) -> Labelled:
    loss = None
    if row["dice"] is not None:
        loss = Loss(dice=row["dice"], volume_ratio=row["volume_ratio"], outside_fraction=row["outside_fraction"])
    return Labelled(
        study_key=row["study_key"], source=row["source"], labelled_at=row["labelled_at"], grid=row["grid"],
        on_present_grid=row["grid"] == row["present"], held_out=bool(row["held_out"]), withdrawn=bool(row["withdrawn"]), loss=loss,
    )  # fmt: skip
