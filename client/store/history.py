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

    def others_of_subject(self, study_key: str) -> list[str]:
        """Return the other measured studies of the patient of a study, in the order in which they came."""
        rows = self._connection.execute(
            "SELECT other.study_key FROM study JOIN study AS other ON other.subject_key = study.subject_key"
            " WHERE study.study_key = ? AND other.study_key != study.study_key AND other.state = 'measured'"
            " ORDER BY other.received_at, other.study_key",
            (study_key,),
        )
        return [str(row["study_key"]) for row in rows]
