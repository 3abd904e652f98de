"""ε against closed forms, against Opacus alone, and in the ways that it must move. Opacus brings sympy and more: only what needs it loads it."""

import math
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from client.ledger import account, formulas
from client.ledger.account import Event, course, epsilon

DELTA = 1e-5
EVENT = Event(noise_multiplier=4.0, sample_rate=0.25, steps=60, clipping_norm=1.0)


def gaussian_epsilon(sigma: float, delta: float) -> float:
    """ε of one Gaussian mechanism of sensitivity 1 without sampling (Balle and Wang 2018, theorem 8)."""

    def excess(eps: float) -> float:
        return float(norm.cdf(0.5 / sigma - eps * sigma) - math.exp(eps) * norm.cdf(-0.5 / sigma - eps * sigma) - delta)

    return float(brentq(excess, 0.0, 100.0))


@pytest.mark.parametrize("sigma", [1.0, 2.0, 5.0, 20.0])
@pytest.mark.parametrize("steps", [1, 4, 25])
def test_without_sampling_it_is_the_gaussian_mechanism_with_the_noise_divided_by_the_root_of_the_steps(
    sigma: float, steps: int
) -> None:
    exact = gaussian_epsilon(sigma / math.sqrt(steps), DELTA)
    said = epsilon([Event(noise_multiplier=sigma, sample_rate=1.0, steps=steps, clipping_norm=1.0)], DELTA)
    assert exact <= said <= 1.25 * exact + 0.1  # RDP is an upper bound, and the larger of the two counts


@pytest.mark.parametrize(
    ("sigma", "rate", "steps", "prv"),
    [(2.33, 0.25, 60, 4.0), (1.42, 0.25, 60, 8.0), (1.59, 0.1, 150, 4.0), (1.83, 0.5, 30, 8.0)],
)
def test_it_agrees_with_the_published_table(sigma: float, rate: float, steps: int, prv: float) -> None:
    """The noise that PRV asks for at δ = 1e-5; RDP asks for some percent more, so the ledger counts some percent more."""
    said = epsilon([Event(noise_multiplier=sigma, sample_rate=rate, steps=steps, clipping_norm=1.0)], DELTA)
    assert prv * 0.99 <= said <= prv * 1.12


def test_it_is_never_below_what_prv_alone_says() -> None:
    from opacus.accountants import PRVAccountant

    alone = PRVAccountant()
    alone.history = [(4.0, 0.25, 60)]
    assert epsilon([EVENT], DELTA) >= alone.get_epsilon(delta=DELTA)


def test_the_formulas_are_those_of_the_whole_opacus() -> None:
    """They are loaded without it; the whole of it stays what others import, and says the same."""
    from opacus.accountants import PRVAccountant
    from opacus.accountants.analysis.rdp import compute_rdp

    whole = PRVAccountant()
    assert type(whole).__module__ == formulas.prv.PRVAccountant.__module__
    assert sys.modules[PRVAccountant.__module__] is not formulas.prv
    part = formulas.prv.PRVAccountant()
    whole.history = part.history = [(1.5, 0.5, 6), (4.0, 0.25, 60)]
    assert part.get_epsilon(delta=DELTA) == whole.get_epsilon(delta=DELTA)
    asked = {"q": 0.3, "noise_multiplier": 2.0, "steps": 7, "orders": [1.5, 8.0, 64]}
    assert list(formulas.rdp.compute_rdp(**asked)) == list(compute_rdp(**asked))


def test_a_ledger_needs_neither_torch_nor_the_rest_of_opacus() -> None:
    seen = "import sys, client.ledger.store; print([name for name in ('torch', 'opacus', 'scipy.signal') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_costs_nothing() -> None:
    assert epsilon([], DELTA) == 0.0


def test_the_order_and_the_cutting_of_events_do_not_matter() -> None:
    other = replace(EVENT, noise_multiplier=2.0, steps=5)
    pieces = [replace(EVENT, steps=20), other, replace(EVENT, steps=40)]
    assert epsilon(pieces, DELTA) == pytest.approx(epsilon([other, EVENT], DELTA), rel=1e-9)


def test_the_clipping_norm_costs_nothing() -> None:
    assert epsilon([replace(EVENT, clipping_norm=0.1)], DELTA) == epsilon([EVENT], DELTA)


@pytest.mark.parametrize(
    ("sigma", "rate", "steps", "more"), [(1.1, 0.01, 150, 1.05), (3.0, 0.5, 8, 1.3), (6.0, 1.0, 25, 2.0)]
)
def test_less_noise_more_sampling_and_more_steps_cost_more(sigma: float, rate: float, steps: int, more: float) -> None:
    event = Event(noise_multiplier=sigma, sample_rate=rate, steps=steps, clipping_norm=1.0)
    cost = epsilon([event], DELTA)
    tiny = 1e-3  # PRV works on a grid
    assert epsilon([replace(event, noise_multiplier=sigma * more)], DELTA) <= cost + tiny
    assert epsilon([replace(event, steps=steps + 10)], DELTA) >= cost - tiny
    assert epsilon([replace(event, sample_rate=min(1.0, rate * more))], DELTA) >= cost - tiny
    assert epsilon([event], DELTA / 10) >= cost - tiny


# What a plan may ask for.


@pytest.mark.parametrize("sigma", [1e-300, 1e-160, 1e-8, 9e-4])
def test_noise_that_is_no_noise_has_no_price(sigma: float) -> None:
    assert epsilon([EVENT, replace(EVENT, noise_multiplier=sigma)], DELTA) == math.inf


@pytest.mark.parametrize("sigma", [1e-3, 0.05, 0.3])
def test_what_no_policy_allows_is_priced_by_one_accountant(sigma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> float:
        raise AssertionError("its grid would not fit into memory")

    monkeypatch.setattr(account, "_epsilon_prv", never)
    assert epsilon([replace(EVENT, noise_multiplier=sigma, steps=10_000)], DELTA) > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("sigma", "steps"), [(1.25, 10_000), (60.0, 10_000_000)], ids=["a high price", "many steps"])
def test_the_grid_is_bounded_whatever_is_asked(sigma: float, steps: int) -> None:
    event = Event(noise_multiplier=sigma, sample_rate=0.5, steps=steps, clipping_norm=1.0)
    tracemalloc.start()
    try:
        said = epsilon([event], DELTA)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert said >= course([event], DELTA)[-1]
    assert most < 400 * 2**20


@pytest.mark.parametrize("delta", [1e-14, 1e-16])
def test_where_prv_has_no_answer_the_other_bound_counts(delta: float) -> None:
    """A hospital may write down any δ; what it has spent must still have a price."""
    assert (
        epsilon([EVENT, replace(EVENT, noise_multiplier=1.5)], delta)
        == course([EVENT, replace(EVENT, noise_multiplier=1.5)], delta)[-1]
    )


def test_the_usual_plans_are_priced_on_the_usual_grid() -> None:
    assert account._grid_error(((1.5, 0.5, 12),), DELTA) == 0.01
    assert account._grid_error(((4.0, 0.25, 600), (1.5, 0.5, 12)), DELTA) == 0.01


def test_the_course_of_spending_ends_at_what_rdp_says_and_never_falls() -> None:
    events = [EVENT, replace(EVENT, noise_multiplier=2.0, steps=5), EVENT]
    drawn = course(events, DELTA)
    assert drawn == sorted(drawn)
    assert drawn[-1] == pytest.approx(epsilon(events, DELTA), rel=1e-6)  # RDP is the larger of the two here
    assert course([], DELTA) == []
