"""Which patients are one person where privacy is the person's: whoever has the same number, whoever issued it.

A header may leave the issuer away that another one names, or two systems call it by two names. For reading and for context such patients stay
apart (`subject_key`); in training they would be sampled, clipped and withdrawn as two, which patient-level privacy must not (ADR 0189).
"""

import sqlite3

_NUMBERS = """
SELECT DISTINCT name, subject_key FROM study JOIN study_name USING (study_key) WHERE role = 'number' ORDER BY subject_key
"""

KEEP_NUMBERS = """
INSERT OR IGNORE INTO withdrawn_number SELECT name FROM study_name JOIN study USING (study_key)
WHERE study_key = ? AND role = 'number' AND subject_key IN (SELECT subject_key FROM withdrawn_person)
"""
"""For a study that is about to go: a number that only it shows to be withdrawn's stays known."""


class Persons:
    """The persons of one moment, of all studies that the node holds."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._above: dict[str, str] = {}
        first: dict[str, str] = {}
        for name, subject_key in connection.execute(_NUMBERS):
            self._join(subject_key, first.setdefault(name, subject_key))

    def of(self, subject_key: str) -> str:
        """Return one name for all subjects of a person: one of theirs, the same for all."""
        at = subject_key
        while (above := self._above.get(at, at)) != at:
            at = above
        return at

    def _join(self, one: str, other: str) -> None:
        """Let two subjects be one person; the least name is the person's."""
        low, high = sorted((self.of(one), self.of(other)))
        self._above[high] = low
