"""A site in one round of secure summation: six steps, each taken once and in order, and an end after which it knows nothing any more.

    keys     fresh keys, signed               (Bonawitz et al. 2017, figure 4: AdvertiseKeys)
    shares   every other's keys are judged; the own secrets are shared out           (ShareKeys)
    received the others' shares are opened and kept
    padded   the summand leaves under its pads                          (MaskedInputCollection)
    view     who is in the sum is signed                                     (ConsistencyCheck)
    opened   the signatures are judged; one share about each site is given          (Unmasking)

What the secrets are is in memory only. A node that dies in a round has lost them and is lost to the round; it never pads anew.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

from client.train.peers import Peers, Signer
from protocol.codes import Code
from protocol.errors import ConflictError, RefusedError
from protocol.plan import RoundOrder
from protocol.secure_sum import (
    Agreement,
    Boxes,
    Circle,
    Opened,
    Openings,
    RoundKeys,
    SealedShares,
    SecretKind,
    SignedKeys,
    SignedView,
    View,
)
from strategies.securesum import agreement, shamir
from strategies.securesum.graph import neighbours_of
from strategies.securesum.pads import Words, pad
from strategies.securesum.terms import Terms, check_plan, terms_of

RandomBytes = Callable[[int], bytes]
"""Returns so many random bytes. `os.urandom` everywhere but in tests."""


class Step(IntEnum):
    """What a member has done last."""

    NOTHING = 0
    KEYS = 1
    SHARES = 2
    RECEIVED = 3
    PADDED = 4
    VIEW = 5
    ENDED = 6


class Member:
    """One site in one round.

    Whatever it refuses ends it: a centre gets no second try at a question. Every method raises `ConflictError` (`illegal-transition`) out of
    its order.
    """

    def __init__(
        self, order: RoundOrder, signer: Signer, peers: Peers, *, random_bytes: RandomBytes = os.urandom
    ) -> None:
        """Make the secrets of a round.

        Raises:
            InvalidInputError: `bad-setting` if the plan has no secure summation, or one that cannot hold.
            RefusedError: `too-few-sites`.
        """
        self._plan, self._secure = order.plan, check_plan(order.plan)
        self._order_sha256 = agreement.order_sha256(order)
        self._signer, self._peers = signer, peers
        self._step = Step.NOTHING
        self._box_key, self._pad_key, self._seed = (random_bytes(agreement.KEY_BYTES) for _ in range(3))
        self._own: SignedKeys | None = None
        self._circle: dict[str, SignedKeys] = {}
        self._circle_sha256 = ""
        self._held: dict[str, dict[SecretKind, bytes]] = {}
        self._view: View | None = None

    @property
    def site(self) -> str:
        """The site."""
        return self._signer.site

    @property
    def circle_sha256(self) -> str:
        """The hash of the circle, once there is one."""
        return self._circle_sha256

    @property
    def terms(self) -> Terms:
        """The terms of the circle, once there is one."""
        return terms_of(len(self._circle), self._secure)

    def keys(self) -> SignedKeys:
        """Return this round's public keys, signed."""
        with self._taken(Step.KEYS):
            keys = RoundKeys(
                order_sha256=self._order_sha256, site=self.site,
                box_key=agreement.public_half(self._box_key), pad_key=agreement.public_half(self._pad_key),
                seed_sha256=hashlib.sha256(self._seed).hexdigest(),
            )  # fmt: skip
            self._own = SignedKeys(
                keys=keys, certificate_pem=self._signer.certificate_pem, signature=self._signer.sign(keys)
            )
            return self._own

    def shares(self, circle: Circle) -> Boxes:
        """Judge the circle and return the shares of this site's two secrets, sealed for every other member.

        Raises:
            RefusedError: `too-few-sites`; `peer-untrusted`, `signature-invalid`, also for a key that is none; `views-differ` if a member signed keys for another run, round,
                plan or base, is named twice, is none of the plan's sites, or if this site's own keys are not the ones it gave.
        """
        with self._taken(Step.SHARES):
            terms = terms_of(len(circle.members), self._secure)
            self._circle = self._judged(circle)
            self._circle_sha256 = agreement.circle_sha256(circle)
            for other in self._near():
                self._pad_with(other)  # a key with which none can be agreed is found now: the next step is charged for
            holders = sorted(self._circle)
            split = {
                kind: dict(
                    zip(holders, shamir.split(secret, holders=terms.sites, threshold=terms.threshold), strict=True)
                )
                for kind, secret in ((SecretKind.SEED, self._seed), (SecretKind.PAD_KEY, self._pad_key))
            }
            self._held = {self.site: {kind: shares[self.site] for kind, shares in split.items()}}
            return Boxes(
                boxes=tuple(
                    self._sealed(holder, split[SecretKind.SEED][holder] + split[SecretKind.PAD_KEY][holder])
                    for holder in holders
                    if holder != self.site
                )
            )

    def received(self, delivery: Boxes) -> None:
        """Open and keep the others' shares. Who sent one has shared. This comes before anything is computed from a patient.

        Args:
            delivery: The boxes for this site.

        Raises:
            RefusedError: `too-few-sites`; `views-differ` if a box is not for this site or not from a member, or two are from one;
                `signature-invalid` if one does not open.
        """
        with self._taken(Step.RECEIVED):
            others = self._boxes_of(delivery)
            self._enough(len(others) + 1)
            self._held |= {sender: self._unsealed(one) for sender, one in others.items()}

    def padded(self, summand: Words) -> Words:
        """Return the summand, shape (D,), under the own pad and the pads that this site has with its neighbours who shared."""
        with self._taken(Step.PADDED):
            words = summand.copy()
            keys = {other: self._pad_with(other) for other in self._near() if other in self._held}
            pad(
                words,
                plus=[
                    agreement.own_pad_key(self._seed, circle=self._circle_sha256, site=self.site),
                    *(key for other, key in keys.items() if other > self.site),
                ],
                minus=[key for other, key in keys.items() if other < self.site],
            )
            return words

    def view(self, view: View) -> SignedView:
        """Sign who shared and who is in the sum.

        Raises:
            RefusedError: `too-few-sites`; `views-differ` if the view is of another circle, not sorted, leaves this site out, or names other
                sharers than this site's boxes came from.
        """
        with self._taken(Step.VIEW):
            sharers, survivors = set(view.sharers), set(view.survivors)
            told = (self._circle_sha256, sorted(self._held), sorted(survivors))
            seen = (view.circle_sha256, list(view.sharers), list(view.survivors))
            if seen != told or self.site not in survivors or not survivors <= sharers:
                raise _differ("the centre names other sharers or survivors than this site knows of")
            self._enough(len(survivors))
            self._view = view
            return SignedView(site=self.site, signature=self._signer.sign(view))

    def opened(self, signed: Agreement) -> Openings:
        """Judge the signatures, and return one share about each sharer: of the seed of who is in the sum, of the pad key of who was lost.

        Raises:
            RefusedError: `too-few-sites` if fewer than the threshold signed; `views-differ` if who signed is not in the sum, or signed twice;
                `signature-invalid` if somebody signed another view.
        """
        with self._taken(Step.ENDED):
            view = self._view
            if view is None:
                raise ConflictError(Code.ILLEGAL_TRANSITION)
            by = [one.site for one in signed.signatures]
            if len(set(by)) != len(by) or not set(by) <= set(view.survivors):
                raise _differ("the centre shows signatures of sites that are not in the sum")
            self._enough(len(by))
            for one in (one for one in signed.signatures if one.site != self.site):
                pem = self._circle[one.site].certificate_pem
                self._peers.check(view, one.signature, site=one.site, certificate_pem=pem)
            openings = Openings(shares=tuple(self._open(site, view) for site in view.sharers))
            self._forget()
            return openings

    def _judged(self, circle: Circle) -> dict[str, SignedKeys]:
        """Return the members by site, each with keys that it signed for this very order."""
        members = {one.keys.site: one for one in circle.members}
        if len(members) != len(circle.members) or [*members] != sorted(members):
            raise _differ("a site is in the circle twice, or out of place")
        if not members.keys() <= set(self._plan.sites) or self.site not in members:
            raise _differ("the circle has others than the plan's sites, or not this one")
        if members[self.site] != self._own:
            raise _differ("this site's own keys are others than it gave")
        for one in circle.members:
            if one is not members[self.site]:
                self._peers.check_keys(one)
            if one.keys.order_sha256 != self._order_sha256:
                raise _differ(f"{one.keys.site} was asked for another run, round, plan or base")
        return members

    def _sealed(self, holder: str, content: bytes) -> SealedShares:
        box = agreement.seal(
            content,
            self._box_key,
            self._circle[holder].keys.box_key,
            circle=self._circle_sha256,
            way=(self.site, holder),
        )
        return SealedShares(sender=self.site, receiver=holder, box=box)

    def _boxes_of(self, delivery: Boxes) -> dict[str, SealedShares]:
        boxes = {one.sender: one for one in delivery.boxes}
        others = self._circle.keys() - {self.site}
        if len(boxes) != len(delivery.boxes) or not boxes.keys() <= others:
            raise _differ("the centre passed on two boxes of one site, or one of a site that is not in the circle")
        if any(one.receiver != self.site for one in delivery.boxes):
            raise _differ("the centre passed on a box for another site")
        return boxes

    def _near(self) -> list[str]:
        """Return with whom this site pads, if they share."""
        return neighbours_of(self.site, sorted(self._circle), degree=self.terms.degree)

    def _pad_with(self, other: str) -> bytes:
        one, two = sorted((self.site, other))
        public = self._circle[other].keys.pad_key
        return agreement.pad_key(self._pad_key, public, circle=self._circle_sha256, pair=(one, two))

    def _unsealed(self, sealed: SealedShares) -> dict[SecretKind, bytes]:
        content = agreement.open_box(
            sealed.box, self._box_key, self._circle[sealed.sender].keys.box_key,
            circle=self._circle_sha256, way=(sealed.sender, self.site),
        )  # fmt: skip
        return {
            SecretKind.SEED: content[: shamir.SHARE_BYTES],
            SecretKind.PAD_KEY: content[shamir.SHARE_BYTES :],
        }

    def _open(self, site: str, view: View) -> Opened:
        """Return the one share about a site that this view asks for; the other is never given."""
        kind = SecretKind.SEED if site in view.survivors else SecretKind.PAD_KEY
        return Opened(site=site, kind=kind, value=self._held[site][kind].hex())

    def _enough(self, sites: int) -> None:
        threshold = self.terms.threshold
        if sites < threshold:
            raise RefusedError(
                Code.TOO_FEW_SITES, f"{sites} sites are left in the round; the plan's terms ask for {threshold}."
            )

    @contextmanager
    def _taken(self, step: Step) -> Iterator[None]:
        """Take a step, if it is the next one. Whatever goes wrong in it ends the member."""
        if step != self._step + 1:
            self._forget()
            raise ConflictError(
                Code.ILLEGAL_TRANSITION, f"The centre asked for step {step} of the round after step {self._step}."
            )
        self._step = step
        try:
            yield
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        """End: drop every secret."""
        self._step = Step.ENDED
        self._box_key = self._pad_key = self._seed = b""
        self._held = {}


def _differ(what: str) -> RefusedError:
    return RefusedError(Code.VIEWS_DIFFER, f"This round of secure summation is refused: {what}. Tell the coordinator.")
