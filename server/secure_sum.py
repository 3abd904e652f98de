"""The centre's side of a secure summation: it carries what sites say to each other, adds padded summands up, and opens the sum alone.

Nothing here is secret and nothing here is trusted: sites judge for themselves what it passes on (`client.train.member`). It knows nothing of
Flower.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.plan import RoundOrder
from protocol.secure_sum import (
    Agreement,
    Boxes,
    Circle,
    Openings,
    PaddedNotice,
    SealedShares,
    SecretKind,
    SignedKeys,
    SignedView,
    View,
)
from protocol.shape import Shape
from strategies.securesum import shamir
from strategies.securesum.agreement import KEY_BYTES, circle_sha256, order_sha256, own_pad_key, pad_key, public_half
from strategies.securesum.graph import neighbours_of
from strategies.securesum.pads import Words, pad
from strategies.securesum.terms import Terms, check_plan, terms_of

log = logging.getLogger(__name__)

Reply = tuple[Shape, Words | None]
"""What a site says in a step; words only with a `PaddedNotice`."""

Exchange = Callable[[Mapping[str, Shape]], Iterator[tuple[str, Reply | Code]]]
"""Puts each site its question and yields one answer for each, in the order in which they come."""

S = TypeVar("S", bound=Shape)


@dataclass(slots=True)
class Summation:
    """One round's secure summation, step by step; `summed` carries it through.

    Attributes:
        order: What the sites are asked.
        values: D, how many coordinates a summand has.
        exchange: The way to the sites.
        refused: Why sites are not in the sum, by code.
        notices: What the sites say of their padded summands.
    """

    order: RoundOrder
    values: int
    exchange: Exchange
    refused: dict[str, Code] = field(default_factory=dict)
    notices: dict[str, PaddedNotice] = field(default_factory=dict)

    def summed(self, sites: tuple[str, ...]) -> Words:
        """Return the sum of the summands of the sites in `notices`, modulo 2^32.

        Raises:
            RefusedError: `too-few-sites` if more were lost than the terms tolerate; `bad-update` if shares do not fit the secrets that sites
                had committed to. There is no sum then, and no second try in this round.
        """
        circle, terms = self._gathered(sites)
        boxes = self._shared(circle)
        sharers = self._enough(terms, sorted({one.sender for one in boxes}))
        total = self._padded(boxes, sharers, circle_sha256(circle))
        survivors = self._enough(terms, sorted(self.notices))
        view = View(circle_sha256=circle_sha256(circle), sharers=tuple(sharers), survivors=tuple(survivors))
        helpers = self._opened(self._agreed(view, terms), terms)
        _unpad(total, circle, view, helpers, terms)
        return total

    def _gathered(self, sites: tuple[str, ...]) -> tuple[Circle, Terms]:
        """Return who takes part, with their keys."""
        keys = {
            site: said
            for site, said in self._asked(dict.fromkeys(sites, self.order), SignedKeys)
            if (said.keys.site, said.keys.order_sha256) == (site, order_sha256(self.order)) or self._drop(site)
        }
        terms = terms_of(len(keys), check_plan(self.order.plan))
        return Circle(members=tuple(keys[site] for site in sorted(keys))), terms

    def _shared(self, circle: Circle) -> list[SealedShares]:
        """Return every box of every member that sent one for each other member."""
        members = [one.keys.site for one in circle.members]
        boxes: list[SealedShares] = []
        for site, said in self._asked(dict.fromkeys(members, circle), Boxes):
            wanted = [(site, other) for other in members if other != site]
            if sorted((one.sender, one.receiver) for one in said.boxes) == wanted or self._drop(site):
                boxes += said.boxes
        return boxes

    def _padded(self, boxes: list[SealedShares], sharers: list[str], circle: str) -> Words:
        """Return the sum of the padded summands, added up as they come; `notices` says whose they are."""
        questions = {site: Boxes(boxes=tuple(one for one in boxes if one.receiver == site)) for site in sharers}
        total = np.zeros(self.values, np.uint32)
        for site, notice, words in self._padded_replies(questions):
            fits = words is not None and words.shape == total.shape and words.dtype == np.uint32
            bound = (notice.circle_sha256, notice.site) == (circle, site)
            if words is None or not fits or not bound:
                self._drop(site)
                continue
            np.add(total, words, out=total)
            self.notices[site] = notice
        return total

    def _agreed(self, view: View, terms: Terms) -> Agreement:
        """Return the survivors' signatures under the view."""
        signed = [
            said
            for site, said in self._asked(dict.fromkeys(view.survivors, view), SignedView)
            if said.site == site or self._drop(site)
        ]
        self._enough(terms, [one.site for one in signed])
        return Agreement(signatures=tuple(sorted(signed, key=lambda one: one.site)))

    def _opened(self, agreement: Agreement, terms: Terms) -> dict[str, Openings]:
        """Return the shares that the signers give, by signer."""
        signers = [one.site for one in agreement.signatures]
        helpers = dict(self._asked(dict.fromkeys(signers, agreement), Openings))
        self._enough(terms, sorted(helpers))
        return {site: helpers[site] for site in sorted(helpers)[: terms.threshold]}

    def _asked(self, questions: Mapping[str, Shape], kind: type[S]) -> Iterator[tuple[str, S]]:
        """Yield the answers that are of a kind; note what became of the others."""
        for site, said in self.exchange(questions):
            if isinstance(said, Code):
                self.refused[site] = said
            elif isinstance(said[0], kind):
                yield site, said[0]
            else:
                self._drop(site)

    def _padded_replies(self, questions: Mapping[str, Shape]) -> Iterator[tuple[str, PaddedNotice, Words | None]]:
        for site, said in self.exchange(questions):
            if isinstance(said, Code):
                self.refused[site] = said
            elif isinstance(said[0], PaddedNotice):
                yield site, said[0], said[1]
            else:
                self._drop(site)

    def _drop(self, site: str) -> bool:
        """Leave a site out that answered with something else than it was asked; always false, for use in a condition."""
        self.refused[site] = Code.BAD_UPDATE
        return False

    def _enough(self, terms: Terms, sites: list[str]) -> list[str]:
        if len(sites) < terms.threshold:
            raise RefusedError(
                Code.TOO_FEW_SITES,
                f"{len(sites)} of {terms.sites} sites are left in the secure summation; its terms ask for {terms.threshold}.",
            )
        return sites


