"""`python -m strategies.flower.superlink`: the stock SuperLink under its own options, at a fraction of the cost of a request."""

from flwr.server.superlink.linkstate import linkstate_factory
from flwr.superlink import config_loader
from flwr.superlink import main as superlink_app
from flwr.superlink.cli.flower_superlink import flower_superlink

from strategies.flower.layers import chained
from strategies.flower.objects import SharedObjectStoreFactory
from strategies.flower.state import LinkState


def run_superlink() -> None:
    """Be the stock SuperLink, with the options on this process's command line; return when it has ended.

    Weights do not pass through it: it keeps the books of them, and files keep the weights (`SharedObjectStoreFactory`). It writes its database
    less often (`LinkState`), and its layers are called instead of streamed through (`chained`).
    """
    config_loader.ObjectStoreFactory = SharedObjectStoreFactory  # type: ignore[attr-defined]
    linkstate_factory.SqlLinkState = LinkState  # type: ignore[attr-defined]
    superlink_app.create_app = chained(superlink_app.create_app)
    flower_superlink()


if __name__ == "__main__":
    run_superlink()
