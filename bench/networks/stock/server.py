"""Flower's own FedAvg over three sites, without an evaluation."""

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp, strategy

from bench.networks.stopwatch import SITES

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry out the run."""
    with np.load(str(context.run_config["weights"])) as base:
        arrays = ArrayRecord([base[name] for name in sorted(base.files)])
    average = strategy.FedAvg(fraction_evaluate=0.0, min_train_nodes=len(SITES), min_available_nodes=len(SITES))
    average.start(grid=grid, initial_arrays=arrays, num_rounds=int(context.run_config["rounds"]))
