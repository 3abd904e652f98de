"""A hospital that is killed again and again: its way out and its runner are two processes, and what the runner keeps is real.

`python -m tests.fakes.soak_site HOME SITE FORWARD_PORT outside|runner` after `enrol_toy`. Policy, ledger, audit and kept updates are a
node's own; in place of training every update pulls the weights towards the same target, with noise of the site and the round.
"""

import signal
import sys
import threading
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.app import app_of_site
from client.gate import gate as gates
from client.gate.gate import Gate
from client.gate.keys import SUPEREXEC_SECRET
from client.gate.policy import Clearance, SitePolicy, TrainingPolicy
from client.ledger.store import BudgetLedger
from client.runner.runner import Runner
from client.store.database import connect
from client.store.records import MaskLabel, TrainingCase
from client.train import agreed, kept, shown
from client.train.agreed import AgreedPlans
from client.train.cohort import Cohort
from client.train.kept import KeptUpdates
from client.train.shown import ShownWeights
from client.train.site import SiteTrainer
from models.net import GgoNet
from protocol.plan import Purpose, RoundOrder
from strategies.arrays import Arrays
from strategies.flower.desk import TaskDesk
from tests.fakes import ledgers
from tests.fakes.rough_price import rough_price
from tests.fakes.toy_site import keep_forwarder, keep_supernode, pieces_of

LINEAGE, BASE = "soak", "soak@0"
PULL, NOISE, TARGET = 0.2, 0.02, 1.0
DELTA = 1e-5

_POLICY = SitePolicy(
    training=TrainingPolicy(
        allowed=True, purposes=(Purpose.SEGMENTATION,), lineages=(LINEAGE,), epsilon_total=1000, epsilon_per_run=1000,
        minimum_cohort=1, delta=DELTA,
    )
)  # fmt: skip


def start() -> dict[str, NDArray[np.float32]]:
    """What the run begins with."""
    return {"bias": np.zeros(1000, np.float32), "kernel": np.zeros((100, 100), np.float32)}


def pulled(site: str, order: RoundOrder, base: Arrays) -> dict[str, NDArray[np.float32]]:
    """A site's update: the same for the same round and base."""
    noise = np.random.default_rng([zlib.crc32(site.encode()), order.round])
    return {
        name: (PULL * (TARGET - array) + NOISE * noise.standard_normal(array.shape)).astype(np.float32)
        for name, array in base.items()
    }


class PullingTrainer(SiteTrainer):
    """All of a site's trainer but the training."""

    def _train(self, order: RoundOrder, base: Arrays, patients: object) -> tuple[dict[str, NDArray[np.float32]], None]:
        return pulled(self.site, order, base), None


def open_ledger(home: Path) -> BudgetLedger:
    return ledgers.open_ledger(home / "node.db", _now, price=rough_price)


def open_gate(home: Path) -> Gate:
    return Gate(connect(home / "node.db", gates.SCHEMA), lambda: _POLICY, _now, home / "audit.head")


def open_kept(home: Path) -> KeptUpdates:
    return KeptUpdates(connect(home / "node.db", kept.SCHEMA), home / "updates")


def run_outside(home: Path, port: int, stop: threading.Event) -> None:
    threading.Thread(target=keep_forwarder, args=(home, port), daemon=True).start()
    keep_supernode(home, port, stop)


def run_runner(home: Path, site: str, port: int, stop: threading.Event) -> None:
    nowhere = home / "study"
    case = TrainingCase(
        subject_key="subject", study_key="study", volume_path=nowhere, lungs_path=nowhere,
        label=MaskLabel(nowhere, "0" * 64),
    )  # fmt: skip
    gate = open_gate(home)
    trainer = PullingTrainer(
        site=site, policy=lambda: _POLICY, gate=gate, ledger=open_ledger(home), kept=open_kept(home),
        agreed=AgreedPlans(connect(home / "node.db", agreed.SCHEMA)), shown=ShownWeights(connect(home / "node.db", shown.SCHEMA)),
        cases=lambda _use: [case], cohort=Cohort(home / "prepared", _no_network), base=lambda _name: start(), now=_now,
    )  # fmt: skip
    secret = (home / "keys" / SUPEREXEC_SECRET).read_bytes()
    Runner(
        lambda: TaskDesk(f"127.0.0.1:{port + 1}", secret, pieces_of(home)), app=app_of_site(trainer), approve=lambda _: Clearance(),
        record=gate.audit.append,
    ).run(stop)  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


def _no_network(release: str) -> GgoNet:
    raise AssertionError(f"{release}: nothing is trained here")


def main(home: Path, site: str, port: int, part: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    run_outside(home, port, stop) if part == "outside" else run_runner(home, site, port, stop)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
