"""`python -m strategies.supernode`: the stock SuperNode under its own options, with waits no longer than they have to be."""

from strategies.flower import run_supernode

if __name__ == "__main__":
    run_supernode()
