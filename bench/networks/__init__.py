"""Three federations, each of a centre and three sites on this machine, that do the same toy training: what `bench.round` compares."""
