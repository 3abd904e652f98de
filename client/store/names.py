"""Which of the site's pseudonym keys gave a name. After a rotation a study or patient that is known keeps the name it has.

Otherwise a study that is sent again would be counted twice, and a patient with an old and a new study would be two under
patient-level privacy.
"""

import sqlite3
from dataclasses import replace

from client.store.records import InstanceKeys, StudyNames

_STUDY_USES = ("SELECT 1 FROM study WHERE study_key = :name", "SELECT 1 FROM tombstone WHERE study_key = :name")
_SUBJECT_USES = (
    "SELECT 1 FROM study WHERE subject_key = :name",
    "SELECT 1 FROM withdrawn_subject WHERE subject_key = :name",
    "SELECT 1 FROM tombstone WHERE subject_key = :name",
)

_NAMES_IN_USE = (
    "SELECT study_key AS name FROM study UNION SELECT subject_key FROM study UNION SELECT subject_key FROM withdrawn_subject"
    " UNION SELECT study_key FROM tombstone UNION SELECT subject_key FROM tombstone"
)
"""What a key is still needed for: studies, patients, withdrawals, and studies that must not come back."""


_MARK_NEIGHBOURS = """
INSERT INTO context_due SELECT DISTINCT s.study_key, 1 FROM study_name s JOIN study_name own ON own.name = s.name AND own.role = s.role
WHERE own.study_key = :study AND own.role = 'order' AND s.study_key <> :study
ON CONFLICT (study_key) DO UPDATE SET mark = mark + 1
"""
"""Studies with the same order number: if they are another patient's, nothing said of the order can be trusted any more."""


def known_as(connection: sqlite3.Connection, keys: InstanceKeys) -> InstanceKeys:
    """Return the names under which the node knows this instance's study and patient; what is new is named under the newest key.

    A patient who is known under more than one key goes by the oldest: that name was there first, and stays.
    """
    if not keys.older:
        return keys
    oldest_first = (*reversed(keys.older), keys)
    study = next((one for one in oldest_first if _is_used(connection, _STUDY_USES, one.study_key)), keys)
    subject = next((one for one in oldest_first if _is_used(connection, _SUBJECT_USES, one.subject_key)), keys)
    return replace(
        study, subject_key=subject.subject_key, subject_key_id=subject.key_id, older=(), context=keys.context
    )


def first_known(connection: sqlite3.Connection, study_keys: tuple[str, ...]) -> str:
    """Return the one of a study's names that the node knows; the first of them if it knows none."""
    return next((key for key in study_keys if _is_used(connection, _STUDY_USES, key)), study_keys[0])


def note_names(connection: sqlite3.Connection, keys: InstanceKeys) -> None:
    """Write down which key gave the names of a study and its patient, and by what statements about it find it.

    Inside a transaction of the caller's.
    """
    for name, key_id in ((keys.study_key, keys.key_id), (keys.subject_key, keys.subject_key_id)):
        if key_id:
            connection.execute("INSERT OR IGNORE INTO named_under VALUES (?, ?)", (name, key_id))
    if keys.context is not None:
        note_study_names(connection, keys.study_key, keys.context)


def note_study_names(connection: sqlite3.Connection, study_key: str, names: StudyNames) -> None:
    """Add to what is known of a study's order and patient; inside a transaction of the caller's."""
    rows = [(study_key, "order", name) for name in names.orders]
    rows += [(study_key, "subject", name) for name in names.subjects]
    rows += [(study_key, "number", name) for name in names.numbers]
    if connection.executemany("INSERT OR IGNORE INTO study_name VALUES (?, ?, ?)", rows).rowcount > 0:
        connection.execute(_MARK_NEIGHBOURS, {"study": study_key})


def names_of_study(connection: sqlite3.Connection, study_key: str) -> StudyNames:
    """Return what is known of a study's order and patient."""
    found: dict[str, set[str]] = {"order": set(), "subject": set(), "number": set()}
    for row in connection.execute("SELECT role, name FROM study_name WHERE study_key = ?", (study_key,)):
        found[row["role"]].add(row["name"])
    return StudyNames(
        orders=frozenset(found["order"]), subjects=frozenset(found["subject"]), numbers=frozenset(found["number"])
    )


def uses_by_key(connection: sqlite3.Connection, oldest: str) -> dict[str, int]:
    """Return how many names in use each key gave. A name from before the first rotation was given by the `oldest` key of the ring."""
    rows = connection.execute(
        f"SELECT coalesce(key_id, ?) AS key, COUNT(*) AS n FROM ({_NAMES_IN_USE}) LEFT JOIN named_under USING (name) GROUP BY key",  # noqa: S608 - a constant of this module
        (oldest,),
    )
    return {row["key"]: int(row["n"]) for row in rows}


def settle_names(connection: sqlite3.Connection, key_id: str) -> None:
    """Note `key_id` for every name in use that has no key yet: before the first rotation there was only that one.

    Inside a transaction of the caller's.
    """
    connection.execute(
        f"INSERT OR IGNORE INTO named_under SELECT name, ? FROM ({_NAMES_IN_USE})",  # noqa: S608 - a constant of this module
        (key_id,),
    )


def _is_used(connection: sqlite3.Connection, uses: tuple[str, ...], name: str) -> bool:
    return any(connection.execute(use, {"name": name}).fetchone() is not None for use in uses)
