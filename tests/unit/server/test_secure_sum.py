"""The sum against plain addition, with sites lost at every step, and what the centre could learn on the way."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from client.train.member import Member
from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.plan import RoundOrder
from protocol.secure_sum import Agreement, Boxes, Circle, Openings, PaddedNotice, SignedView, View
from protocol.shape import Shape
from strategies.securesum.agreement import own_pad_key
from strategies.securesum.pads import Words, pad
from tests.fakes.circle import Hall, hall, names, peers, plain_sum, secure_order, secure_plan, signer, summation

STEPS: tuple[type[Shape], ...] = (RoundOrder, Circle, Boxes, View, Agreement)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_sum_is_the_plain_sum_of_whoever_is_in_it_bit_for_bit(data: st.DataObject) -> None:
    """Any number of sites, any terms that hold, any tolerated losses at any steps, any length."""
    dropouts, colluders = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    sites = data.draw(st.integers(max(3, 2 * dropouts + colluders + 1, dropouts + colluders + 2), 8))
    lost = data.draw(st.lists(st.sampled_from(names(sites)), max_size=dropouts, unique=True))
    when = {site: data.draw(st.sampled_from(STEPS[1:])) for site in lost}
    made = hall(sites, values=data.draw(st.integers(1, 40)), dropouts=dropouts, colluders=colluders, lost=dict(when))
    one = summation(made)
    total = one.summed(made.order.plan.sites)
    before_the_sum = {site for site, step in when.items() if step in (Circle, Boxes)}
    assert set(one.notices) == set(names(sites)) - before_the_sum
    assert np.array_equal(total, plain_sum(made, one.notices))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_site_lost_at_any_step_does_not_spoil_the_sum(step: type[Shape]) -> None:
    made = hall(5, dropouts=1, colluders=1, lost={"site-02": step})
    one = summation(made)
    assert np.array_equal(one.summed(made.order.plan.sites), plain_sum(made, one.notices))
    assert ("site-02" in one.notices) == (step in (View, Agreement))
    assert one.refused == {"site-02": Code.NODE_ABSENT}


@pytest.mark.parametrize("step", STEPS[1:], ids=lambda step: step.__name__)
def test_one_loss_more_than_tolerated_gives_no_sum(step: type[Shape]) -> None:
    made = hall(5, dropouts=1, colluders=1, lost={"site-02": step, "site-04": step})
    with pytest.raises(RefusedError) as refused:
        summation(made).summed(made.order.plan.sites)
    assert refused.value.code is Code.TOO_FEW_SITES


def test_too_few_sites_at_the_start_are_asked_for_nothing_more() -> None:
    made = hall(3, lost={"site-00": RoundOrder})
    with pytest.raises(RefusedError) as refused:
        summation(made).summed(made.order.plan.sites)
    assert refused.value.code is Code.TOO_FEW_SITES
    assert not any(isinstance(said, Boxes) for _, said in made.heard)


# What a site can spoil, and how that is noticed.


def spoiled(kind: type[Shape], change: Any, *, sites: int = 5) -> tuple[Hall, Any]:
    """A round in which site-01 answers with something else."""
    made = hall(sites, dropouts=1, colluders=1)
    honest = made._answer

    def answer(site: str, question: Shape) -> Any:
        said, words = honest(site, question)
        return change(said, words) if site == "site-01" and isinstance(said, kind) else (said, words)

    made._answer = answer  # type: ignore[method-assign]
    return made, summation(made)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (PaddedNotice, lambda notice, words: (notice, words[:-1])),
        (PaddedNotice, lambda notice, words: (notice, None)),
        (PaddedNotice, lambda notice, words: (notice, words.astype(np.int64))),
        (PaddedNotice, lambda notice, words: (notice.model_copy(update={"site": "site-02"}), words)),
        (PaddedNotice, lambda notice, words: (notice.model_copy(update={"circle_sha256": "0" * 64}), words)),
        (PaddedNotice, lambda notice, words: (SignedView(site="site-01", signature="A" * 96), None)),
        (Boxes, lambda boxes, _: (Boxes(boxes=boxes.boxes[1:]), None)),
        (Boxes, lambda boxes, _: (Boxes(boxes=(*boxes.boxes[1:], boxes.boxes[1])), None)),
        (Boxes, lambda boxes, _: (SignedView(site="site-01", signature="A" * 96), None)),
        (SignedView, lambda signed, _: (signed.model_copy(update={"site": "site-02"}), None)),
    ],
)
def test_an_answer_that_does_not_fit_leaves_its_site_out(kind: type[Shape], change: Any) -> None:
    made, one = spoiled(kind, change)
    assert np.array_equal(one.summed(made.order.plan.sites), plain_sum(made, one.notices))
    assert one.refused == {"site-01": Code.BAD_UPDATE}
    assert ("site-01" in one.notices) == (kind is SignedView)


def test_a_false_share_is_found_out_and_gives_no_sum() -> None:
    def forge(openings: Openings, _: object) -> tuple[Openings, None]:
        first = openings.shares[2].model_copy(update={"value": "0" * 131 + "1"})
        return Openings(shares=(*openings.shares[:2], first, *openings.shares[3:])), None

    made, one = spoiled(Openings, forge)
    with pytest.raises(RefusedError) as refused:
        one.summed(made.order.plan.sites)
    assert refused.value.code is Code.BAD_UPDATE


# What the centre and one colluding site see of two others.

WORDS = 1 << 15


def looks_uniform(words: Words) -> bool:
    """Pearson's test on the bytes; an honest pad fails it once in 10^9."""
    counts = np.bincount(np.frombuffer(words.tobytes(), np.uint8), minlength=256)
    expected = counts.sum() / 256
    return bool(((counts - expected) ** 2 / expected).sum() < chi2.isf(1e-9, 255))


