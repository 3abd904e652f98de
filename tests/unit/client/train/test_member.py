"""A site in a secure summation before a centre that lies: each lie has its code, nothing is said twice, and a refusal is the end."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from client.train.member import Member
from protocol.codes import Code
from protocol.errors import ConflictError, FederationError
from protocol.secure_sum import Agreement, Boxes, Circle, Openings, SecretKind, SignedKeys, View
from protocol.shape import Shape
from strategies.securesum.agreement import order_sha256, public_half, to_text
from strategies.securesum.terms import terms_of
from tests.fakes.circle import Hall, hall, member, names, plain_sum, secure_order, secure_plan, signer, summation

Change = Callable[[Any], Shape]


def refusals(
    sites: int = 4, *, victim: str = "site-00", kind: type[Shape], change: Change, **terms: int
) -> dict[str, Code]:
    """Play a round in which one site is put another question than the honest one; return what sites refused."""

    def lie(site: str, question: Shape) -> Shape:
        return change(question) if site == victim and isinstance(question, kind) else question

    made = hall(sites, lie=lie, **terms)
    with contextlib.suppress(FederationError):
        summation(made).summed(made.order.plan.sites)
    return made.refusals


def with_keys(circle: Circle, place: int, **changes: Any) -> Circle:
    """A circle in which one member's keys are changed, and signed anew by that member's own identity."""
    old = circle.members[place]
    keys = old.keys.model_copy(update=changes)
    signed = SignedKeys(keys=keys, certificate_pem=old.certificate_pem, signature=signer(keys.site).sign(keys))
    return Circle(members=(*circle.members[:place], signed, *circle.members[place + 1 :]))


# Lies about keys.


def test_a_swapped_key_is_refused() -> None:
    """The centre in the middle: its own key under another site's name."""

    def swap(circle: Circle) -> Circle:
        old = circle.members[1]
        keys = old.keys.model_copy(update={"pad_key": public_half(b"m" * 32)})
        return Circle(members=(circle.members[0], old.model_copy(update={"keys": keys}), *circle.members[2:]))

    assert refusals(kind=Circle, change=swap) == {"site-00": Code.SIGNATURE_INVALID}


def test_a_hospital_that_is_none_is_refused() -> None:
    def ghost(circle: Circle) -> Circle:
        old = circle.members[1]
        evil = signer("ghost-site")
        return Circle(
            members=(
                circle.members[0],
                SignedKeys(keys=old.keys, certificate_pem=evil.certificate_pem, signature=evil.sign(old.keys)),
                *circle.members[2:],
            )
        )

    assert refusals(kind=Circle, change=ghost) == {"site-00": Code.PEER_UNTRUSTED}


@pytest.mark.parametrize(
    "other",
    [{"round": 2}, {"run_id": "c" * 32}, {"base_sha256": "d" * 64}, {"plan": secure_plan(4, learning_rate=0.2)}],
    ids=["round", "run", "base", "plan"],
)
def test_keys_of_another_round_run_base_or_plan_are_refused(other: dict[str, Any]) -> None:
    """Other weights for one site than for the rest would make its update stand out in the sum (arXiv:2111.07380)."""
    sha256 = order_sha256(secure_order(secure_plan(4), **other))
    assert refusals(kind=Circle, change=lambda circle: with_keys(circle, 2, order_sha256=sha256)) == {
        "site-00": Code.VIEWS_DIFFER
    }


@pytest.mark.parametrize("kind", ["box_key", "pad_key"])
def test_a_key_with_which_none_can_be_agreed_is_refused_before_the_step_that_is_charged(kind: str) -> None:
    """A site that signs such a key would otherwise have its neighbours pay for a summand that they cannot pad."""

    def lie(site: str, question: Shape) -> Shape:
        return with_keys(question, 1, **{kind: to_text(bytes(32))}) if isinstance(question, Circle) else question

    made = hall(4, lie=lie)
    with pytest.raises(FederationError):
        summation(made).summed(made.order.plan.sites)
    assert made.refusals["site-00"] is Code.SIGNATURE_INVALID
    assert not any(site == "site-00" and isinstance(said, Boxes) for site, said in made.heard)


def test_other_weights_for_one_site_end_the_round_for_all() -> None:
    def lie(site: str, question: Shape) -> Shape:
        return (
            secure_order(secure_plan(4), base_sha256="e" * 64)
            if (site, question) == ("site-03", made.order)
            else question
        )

    made = hall(5, lie=lie, dropouts=1)
    honest = summation(made)
    honest.summed(made.order.plan.sites)  # the centre itself finds site-03's keys bound to another order
    assert honest.refused == {"site-03": Code.BAD_UPDATE}
    assert "site-03" not in honest.notices