def _unpad(total: Words, circle: Circle, view: View, helpers: Mapping[str, Openings], terms: Terms) -> None:
    """Take out of the sum what does not cancel: the survivors' own pads, and the pads that they have with who was lost.

    Raises:
        RefusedError: `bad-update`.
    """
    members = {one.keys.site: one.keys for one in circle.members}
    plus: list[bytes] = []
    minus: list[bytes] = []
    for site in view.survivors:
        seed = _joined(site, SecretKind.SEED, list(members), helpers)
        if hashlib.sha256(seed).hexdigest() != members[site].seed_sha256:
            raise _false_shares(site)
        minus.append(own_pad_key(seed, circle=view.circle_sha256, site=site))
    for lost in sorted({*view.sharers} - {*view.survivors}):
        private = _joined(lost, SecretKind.PAD_KEY, list(members), helpers)
        if public_half(private) != members[lost].pad_key:
            raise _false_shares(lost)
        near = neighbours_of(lost, list(members), degree=terms.degree)
        for site in (site for site in near if site in view.survivors):
            one, two = sorted((lost, site))
            key = pad_key(private, members[site].pad_key, circle=view.circle_sha256, pair=(one, two))
            (minus if lost > site else plus).append(key)
    pad(total, plus=plus, minus=minus)


def _joined(site: str, kind: SecretKind, members: list[str], helpers: Mapping[str, Openings]) -> bytes:
    """Return a site's secret from the helpers' shares; holders are numbered by their place in the circle."""
    shares = {
        members.index(helper) + 1: bytes.fromhex(one.value)
        for helper, openings in helpers.items()
        for one in openings.shares
        if (one.site, one.kind) == (site, kind)
    }
    try:
        return shamir.join(shares, length=KEY_BYTES)
    except ValueError as error:
        raise _false_shares(site) from error


def _false_shares(site: str) -> RefusedError:
    return RefusedError(
        Code.BAD_UPDATE,
        f"The sites' shares of a secret of {site} do not fit; some site gave a false one. The round has no sum.",
    )