def seen_by_centre_and_one_site(order: RoundOrder, random_bytes: Any = None) -> Words:
    """What is left of site-00's padded summand when site-02 and the opened seeds have taken out all that they know of.

    The summands themselves are small, as real ones may be.
    """
    small = np.random.default_rng(1).integers(0, 16, WORDS, dtype=np.uint32)
    made = Hall(order, dict.fromkeys(names(3), small))
    honest, known = made._answer, dict[str, Any]()

    def answer(site: str, question: Shape) -> Any:
        if isinstance(question, RoundOrder) and random_bytes is not None:
            made.members[site] = Member(question, signer(site), peers(), random_bytes=random_bytes)
            return made.members[site].keys(), None
        said, words = honest(site, question)
        one = made.members[site]
        if words is not None and site == "site-00":
            known.update(sent=words.copy(), seed=one._seed, circle=one.circle_sha256)
        if words is not None and site == "site-02":
            known["pair"] = one._pad_with("site-00")
        return said, words

    made._answer = answer  # type: ignore[method-assign]
    summation(made).summed(order.plan.sites)
    own = own_pad_key(known["seed"], circle=known["circle"], site="site-00")
    pad(known["sent"], minus=[own, known["pair"]])
    return np.asarray(known["sent"])


ORDERS = [secure_order(secure_plan(3), round=number) for number in (1, 2)]


def test_without_the_third_site_a_summand_looks_uniform() -> None:
    assert looks_uniform(seen_by_centre_and_one_site(ORDERS[0]))


def test_two_rounds_share_no_pad() -> None:
    one, two = (seen_by_centre_and_one_site(order) for order in ORDERS)
    assert looks_uniform(one - two)


def test_a_pad_used_twice_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: keys that depend neither on chance nor on the circle."""
    monkeypatch.setattr("client.train.member.agreement.circle_sha256", lambda _: "0" * 64)
    monkeypatch.setattr("server.secure_sum.circle_sha256", lambda _: "0" * 64)
    one, two = (seen_by_centre_and_one_site(order, random_bytes=lambda count: b"s" * count) for order in ORDERS)
    assert looks_uniform(one)
    assert not looks_uniform(one - two)


def test_the_test_for_uniformity_sees_an_unpadded_summand() -> None:
    assert not looks_uniform(np.random.default_rng(1).integers(0, 16, WORDS, dtype=np.uint32))
