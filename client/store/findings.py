"""What was measured of studies: how a measurement settles its study, and which version of its record the centre has or will have."""

import sqlite3

from client.store.database import transaction
from client.store.records import Finding, ScanInput, Study
from protocol.codes import Code


class Findings:
    """The findings of one node. One object per connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

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
            connection.execute("DELETE FROM expired WHERE study_key = ?", (study.study_key,))  # all of it is new
        return True

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

    def outlasting(self, study_key: str) -> Finding | None:
        """Return the finding of a study whose instances were removed after their period; `None` for any other, or once withdrawn."""
        row = self._connection.execute(
            "SELECT finding.* FROM finding JOIN expired USING (study_key)"
            " WHERE study_key = ? AND kind = 'instances' AND record NOT LIKE '%\"withdrawn\":true%'",
            (study_key,),
        ).fetchone()
        return finding_from(row) if row is not None else None

    def settle_as_before(self, study: Study) -> bool:
        """Keep the result of a study whose first instances were removed after their period and of which a few more have come.

        Returns:
            False for any other study: nothing is changed then.
        """
        with transaction(self._connection) as connection:
            if self.outlasting(study.study_key) is None:
                return False
            kept = connection.execute(
                "UPDATE study SET state = 'measured', code = NULL, attempts = 0 WHERE study_key = ? AND revision = ?",
                (study.study_key, study.revision),
            )
        return kept.rowcount > 0

    def note_input(self, study_key: str, scan: ScanInput) -> None:
        """Write down what the scanner gave, for groups of held-out patients and to see scans change; it never leaves as it is."""
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO study_input SELECT study_key, ?, ?, ? FROM study WHERE study_key = ? AND grid IS NOT NULL",
                (scan.maker, scan.slice_mm, scan.lung_hu, study_key),
            )

    def latest(self, study_key: str) -> Finding | None:
        """Return the last finding of a study, even if it is stale: its record and version are what the centre may hold."""
        row = self._connection.execute("SELECT * FROM finding WHERE study_key = ?", (study_key,)).fetchone()
        return finding_from(row) if row is not None else None

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
        return [finding_from(row) for row in rows]

    def mark_sent(self, finding: Finding, verdict: str) -> None:
        """Note the gate's verdict on this version of a finding's record."""
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE finding SET verdict = ? WHERE study_key = ? AND version = ?",
                (verdict, finding.study_key, finding.version),
            )

    @staticmethod
    def _is_current(connection: sqlite3.Connection, study: Study) -> bool:
        row = connection.execute("SELECT revision FROM study WHERE study_key = ?", (study.study_key,)).fetchone()
        return row is not None and int(row["revision"]) == study.revision


def finding_from(row: sqlite3.Row) -> Finding:
    """Return a finding from its row."""
    return Finding(**dict(row))
