"""What a history of charges costs, roughly and in no time: for tests of the ledger's book-keeping, not of its accountant."""

from collections.abc import Sequence

from client.ledger.account import Event


def rough_price(events: Sequence[Event], delta: float) -> float:
    """Grows like ε does."""
    return float(sum(event.steps * (event.sample_rate / event.noise_multiplier) ** 2 for event in events) ** 0.5)
