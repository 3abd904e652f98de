"""Stock Flower's side of `bench.round`: its own FedAvg, its own round loop, a toy in place of training."""
