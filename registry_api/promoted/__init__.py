"""Model releases that the centre promoted: signed manifests and weights by hash, kept for nodes to fetch. Weights are never loaded here."""
