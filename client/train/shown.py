"""The weights that this site was shown in each round that it was charged for, and those that it compared: a release must come of the same.

An order names its weights by hash, and from round 2 on a site cannot know whether the others were shown the same ones. The centre's signed manifest
does, of every round and towards everybody. So who shows one site other weights must leave its release out of use there, or sign two releases
of one name (ADR 0183). What a site compared with the release in use, and gave its word of, is in the same way what it takes out of that run.
"""

import logging
import sqlite3
from dataclasses import dataclass

from safetensors import SafetensorError
from safetensors.numpy import load

from client.store.database import transaction
from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.evaluation import EvaluationOrder
from protocol.plan import RoundOrder
from protocol.release import Manifest
from protocol.shape import OpaqueId, Sha256
from strategies.arrays import arrays_sha256

SCHEMA = """
CREATE TABLE IF NOT EXISTS shown_weights (
    run_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    weights_sha256 TEXT NOT NULL,
    PRIMARY KEY (run_id, round, weights_sha256)
) STRICT;
"""

_RESULT = 0
"""Stands in the place of a round for what came of the run: rounds count from one."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShownWeights:
    """The weights by run and round; of one round more than one if the centre showed more."""

    connection: sqlite3.Connection

    def note(self, order: RoundOrder) -> None:
        """Write down what an order showed; twice changes nothing.

        Raises:
            UnavailableError: `disk-full`; nothing may be charged then.
        """
        self._note(order.run_id, order.round, order.base_sha256)

    def note_candidate(self, order: EvaluationOrder) -> None:
        """Write down which weights this site is about to compare with the release in use.

        Raises:
            UnavailableError: `disk-full`; nothing may be charged then.
        """
        self._note(order.run_id, _RESULT, order.candidate_sha256)

    def require_same(self, manifest: Manifest) -> None:
        """Compare what a release says of the rounds of its run with what this site was shown in them.

        A manifest that says nothing of them is refused too where the site took part, or whoever has something to hide would say nothing.

        Raises:
            RefusedError: `views-differ`.
        """
        rows = self.connection.execute(
            "SELECT round, weights_sha256 FROM shown_weights WHERE run_id = ? AND round <> ?",
            (manifest.run_id, _RESULT),
        ).fetchall()
        said = manifest.provenance.weights if manifest.provenance is not None else ()
        other = sorted(
            {row["round"] for row in rows if row["weights_sha256"] not in said[row["round"] - 1 : row["round"]]}
        )
        if other:
            log.warning("release.other-weights release=%s rounds=%s", manifest.name, ",".join(map(str, other)))
            raise RefusedError(
                Code.VIEWS_DIFFER,
                f"{manifest.name} says that round {other[0]} of its training began from other weights than this site was shown. Tell the coordinator.",
            )

    def require_compared(self, manifest: Manifest, weights: bytes) -> None:
        """Compare the weights of a release with those of its run that this site compared with the release in use, if it did.

        Args:
            manifest: What the release says of itself.
            weights: Its safetensors file.

        Raises:
            RefusedError: `views-differ`.
        """
        rows = self.connection.execute(
            "SELECT weights_sha256 FROM shown_weights WHERE run_id = ? AND round = ?", (manifest.run_id, _RESULT)
        ).fetchall()
        if rows and {row["weights_sha256"] for row in rows} != {_hash_of(weights)}:
            log.warning("release.not-compared release=%s", manifest.name)
            raise RefusedError(
                Code.VIEWS_DIFFER,
                f"The weights of {manifest.name} are not those of its run that this site compared with the release in use. Tell the coordinator.",
            )

    def _note(self, run_id: OpaqueId, number: int, weights_sha256: Sha256) -> None:
        with transaction(self.connection):
            self.connection.execute(
                "INSERT OR IGNORE INTO shown_weights VALUES (?, ?, ?)", (run_id, number, weights_sha256)
            )


def _hash_of(weights: bytes) -> str:
    """Return the hash of a file's arrays; none for what is no file of arrays."""
    try:
        return arrays_sha256(load(weights))
    except SafetensorError:
        return ""
