"""`python -m bench.networks.own_site HOME SITE`: a node's real runner, with a toy in place of training."""

import signal
import sys
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.networks.stopwatch import STEP, timed
from client.app import app_of_site
from client.gate.keys import SUPEREXEC_SECRET
from client.gate.policy import Clearance
from client.rooms.border import open_gate
from client.runner.runner import Runner
from client.settings import load_settings
from protocol.plan import RoundOrder, UpdateNotice
from strategies.arrays import Arrays, arrays_sha256
from strategies.flower.desk import TaskDesk
from strategies.flower.pieces import Pieces


class Toy:
    """Changes every weight by a share of itself."""

    def __init__(self, site: str) -> None:
        self._site = site

    def answer(self, order: RoundOrder, base: Arrays) -> tuple[UpdateNotice, dict[str, NDArray[np.float32]]]:
        """Return the change, and the notice that binds it to its round."""
        share = np.float32(STEP[self._site])
        update = timed(self._site, lambda: {name: array * share for name, array in base.items()})
        notice = UpdateNotice(
            run_id=order.run_id, round=order.round, site=self._site, base_sha256=order.base_sha256,
            update_sha256=arrays_sha256(update), epsilon=0.1, delta=1e-5,
        )  # fmt: skip
        return notice, update


def main(home: Path, site: str) -> None:
    """Answer tasks until SIGTERM; every bundle is allowed, and each is written into the node's audit as always."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = load_settings(home)
    secret = (settings.keys / SUPEREXEC_SECRET).read_bytes()
    Runner(
        lambda: TaskDesk(f"127.0.0.1:{settings.flower.runtime_port}", secret, Pieces(settings.pieces)),
        app=app_of_site(Toy(site)),
        approve=lambda _: Clearance(),
        record=open_gate(settings).audit.append,
    ).run(stop)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