@pytest.mark.parametrize(
    "change",
    [
        lambda circle: Circle(members=(*circle.members, circle.members[1])),
        lambda circle: Circle(members=circle.members[::-1]),
        lambda circle: Circle(members=(*circle.members[1:], member_of_no_plan())),
        lambda circle: Circle(members=circle.members[1:]),
        lambda circle: with_keys(circle, 0, pad_key=public_half(b"m" * 32)),
    ],
    ids=["twice", "unsorted", "not in the plan", "without me", "not my own keys"],
)
def test_a_circle_that_is_not_the_plans_is_refused(change: Change) -> None:
    assert refusals(kind=Circle, change=change) == {"site-00": Code.VIEWS_DIFFER}


def member_of_no_plan() -> SignedKeys:
    return member(secure_order(secure_plan(4)), "stranger").keys()


def test_a_circle_too_small_for_its_terms_is_refused() -> None:
    assert refusals(kind=Circle, change=lambda circle: Circle(members=circle.members[:2])) == {
        "site-00": Code.TOO_FEW_SITES
    }


# Lies about shares.


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda boxes: Boxes(boxes=boxes.boxes[:1]), Code.TOO_FEW_SITES),
        (lambda boxes: Boxes(boxes=(boxes.boxes[0], *boxes.boxes)), Code.VIEWS_DIFFER),
        (lambda boxes: Boxes(boxes=(moved(boxes, sender="stranger"), *boxes.boxes[1:])), Code.VIEWS_DIFFER),
        (lambda boxes: Boxes(boxes=(moved(boxes, receiver="site-01"), *boxes.boxes[1:])), Code.VIEWS_DIFFER),
        (lambda boxes: Boxes(boxes=(moved(boxes, box=boxes.boxes[1].box), *boxes.boxes[1:])), Code.SIGNATURE_INVALID),
    ],
    ids=["too few", "twice", "of a stranger", "for another", "swapped"],
)
def test_shares_that_were_tampered_with_are_refused(change: Change, code: Code) -> None:
    assert refusals(kind=Boxes, change=change)["site-00"] is code


def moved(boxes: Boxes, **changes: Any) -> Any:
    return boxes.boxes[0].model_copy(update=changes)


def test_a_site_does_not_pad_for_fewer_sharers_than_the_threshold() -> None:
    """With no other sharer there is no pad but its own, whose seed the centre may ask for."""
    one = refusals(kind=Boxes, change=lambda boxes: Boxes(boxes=boxes.boxes[:1]), dropouts=1, colluders=1)
    assert one == {"site-00": Code.TOO_FEW_SITES}


# Lies about who is in the sum.


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda view: view.model_copy(update={"circle_sha256": "f" * 64}), Code.VIEWS_DIFFER),
        (lambda view: view.model_copy(update={"sharers": view.sharers[:-1], "survivors": view.survivors[:-1]}), Code.VIEWS_DIFFER),
        (lambda view: view.model_copy(update={"survivors": view.survivors[1:]}), Code.VIEWS_DIFFER),
        (lambda view: view.model_copy(update={"survivors": view.survivors[::-1]}), Code.VIEWS_DIFFER),
        (lambda view: view.model_copy(update={"survivors": (*view.survivors, "stranger")}), Code.VIEWS_DIFFER),
        (lambda view: view.model_copy(update={"survivors": view.survivors[:2]}), Code.TOO_FEW_SITES),
    ],
    ids=["other circle", "other sharers", "without me", "unsorted", "with a stranger", "too few"],
)  # fmt: skip
def test_a_view_that_is_not_so_is_refused(change: Change, code: Code) -> None:
    assert refusals(kind=View, change=change)["site-00"] is code


@pytest.mark.parametrize("sites", [3, 4, 5, 7])
def test_two_different_lists_of_survivors_open_nothing(sites: int) -> None:
    """One half is told that the last site is in, the other that it is lost: no share of both kinds about it comes together."""
    half = names(sites)[: sites // 2]

    def lie(site: str, question: Shape) -> Shape:
        if isinstance(question, View) and site in half:
            return question.model_copy(update={"survivors": question.survivors[:-1]})
        return question

    made = hall(sites, lie=lie, dropouts=1, colluders=0 if sites == 3 else 1)
    with pytest.raises(FederationError):
        summation(made).summed(made.order.plan.sites)
    opened = [said for _, said in made.heard if isinstance(said, Openings)]
    threshold = terms_of(sites, made.order.plan.secure_sum).threshold  # type: ignore[arg-type]
    assert len(opened) < threshold
    assert Code.SIGNATURE_INVALID in made.refusals.values()


def test_two_different_lists_of_sharers_open_nothing() -> None:
    """Three sites, one dropout: each of two is told that only it and the lost third shared, so that no pad would be between the two."""
    made = hall(3, dropouts=1, colluders=0, lost={"site-02": Boxes})

    def lie(site: str, question: Shape) -> Shape:
        if isinstance(question, Boxes) and site != "site-02":
            return Boxes(boxes=tuple(one for one in question.boxes if one.sender == "site-02"))
        return question

    made.lie = lie
    with pytest.raises(FederationError):
        summation(made).summed(made.order.plan.sites)
    assert made.refusals == {"site-00": Code.VIEWS_DIFFER, "site-01": Code.VIEWS_DIFFER}
    assert not any(isinstance(said, Openings) for _, said in made.heard)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda agreed: Agreement(signatures=agreed.signatures[:-1]), Code.TOO_FEW_SITES),
        (lambda agreed: Agreement(signatures=(*agreed.signatures[:-1], agreed.signatures[0])), Code.VIEWS_DIFFER),
        (lambda agreed: Agreement(signatures=(*agreed.signatures[:-1], by_a_stranger(agreed))), Code.VIEWS_DIFFER),
        (lambda agreed: Agreement(signatures=(*agreed.signatures[:-1], borrowed(agreed))), Code.SIGNATURE_INVALID),
    ],
    ids=["too few", "twice", "of a stranger", "of another"],
)
def test_signatures_that_are_not_the_survivors_open_nothing(change: Change, code: Code) -> None:
    assert refusals(kind=Agreement, change=change)["site-00"] is code


