"""The weights that this site was shown in each round that it was charged for: a release must say the same of the run that it came out of.

An order names its weights by hash, and from round 2 on a site cannot know whether the others were shown the same ones. The centre's signed manifest
does, of every round and towards everybody. So who shows one site other weights must leave its release out of use there, or sign two releases
of one name (ADR 0183).
"""

import logging
import sqlite3
from dataclasses import dataclass

from client.store.database import transaction
from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.plan import RoundOrder
from protocol.release import Manifest

SCHEMA = """
CREATE TABLE IF NOT EXISTS shown_weights (
    run_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    weights_sha256 TEXT NOT NULL,
    PRIMARY KEY (run_id, round, weights_sha256)
) STRICT;
"""

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
        with transaction(self.connection):
            self.connection.execute(
                "INSERT OR IGNORE INTO shown_weights VALUES (?, ?, ?)", (order.run_id, order.round, order.base_sha256)
            )

    def require_same(self, manifest: Manifest) -> None:
        """Compare what a release says of the rounds of its run with what this site was shown in them.

        A manifest that says nothing of them is refused too where the site took part, or whoever has something to hide would say nothing.

        Raises:
            RefusedError: `views-differ`.
        """
        rows = self.connection.execute(
            "SELECT round, weights_sha256 FROM shown_weights WHERE run_id = ? ORDER BY round", (manifest.run_id,)
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
