"""Answers a secure summation's questions: the site's rules before the round, the charge before training, the audit before anything leaves.

What a site does with one order is the same as for an update of its own (`client.train.site`), cut in two where the weights come.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from client.train.begun import BegunRounds
from client.train.member import Member
from client.train.peers import Peers, Signer
from client.train.site import SiteTrainer
from client.train.summand import private_summand
from protocol.codes import Code
from protocol.errors import ConflictError, RefusedError
from protocol.plan import RoundOrder
from protocol.secure_sum import (
    Agreement,
    Boxes,
    Circle,
    Openings,
    PaddedNotice,
    SecureQuestion,
    SecureReply,
    SignedKeys,
    View,
)
from strategies.arrays import Arrays
from strategies.securesum.pads import Words, words_sha256

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Present:
    """The round that the site is in."""

    order: RoundOrder
    member: Member


@dataclass(slots=True, kw_only=True)
class SecureTrainer:
    """Takes part in one round of secure summation at a time; a new one ends the one before.

    Attributes:
        trainer: The site's ledger, gate, policy and patients.
        begun: Rounds that were begun here.
        signer: Reads the node's identity.
        peers: Says how other sites are recognised, by the policy as it is now.
    """

    trainer: SiteTrainer
    begun: BegunRounds
    signer: Callable[[], Signer]
    peers: Callable[[], Peers]
    _present: _Present | None = field(default=None, init=False)

    def answer(self, question: SecureQuestion, base: Arrays) -> tuple[SecureReply, Words | None]:
        """Return the answer to one question, and the padded summand where it is due; both may leave.

        Args:
            question: What the centre asks.
            base: The weights that came with it, if any did.

        Raises:
            RefusedError: What `SiteTrainer.answer` and `Member` refuse with.
            ConflictError: `already-exists` for a round that was begun before, or answered with an update; `illegal-transition` for a question out of its order, or of a
                round that this node is not in (any more: it was started anew).
            InvalidInputError: `bad-setting`, `bad-shape`.
            UnavailableError: `disk-full`, `missing-certificate`; nothing leaves then.
        """
        asked = question.asked
        if asked is None:
            return SecureReply(said=self._begin(question.order)), None
        present = self._of(question.order)
        if isinstance(asked, Circle):
            self._require_peers(len(asked.members))
            return SecureReply(said=present.member.shares(asked)), None
        if isinstance(asked, Boxes):
            notice, words = self._padded(present, asked, base)
            return SecureReply(said=notice), words
        if isinstance(asked, View):
            self._require_peers(len(asked.survivors))
            return SecureReply(said=present.member.view(asked)), None
        return SecureReply(said=self._opened(present, asked)), None

    def _begin(self, order: RoundOrder) -> SignedKeys:
        """Judge the order by the policy, write down that the round is begun, and make keys for it."""
        self._present = None
        self.trainer.judge(order, self.trainer.patients(order), None)
        if order.round in self.trainer.ledger.rounds_of(order.run_id):
            raise ConflictError(
                Code.ALREADY_EXISTS,
                f"Round {order.round} of that run was charged here for another release. A round is answered in one way only.",
            )
        member = Member(order, self.signer(), self.peers())
        self.begun.begin(order)
        self._present = _Present(order, member)
        return member.keys()

    def _padded(self, present: _Present, delivery: Boxes, base: Arrays) -> tuple[PaddedNotice, Words]:
        """Look at the others' shares and at the weights, charge, train one step, pad, write down."""
        order, member, trainer = present.order, present.member, self.trainer
        member.received(delivery)
        patients = trainer.patients(order)  # anew: who withdrew since the keys is not sampled
        trainer.judge(order, patients, base)
        charged = trainer.charge(order, base)
        summand = private_summand(
            base, patients, order, terms=member.terms, randomness=trainer.randomness, device=trainer.device
        )
        words = member.padded(summand)
        notice = PaddedNotice(
            circle_sha256=member.circle_sha256, site=trainer.site, words_sha256=words_sha256(words),
            epsilon=charged.epsilon, delta=trainer.policy().training.delta,
        )  # fmt: skip
        trainer.gate.note_summand(order, notice)
        log.info("summand.padded run=%s round=%d", order.run_id, order.round)
        return notice, words

    def _opened(self, present: _Present, agreed: Agreement) -> Openings:
        openings = present.member.opened(agreed)
        self.trainer.gate.note_opening(present.order)
        self._present = None
        return openings

    def _require_peers(self, sites: int) -> None:
        """Refuse a circle or a sum of too few for this site's policy; the plan's quorum was judged before, but the centre makes the circle.

        Raises:
            RefusedError: `too-few-sites`; the round is over here.
        """
        least = self.trainer.policy().training.minimum_peers
        if sites <= least:
            self._present = None
            raise RefusedError(
                Code.TOO_FEW_SITES,
                f"{sites} sites are in the round; this site's policy asks for {least} beside itself.",
            )

    def _of(self, order: RoundOrder) -> _Present:
        """Return the present round, if it is the one of `order`."""
        if self._present is None or self._present.order != order:
            raise ConflictError(
                Code.ILLEGAL_TRANSITION,
                f"This node is not in round {order.round} of that run. It was started anew, or refused; the next round is open to it.",
            )
        return self._present
