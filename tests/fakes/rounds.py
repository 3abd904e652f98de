"""A plan, its orders and the answers to them, with nothing behind them."""

from typing import Any

import numpy as np

from protocol.plan import PrivacyPlan, RoundOrder, RunPlan, UpdateNotice
from strategies.arrays import Arrays, arrays_sha256

RUN = "a" * 32
SITES = ("northport", "southbay", "westhill")


def a_plan(**changes: Any) -> RunPlan:
    content = {
        "base": "ggo@0", "sites": SITES, "rounds": 3, "quorum": 2, "round_seconds": 60, "learning_rate": 0.1,
        "privacy": PrivacyPlan(noise_multiplier=1, clipping_norm=1, sample_rate=0.1, expected_batch=4, steps_per_round=2),
    }  # fmt: skip
    return RunPlan.model_validate(content | changes)


def an_order(**changes: Any) -> RoundOrder:
    content = {"run_id": RUN, "round": 1, "base_sha256": arrays_sha256(weights()), "plan": a_plan()}
    return RoundOrder.model_validate(content | changes)


def a_notice(update: Arrays | None = None, **changes: Any) -> UpdateNotice:
    content = {
        "run_id": RUN, "round": 1, "site": SITES[0], "base_sha256": arrays_sha256(weights()),
        "update_sha256": arrays_sha256(weights() if update is None else update), "epsilon": 0.5, "delta": 1e-5,
    }  # fmt: skip
    return UpdateNotice.model_validate(content | changes)


def weights(value: float = 0.0) -> dict[str, np.ndarray]:
    """A network of two arrays, all of one value."""
    return {"bias": np.full(3, value, np.float32), "kernel": np.full((2, 2), value, np.float32)}


def answer_to(order: RoundOrder, site: str, /, step: float = 1.0, **changes: Any) -> tuple[UpdateNotice, Arrays]:
    """A site's honest answer, its update `step` everywhere; `changes` make it less honest."""
    update = changes.pop("update", weights(step))
    bound = {"run_id": order.run_id, "round": order.round, "site": site, "base_sha256": order.base_sha256}
    return a_notice(update, **(bound | changes)), update
