"""What was measured when, and of whom: the findings that are valid now, seen along time. On the connection of the store."""

import sqlite3


class History:
    """Reads studies and findings; writes nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def measured_since(self, moment: float) -> dict[str, int]:
        """Return the version of every finding that is valid now and was made at `moment` (seconds since 1970) or later."""
        rows = self._connection.execute(
            "SELECT study_key, version FROM finding JOIN study USING (study_key)"
            " WHERE state = 'measured' AND measured_at >= ? ORDER BY measured_at, study_key",
            (moment,),
        )
        return {row["study_key"]: int(row["version"]) for row in rows}

    def is_first_in_week(self, study_key: str, week: str) -> bool:
        """Say whether no other study of its patient was called the first of an ISO week, as far as there are records of them."""
        found = self._connection.execute(
            "SELECT 1 FROM study JOIN study AS other ON other.subject_key = study.subject_key"
            " JOIN finding ON finding.study_key = other.study_key"
            " WHERE study.study_key = ? AND other.study_key != study.study_key AND CASE WHEN record = '' THEN 0 ELSE"
            " json_extract(record, '$.epi_week') = ? AND json_extract(record, '$.first_in_week') END LIMIT 1",
            (study_key, week),
        ).fetchone()
        return found is None

    def day_of(self, study_key: str) -> int | None:
        """Return the day of a study whose patient has a number, as `date.toordinal` counts; `None` for any other, or before it is measured."""
        row = self._connection.execute(
            "SELECT day FROM study_context WHERE study_key = :key"
            " AND EXISTS (SELECT 1 FROM study_name WHERE study_key = :key AND role = 'number')",
            {"key": study_key},
        ).fetchone()
        return row["day"] if row is not None else None

    def earlier_of_subject(self, study_key: str, day: int) -> list[tuple[str, int]]:
        """Return the other measured studies of the patient of a study from before `day`, each with how many days; the latest first.

        By what was concluded when they were measured: their instances may be gone.
        """
        rows = self._connection.execute(
            "SELECT other.study_key, :day - day AS days FROM study JOIN study AS other ON other.subject_key = study.subject_key"
            " JOIN study_context ON study_context.study_key = other.study_key"
            " WHERE study.study_key = :key AND other.study_key != :key AND other.state = 'measured' AND day < :day"
            " ORDER BY days, other.received_at, other.study_key",
            {"key": study_key, "day": day},
        )
        return [(str(row["study_key"]), int(row["days"])) for row in rows]
