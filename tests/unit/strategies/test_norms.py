"""Which parameters are norms: by name at the centre, by class in the network, and both say the same."""

import numpy as np
from torch import nn

from models.net import LUNG_WIDTHS, GgoNet
from models.weights import to_arrays
from strategies.norms import norms_of, sent_part, with_norms
from tests.fakes.rounds import a_plan, weights


def test_the_names_are_those_of_the_networks_own_norms() -> None:
    for net in (GgoNet(), GgoNet(LUNG_WIDTHS)):
        by_class = {
            f"{module}.{parameter}"
            for module, found in net.named_modules()
            if isinstance(found, nn.GroupNorm)
            for parameter, _ in found.named_parameters()
        }
        assert by_class
        assert norms_of(to_arrays(net)).keys() == by_class


def test_everything_is_sent_unless_the_plan_keeps_the_norms() -> None:
    arrays = to_arrays(GgoNet())
    assert sent_part(a_plan(), arrays).keys() == arrays.keys()
    sent = sent_part(a_plan(keep_norms=True), arrays)
    assert not norms_of(sent)
    assert {*sent, *norms_of(arrays)} == {*arrays}


def test_names_that_only_look_alike_are_no_norms() -> None:
    assert not norms_of(
        {name: np.zeros(1, np.float32) for name in ("normal.weight", "norm", "xnorm.weights", "a.norm.x.bias")}
    )


def test_a_site_puts_its_own_norms_on_and_nothing_else() -> None:
    base = {**weights(1), "first_norm.weight": np.ones(2, np.float32)}
    own = {"first_norm.weight": np.full(2, 5, np.float32)}
    put_on = with_norms(base, own)
    assert put_on["first_norm.weight"].tolist() == [5, 5]
    assert all(np.array_equal(put_on[name], base[name]) for name in weights())


def test_norms_of_another_network_are_left_alone() -> None:
    base = {**weights(1), "first_norm.weight": np.ones(2, np.float32)}
    for odd in ({}, {"first_norm.weight": np.ones(3, np.float32)}, {"other_norm.weight": np.ones(2, np.float32)}, None):
        assert with_norms(base, odd)["first_norm.weight"].tolist() == [1, 1]
