"""What secure summation costs: 20 sites, 5 million parameters, a round with 0.3 s of training.

All sites and the centre are in this process and play whole rounds with real certificates, keys, shares, pads and signatures; every sum is
compared with plain addition. In a network the sites work side by side, so of each of the five steps the slowest site's own time counts, and
all of the centre's. `own` is the sum of these, with the site's rounding of its summand.

The round is `own`, the 0.3 s of training, and what a round has in any case: the order with its weights packed once and unpacked and hashed at
the site, the new weights added and hashed at the centre, and the way between: 20 MB to and from each of 20 sites over a line of 10 Gbit/s
at the centre (0.64 s). Waiting for messages is not counted, though five questions wait more often than one.

`share_of_round` is `own` to the round. The line in it is a model, from its bytes and its speed; everything else is measured.
`share_without_the_line` is `own` to a round whose messages take no time, as with twenty sites in one process: nothing is there to hide behind.
It is measured throughout, always the larger one, and has no goal: 0.15 of it would leave the centre 60 ms to go once through 20 summands of
20 MB. Plain averaging of the 20 updates at the centre, which secure summation replaces, goes through as much; `own_vs_plain_averaging`
compares the two.

Goal: `share_of_round` ≤ 0.15, of a round between machines.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from numpy.typing import NDArray

from bench.table import Goal, Table, main
from client.train.member import Member
from client.train.peers import Peers, Signer
from protocol.codes import Code
from protocol.plan import PrivacyPlan, RoundOrder, RunPlan, SecureSumPlan
from protocol.secure_sum import Agreement, Boxes, Circle, PaddedNotice, View
from protocol.shape import Shape
from registry_api.enrolment.authority import Authority
from server.authority import make_authority
from server.secure_sum import Reply, Summation
from strategies.arrays import added, arrays_sha256, check_update
from strategies.fedavg import federated_average
from strategies.message import pack_order, unpack_order
from strategies.securesum.grid import grid_of
from strategies.securesum.pads import Words
from strategies.securesum.step import step_of

SITES, VALUES, COMPUTE_SECONDS = 20, 5_000_000, 0.3
LINE_BYTES_PER_SECOND = 10e9 / 8
GOALS = {"share_of_round": Goal(0.15)}

T = TypeVar("T")
Weights = dict[str, NDArray[np.float32]]


@dataclass(slots=True)
class Clock:
    """The least seconds of each piece of work over all rounds, by name and by who did it: other programs only ever add to it."""

    least: dict[str, dict[str, float]] = field(default_factory=dict)

    def timed(self, name: str, who: str, work: Callable[[], T]) -> T:
        """Run `work` and note its time."""
        began = time.perf_counter()
        result = work()
        self.note(name, who, time.perf_counter() - began)
        return result

    def note(self, name: str, who: str, seconds: float) -> None:
        """Note a time."""
        least = self.least.setdefault(name, {})
        least[who] = min(least.get(who, seconds), seconds)

    def slowest(self) -> dict[str, float]:
        """Return the seconds of the slowest of those who work side by side."""
        return {name: max(least.values()) for name, least in self.least.items()}


@dataclass(slots=True)
class Hall:
    """All sites of one network, in this process."""

    order: RoundOrder
    signers: Mapping[str, Signer]
    peers: Peers
    values: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float64]]]
    clock: Clock
    members: dict[str, Member] = field(default_factory=dict)
    summands: dict[str, Words] = field(default_factory=dict)
    inside: float = 0.0
    """Seconds spent at sites, which are not the centre's."""

    def exchange(self, questions: Mapping[str, Shape]) -> Iterator[tuple[str, Reply | Code]]:
        """Answer as the sites would."""
        for site, question in questions.items():
            began = time.perf_counter()
            said = self._answer(site, question)
            self.inside += time.perf_counter() - began
            yield site, said

    def _answer(self, site: str, question: Shape) -> Reply:
        if isinstance(question, RoundOrder):
            self.members[site] = Member(question, self.signers[site], self.peers)
            return self.clock.timed("site: keys", site, self.members[site].keys), None
        one = self.members[site]
        if isinstance(question, Circle):
            return self.clock.timed("site: shares", site, lambda: one.shares(question)), None
        if isinstance(question, Boxes):
            return self._padded(one, question)
        if isinstance(question, View):
            return self.clock.timed("site: view", site, lambda: one.view(question)), None
        assert isinstance(question, Agreement)
        return self.clock.timed("site: opening", site, lambda: one.opened(question)), None

    def _padded(self, one: Member, delivery: Boxes) -> Reply:
        grid, site = grid_of(self.order.plan), one.site
        self.clock.timed("site: boxes", site, lambda: one.received(delivery))
        summand = self.clock.timed("site: rounding", site, lambda: grid.summand(*self.values[site]))
        self.summands[site] = summand
        words = self.clock.timed("site: pads", site, lambda: one.padded(summand))
        notice = PaddedNotice(
            circle_sha256=one.circle_sha256, site=site, words_sha256="0" * 64, epsilon=0.5, delta=1e-5
        )
        return notice, words


