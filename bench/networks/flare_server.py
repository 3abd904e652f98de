"""FLARE's own FedAvg, beginning from a file of arrays and writing no model: as the other federations' toys, it trains nothing."""

import numpy as np
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.workflows.fedavg import FedAvg


class FromFile(FedAvg):  # type: ignore[misc] # FLARE is not installed here
    """FedAvg whose first weights are those of an `.npz` file."""

    def __init__(self, path: str, num_clients: int, num_rounds: int) -> None:
        super().__init__(num_clients=num_clients, num_rounds=num_rounds, persistor_id="")
        self.path = path

    def load_model(self) -> FLModel:
        """Return the first weights."""
        with np.load(self.path) as base:
            return FLModel(params={name: base[name] for name in base.files})

    def save_model(self, model: FLModel) -> None:
        """Keep nothing: what FLARE would write is not compared."""
