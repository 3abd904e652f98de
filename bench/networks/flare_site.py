"""A site of FLARE, by its client API: changes every weight by a share of itself. `flare_site.py SITE`."""

import sys
from functools import partial

import numpy as np
import nvflare.client as flare
from numpy.typing import NDArray

from bench.networks.stopwatch import STEP, timed


def _grown(arrays: dict[str, NDArray[np.float32]], share: float) -> dict[str, NDArray[np.float32]]:
    return {name: array * array.dtype.type(share) for name, array in arrays.items()}


def main(site: str) -> None:
    """Answer rounds until the job ends."""
    flare.init()
    while flare.is_running():
        model = flare.receive()
        if model is None:
            return
        update = timed(site, partial(_grown, model.params, 1 + STEP[site]))
        flare.send(flare.FLModel(params=update))


if __name__ == "__main__":
    main(sys.argv[1])