def measure(quick: bool) -> Table:
    """Play rounds and put the critical path together."""
    base = _weights(VALUES)
    clock = Clock()
    for number in range(1, 4 if quick else 9):
        _round(base, number, clock)
    table, spent = Table(goals=GOALS), clock.slowest()
    for name in spent:
        table.add(f"{SITES} sites, {VALUES / 1e6:g} M parameters", name, 1000 * spent[name], "ms")
    own = sum(seconds for name, seconds in spent.items() if name.startswith(("site: ", "centre: ")))
    rest = COMPUTE_SECONDS + sum(seconds for name, seconds in spent.items() if name.startswith("any round: "))
    line = 2 * SITES * 4 * VALUES / LINE_BYTES_PER_SECOND
    table.add("all steps of secure summation", "own", 1000 * own, "ms")
    table.ratios = {
        "share_of_round": own / (own + rest + line),
        "share_without_the_line": own / (own + rest),
        "own_vs_plain_averaging": own / spent["replaced: centre averages"],
    }
    table.remarks += [
        "every sum was the plain sum, bit for bit",
        f"{line:.2f} s of the round in share_of_round are a modelled line; share_without_the_line is measured throughout, and has no goal",
        "of each piece of work the least time over the rounds; of what sites do side by side, the slowest site's",
    ]
    return table


def _round(base: Weights, number: int, clock: Clock) -> None:
    """Play one round and time its parts."""
    hall = _hall(base, number, clock)
    one = Summation(hall.order, VALUES, hall.exchange)
    began = time.perf_counter()
    total = one.summed(hall.order.plan.sites)
    clock.note("centre: all steps", "centre", time.perf_counter() - began - hall.inside)
    assert np.array_equal(total, np.sum(list(hall.summands.values()), axis=0, dtype=np.uint32))
    packed = clock.timed("any round: order packed", "centre", lambda: pack_order(hall.order, base))
    clock.timed("any round: order unpacked and hashed", "site", lambda: arrays_sha256(unpack_order(packed)[1]))
    step = clock.timed("any round: step", "centre", lambda: step_of(total, hall.order, base, sites=SITES))
    clock.timed("any round: weights added and hashed", "centre", lambda: arrays_sha256(added(base, step)))
    clock.timed("replaced: centre averages", "centre", lambda: _averaged(base, step))


def _averaged(base: Weights, update: Weights) -> Weights:
    """Do what the centre does with 20 plain updates: look at each, hash it, and add it to the mean."""

    def checked() -> Iterator[Weights]:
        for _ in range(SITES):
            check_update(update, base)
            arrays_sha256(update)
            yield update

    return federated_average(checked())


def _hall(base: Weights, number: int, clock: Clock) -> Hall:
    names = tuple(f"site-{place:02}" for place in range(SITES))
    privacy = PrivacyPlan(noise_multiplier=4, clipping_norm=1, sample_rate=0.1, expected_batch=8, steps_per_round=1)
    plan = RunPlan(
        base="ggo@0", sites=names, rounds=9, quorum=2, learning_rate=0.1, privacy=privacy,
        secure_sum=SecureSumPlan(dropouts=3, colluders=2),
    )  # fmt: skip
    order = RoundOrder(run_id="a" * 32, round=number, base_sha256=arrays_sha256(base), plan=plan)
    now = datetime.now(UTC)
    made = make_authority(now)
    authority = Authority(made.certificate, made.key, node_days=30)
    signers = {name: _signer(name, authority, now) for name in names}
    chance = np.random.default_rng(number)
    gradient, noise = chance.normal(size=VALUES).astype(np.float32), chance.normal(size=VALUES)
    values = dict.fromkeys(names, (gradient, noise))
    return Hall(order, signers, Peers(made.certificate, lambda: datetime.now(UTC)), values, clock)


def _signer(site: str, authority: Authority, now: datetime) -> Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    return Signer(site, authority.issue(pem, site=site, now=now).pem, key)


def _weights(values: int) -> Weights:
    chance = np.random.default_rng(0)
    sizes = [values // 50] * 50
    return {f"layer{place:02}": chance.normal(size=size).astype(np.float32) for place, size in enumerate(sizes)}


if __name__ == "__main__":
    main("secure_sum", __doc__ or "", measure)