def by_a_stranger(agreed: Agreement) -> Any:
    return agreed.signatures[-1].model_copy(update={"site": "stranger"})


def borrowed(agreed: Agreement) -> Any:
    return agreed.signatures[-1].model_copy(update={"signature": agreed.signatures[0].signature})


# What a site never does.


@pytest.mark.parametrize("lost", [(), ("site-01",)])
def test_no_site_gives_shares_of_both_secrets_of_any_site(lost: tuple[str, ...]) -> None:
    made = hall(5, dropouts=1, colluders=1, lost=dict.fromkeys(lost, Boxes))
    summation(made).summed(made.order.plan.sites)
    openings = [said for _, said in made.heard if isinstance(said, Openings)]
    assert len(openings) == 5 - len(lost)
    for one in openings:
        kinds = {share.site: share.kind for share in one.shares}
        assert len(kinds) == len(one.shares)
        assert {site for site, kind in kinds.items() if kind is SecretKind.PAD_KEY} == set(lost)


def finished() -> tuple[Hall, Member, dict[type[Shape], Any]]:
    """A round that went well, one of its members, and the questions that this member was put."""
    questions: dict[type[Shape], Any] = {}

    def note(site: str, question: Shape) -> Shape:
        if site == "site-00":
            questions[type(question)] = question
        return question

    made = hall(3, lie=note)
    summation(made).summed(made.order.plan.sites)
    return made, made.members["site-00"], questions


def test_nothing_is_answered_twice() -> None:
    made, one, questions = finished()
    summand = made.summands["site-00"]
    for again in (
        one.keys,
        lambda: one.shares(questions[Circle]),
        lambda: one.received(questions[Boxes]),
        lambda: one.padded(summand),
        lambda: one.view(questions[View]),
        lambda: one.opened(questions[Agreement]),
    ):
        with pytest.raises(ConflictError) as refused:
            again()
        assert refused.value.code is Code.ILLEGAL_TRANSITION


def test_no_step_is_taken_before_the_one_before_it() -> None:
    made, _, questions = finished()
    for early in (
        lambda fresh: fresh.shares(questions[Circle]),
        lambda fresh: fresh.received(questions[Boxes]),
        lambda fresh: fresh.padded(made.summands["site-00"]),
        lambda fresh: fresh.view(questions[View]),
        lambda fresh: fresh.opened(questions[Agreement]),
    ):
        with pytest.raises(ConflictError):
            early(member(made.order, "site-00"))


def test_after_a_refusal_there_is_no_second_try() -> None:
    made, _, questions = finished()
    fresh = member(made.order, "site-00")
    fresh.keys()
    with pytest.raises(FederationError):
        fresh.shares(Circle(members=questions[Circle].members[:2]))
    with pytest.raises(ConflictError):
        fresh.shares(questions[Circle])


def test_a_member_that_was_replaced_after_a_death_has_other_keys_and_fits_no_circle() -> None:
    """The node forgot: it can neither open what it padded nor pad anew in the same circle."""
    made, _, questions = finished()
    fresh = member(made.order, "site-00")
    fresh.keys()
    with pytest.raises(FederationError) as refused:
        fresh.shares(questions[Circle])
    assert refused.value.code is Code.VIEWS_DIFFER


def test_at_the_end_a_member_holds_no_secret() -> None:
    _, one, _ = finished()
    assert (one._box_key, one._pad_key, one._seed, one._held) == (b"", b"", b"", {})


def test_the_summand_itself_is_left_as_it_was() -> None:
    made, _, _ = finished()
    assert np.array_equal(made.summands["site-00"], hall(3).summands["site-00"])
    assert plain_sum(made, names(3)).any()
