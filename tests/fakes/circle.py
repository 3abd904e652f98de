"""Sites of one network in a round of secure summation, in this process: real certificates, real members, a centre that can be told to lie."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from client.train.member import Member
from client.train.peers import Peers, Signer
from protocol.codes import Code
from protocol.errors import FederationError
from protocol.plan import PrivacyPlan, RoundOrder, RunPlan, SecureSumPlan
from protocol.secure_sum import Agreement, Boxes, Circle, PaddedNotice, View
from protocol.shape import Shape
from registry_api.enrolment.authority import Authority
from server.authority import make_authority
from server.secure_sum import Reply, Summation
from strategies.securesum.pads import Words, words_sha256

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN, BASE = "a" * 32, "b" * 64


def names(count: int) -> tuple[str, ...]:
    return tuple(f"site-{number:02}" for number in range(count))


def secure_plan(sites: int, *, dropouts: int = 0, colluders: int = 1, **changes: Any) -> RunPlan:
    content = {
        "base": "ggo@0", "sites": names(sites), "rounds": 3, "quorum": 2, "learning_rate": 0.1,
        "privacy": PrivacyPlan(noise_multiplier=4, clipping_norm=1, sample_rate=0.1, expected_batch=8, steps_per_round=1),
        "secure_sum": SecureSumPlan(dropouts=dropouts, colluders=colluders),
    }  # fmt: skip
    return RunPlan.model_validate(content | changes)


def secure_order(plan: RunPlan, /, **changes: Any) -> RoundOrder:
    return RoundOrder(run_id=RUN, round=1, base_sha256=BASE, plan=plan).model_copy(update=changes)


@cache
def network() -> Authority:
    """The network's authority; one for all tests, since it holds no state."""
    made = make_authority(NOW)
    return Authority(made.certificate, made.key, node_days=365)


@cache
def signer(site: str, key_number: int = 0) -> Signer:
    """A site's identity; another number is another key under the same name."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Signer(site, certificate(key, site, network()), key)


def certificate(key: ec.EllipticCurvePrivateKey, site: str, authority: Authority, now: datetime = NOW) -> str:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    return authority.issue(pem, site=site, now=now).pem


def peers(*, now: datetime = NOW + timedelta(hours=1), pinned: frozenset[str] = frozenset()) -> Peers:
    return Peers(authority=network().certificate, now=lambda: now, pinned=pinned)


def member(order: RoundOrder, site: str) -> Member:
    return Member(order, signer(site), peers())


def random_words(count: int, seed: int) -> Words:
    return np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)


Lie = Callable[[str, Shape], Shape | None]
"""What the centre puts to a site in place of a question; `None` for nothing at all."""


@dataclass
class Hall:
    """Members of one circle and the way to them. `lost` says at which question a site is gone: the class of the question's shape."""

    order: RoundOrder
    summands: dict[str, Words]
    lost: dict[str, type[Shape]] = field(default_factory=dict)
    lie: Lie = lambda _site, question: question
    members: dict[str, Member] = field(default_factory=dict)
    refusals: dict[str, Code] = field(default_factory=dict)
    heard: list[tuple[str, Shape]] = field(default_factory=list)
    step: dict[str, int] = field(default_factory=dict)

    def exchange(self, questions: Mapping[str, Shape]) -> Iterator[tuple[str, Reply | Code]]:
        for site, honest in questions.items():
            question = self.lie(site, honest)
            if question is None or isinstance(honest, self.lost.get(site, ())):
                self.lost[site] = Shape  # gone for good
                yield site, Code.NODE_ABSENT
                continue
            try:
                said = self._answer(site, question)
            except FederationError as error:
                self.refusals[site] = error.code
                yield site, error.code
                continue
            self.heard.append((site, said[0]))
            yield site, said

    def _answer(self, site: str, question: Shape) -> Reply:
        if isinstance(question, RoundOrder):
            self.members[site] = member(question, site)
            return self.members[site].keys(), None
        one = self.members[site]
        if isinstance(question, Circle):
            return one.shares(question), None
        if isinstance(question, Boxes):
            one.received(question)
            words = one.padded(self.summands[site])
            notice = PaddedNotice(
                circle_sha256=one.circle_sha256, site=site, words_sha256=words_sha256(words), epsilon=0.5, delta=1e-5
            )
            return notice, words
        if isinstance(question, View):
            return one.view(question), None
        assert isinstance(question, Agreement)
        return one.opened(question), None


def hall(sites: int, *, values: int = 5, dropouts: int = 0, colluders: int = 1, **changes: Any) -> Hall:
    order = secure_order(secure_plan(sites, dropouts=dropouts, colluders=colluders))
    summands = {site: random_words(values, seed) for seed, site in enumerate(order.plan.sites)}
    return Hall(order, summands, **changes)


def summation(of: Hall) -> Summation:
    values = len(next(iter(of.summands.values())))
    return Summation(of.order, values, of.exchange)


def plain_sum(of: Hall, sites: Any) -> Words:
    """The sum without secrets, as the oracle."""
    return np.asarray(np.sum([of.summands[site] for site in sites], axis=0, dtype=np.uint32))
