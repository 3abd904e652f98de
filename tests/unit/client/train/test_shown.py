"""A centre that shows one site other weights than the others: its release says so to that site, or to all the others."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from safetensors.numpy import save

from client.store.database import connect
from client.train import shown
from client.train.shown import ShownWeights
from protocol.codes import Code
from protocol.plan import RoundOrder
from protocol.release import Manifest, Provenance
from protocol.shape import canonical_json
from server.provenance import provenance_of
from server.rounds import run_rounds
from server.run import RunFolder
from server.tally import Said
from strategies.arrays import Arrays, added, arrays_sha256
from tests.fakes.evaluations import an_evaluation_order
from tests.fakes.outcomes import code_of
from tests.fakes.releases import a_release
from tests.fakes.rounds import RUN, SITES, a_plan, an_order, answer_to, weights

VICTIM = SITES[1]


class Network:
    """Three sites that write down what they are shown, and a centre that plays the rounds by its own code."""

    def __init__(self, folder: Path) -> None:
        self.sites = {site: ShownWeights(connect(folder / f"{site}.db", shown.SCHEMA)) for site in SITES}
        self.run = RunFolder(folder / RUN)
        self.run.start(a_plan(), dict.fromkeys(SITES, 1), save(weights()))

    def train(self, *, odd_round: int = 0) -> Manifest:
        """Return the manifest of a run in one of whose rounds the victim was shown other weights than the others."""

        def ask(order: RoundOrder, base: Arrays, sites: tuple[str, ...]) -> Iterator[tuple[str, Said]]:
            for site in sites:
                seen = order
                if site == VICTIM and order.round == odd_round:
                    seen = order.model_copy(update={"base_sha256": arrays_sha256(added(base, weights(0.25)))})
                self.sites[site].note(seen)
                yield site, answer_to(order, site)  # the centre knows best what it takes the answer for

        run_rounds(self.run, ask, clock=lambda: 0.0)
        return self.said(provenance_of(self.run))

    def said(self, provenance: Provenance | None) -> Manifest:
        return a_release().manifest.model_copy(
            update={"run_id": RUN, "rounds": 3, "sites": 3, "provenance": provenance}
        )

    def refusing(self, manifest: Manifest) -> dict[str, Code]:
        again = Manifest.model_validate_json(canonical_json(manifest))
        codes = {site: code_of(partial(seen.require_same, again)) for site, seen in self.sites.items()}
        return {site: code for site, code in codes.items() if code is not None}


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path)


def test_of_an_honest_run_every_site_takes_the_release(network: Network) -> None:
    assert network.refusing(network.train()) == {}


@pytest.mark.parametrize("odd_round", [1, 2, 3])
def test_who_was_shown_other_weights_in_any_round_takes_no_release_of_that_run(
    network: Network, odd_round: int
) -> None:
    assert network.refusing(network.train(odd_round=odd_round)) == {VICTIM: Code.VIEWS_DIFFER}


def test_a_release_that_says_what_the_one_site_saw_is_refused_by_all_the_others(network: Network) -> None:
    manifest = network.train(odd_round=2)
    made = manifest.provenance
    assert made is not None
    its_own = (made.weights[0], arrays_sha256(weights(1.25)), made.weights[2])
    told = network.said(made.model_copy(update={"weights": its_own}))
    assert set(network.refusing(told)) == set(SITES) - {VICTIM}


def test_whoever_says_nothing_of_the_rounds_has_no_release(network: Network) -> None:
    made = network.train().provenance
    assert made is not None
    for silent in (
        None,
        made.model_copy(update={"weights": ()}),
        made.model_copy(update={"weights": made.weights[:2]}),
    ):
        assert set(network.refusing(network.said(silent))) == set(SITES)


def test_a_site_that_was_not_in_the_run_or_in_the_round_has_nothing_to_object_to(
    network: Network, tmp_path: Path
) -> None:
    manifest = network.train(odd_round=2)
    stranger, late = (ShownWeights(connect(tmp_path / f"{name}.db", shown.SCHEMA)) for name in ("stranger", "late"))
    late.note(an_order(round=3, base_sha256=arrays_sha256(weights(2.0))))
    for seen in (stranger, late):
        seen.require_same(manifest)
    stranger.require_same(a_release().manifest)


def test_two_weights_shown_for_one_round_are_one_too_many(network: Network) -> None:
    """A round that was charged, and asked for again with other weights before its update was kept."""
    manifest = network.train()
    network.sites[VICTIM].note(an_order(round=2, base_sha256=arrays_sha256(weights(7.0))))
    assert network.refusing(manifest) == {VICTIM: Code.VIEWS_DIFFER}


def test_what_a_site_compared_is_what_it_takes_out_of_that_run(network: Network, tmp_path: Path) -> None:
    manifest = network.train()
    own, other = save(weights(3.0)), save(weights(3.5))
    seen = network.sites[VICTIM]
    seen.require_compared(manifest, other)  # it compared nothing
    seen.note_candidate(an_evaluation_order())
    seen.require_compared(manifest, own)
    seen.require_same(manifest)
    for odd in (other, own[:-1], b""):
        assert code_of(partial(seen.require_compared, manifest, odd)) is Code.VIEWS_DIFFER
    seen.require_compared(a_release().manifest, other)


def test_a_manifest_of_before_is_signed_as_it_was() -> None:
    before = Provenance(plan='{"rounds":3}', bundles=("b" * 64,), software=())
    assert b'weights":' not in canonical_json(before)
    assert Provenance.model_validate_json(canonical_json(before)) == before
