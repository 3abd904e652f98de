"""What crashes leave behind: drafts whose writer was killed, and files that no row names. Nothing refers to them, yet they are of patients."""

import gzip
import hashlib
import logging
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

from client.settings import NodeSettings
from client.store.files import adopt, disk_faults, remove_older
from client.store.results import DRAWN, mask_name

_DRAFTS = ".*.part"
_EARLIER = "earlier"
"""Where masks lay that another took the place of, before ADR 0125."""

_PREPARED = """
SELECT study_key FROM study WHERE study_key IN (SELECT study_key FROM label UNION SELECT study_key FROM zone_label)
AND subject_key NOT IN (SELECT subject_key FROM withdrawn_person)
"""
"""Whose slices may be needed. Training takes a moment to prepare a study, in which the study may be deleted or its patient withdraw."""

log = logging.getLogger(__name__)


def sweep_leftovers(connection: sqlite3.Connection, settings: NodeSettings, before: float) -> int:
    """Remove drafts and files without a row; return how many. Everything is looked for anew, so a sweep that was cut short is made up for.

    Args:
        connection: To the node's database.
        settings: The node's.
        before: Seconds since 1970: what changed later may have a writer who is about to give it its name or its row.

    Raises:
        UnavailableError: `disk-full` if something cannot be removed.
    """
    take_old_names(connection, settings)
    with disk_faults():
        removed = sum(remove_older(path, before) for path in _drafts(settings))
        removed += sum(remove_older(path, before) for path in _nameless(connection, settings))
    if removed:
        log.info("leftovers.swept", extra={"files": removed})
    return removed


def nameless_masks(connection: sqlite3.Connection, settings: NodeSettings) -> list[Path]:
    """Return the masks that are neither a label nor one that another took the place of."""
    found = list(settings.labels.glob("*.nii.gz"))
    rows = connection.execute("SELECT study_key, sha256 FROM label UNION SELECT study_key, sha256 FROM label_history")
    named = {name for row in rows for name in (mask_name(row["study_key"], row["sha256"]), _old_name(row["study_key"]))}
    return [path for path in found if path.name not in named]


def take_old_names(connection: sqlite3.Connection, settings: NodeSettings) -> None:
    """Name by their content the masks that were kept under their study's key alone, as before ADR 0125.

    One that is not what its row says is left where it is: whose it is cannot be known, so it neither counts nor goes.

    Raises:
        UnavailableError: `disk-full`.
    """
    for row in connection.execute(
        "SELECT study_key, sha256 FROM label UNION SELECT study_key, sha256 FROM label_history"
    ):
        place = settings.labels / mask_name(row["study_key"], row["sha256"])
        for old in (settings.labels / _old_name(row["study_key"]), settings.labels / _EARLIER / place.name):
            if old.is_file() and _unpacked_sha256(old) == row["sha256"]:
                adopt(old, place)
                old.unlink()


def _old_name(study_key: str) -> str:
    return f"{study_key}.nii.gz"


def _unpacked_sha256(path: Path) -> str:
    """Return the hash of what is packed in a file; nothing that a row holds if it is damaged."""
    try:
        with gzip.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error):
        return ""


def _drafts(settings: NodeSettings) -> Iterator[Path]:
    """Give every draft but those of instances, which the receiver sweeps as it starts."""
    for folder in (settings.labels, settings.prepared, settings.updates, settings.quarantine, settings.outgoing):
        yield from folder.rglob(_DRAFTS)
    yield from settings.studies.glob(f"*/{_DRAFTS}")
    yield from settings.home.glob(_DRAFTS)


def _nameless(connection: sqlite3.Connection, settings: NodeSettings) -> Iterator[Path]:
    """Give every file that no row names, of those that count by a row only."""
    yield from nameless_masks(connection, settings)
    waiting = connection.execute("SELECT study_key, sha256 FROM drawn_mask WHERE settled_at IS NULL")
    drawn = {f"{row['study_key']}-{row['sha256']}.dcm" for row in waiting}
    yield from (path for path in (settings.labels / DRAWN).glob("*.dcm") if path.name not in drawn)
    counted = {row["study_key"] for row in connection.execute(_PREPARED)}
    yield from (path for path in settings.prepared.glob("*.safetensors") if path.name.rpartition("-")[0] not in counted)
    aside = {row["file"] for row in connection.execute("SELECT file FROM quarantine")}
    yield from (path for path in settings.quarantine.glob("*.bin") if path.name not in aside)
    for folder in settings.instances.glob("*"):
        rows = connection.execute("SELECT file FROM instance WHERE study_key = ?", (folder.name,))
        known = {Path(row["file"]).name for row in rows}
        yield from (path for path in folder.glob("*.dcm") if path.name not in known)
