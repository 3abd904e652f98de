"""Hospitals add their summands up in secret, over Flower itself; one ends when its summand is out, and the sum is still right."""

import json

import numpy as np
import pytest
from safetensors.numpy import load

from server.run import find_run
from server.runtime import open_catalogue
from server.training import read_plan
from strategies.securesum.grid import grid_of
from tests.fakes.toy_site import toy_summand
from tests.integration.federation.conftest import SITES, WEST, Network

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECURE = """
[secure_sum]
dropouts = 1
colluders = 0
"""


def test_the_sum_is_right_though_one_hospital_ends_in_the_midst_and_no_summand_is_ever_seen(network: Network) -> None:
    (network.sites[WEST].home / "end-after-padding").write_text("2")
    plan = network.plan(rounds=2, quorum=2, seconds=240, more=SECURE)
    network.allow_bundle()
    process = network.centre.begin("train", str(plan), "--json")
    out, said = process.communicate(timeout=480)
    assert process.returncode == 0, said
    network.start_again(WEST)
    document = json.loads(out)
    first, second = document["rounds"]
    assert (first["sites"], first["refused"]) == (list(SITES), {})
    assert second["sites"] == list(SITES), "the summand was out, so it counts"

    catalogue, run = open_catalogue(network.settings), find_run(network.settings.runs, document["run_id"])
    before, after = load(catalogue.weights("ggo@0")), load(catalogue.weights(document["release"]))
    asked = read_plan(plan)
    total = sum(toy_summand(site) for site in SITES) * grid_of(asked).step
    step = -asked.learning_rate * total / (3 * asked.privacy.expected_batch)
    assert abs(step) > 1e-3
    assert all(np.allclose(after[name], array + 2 * step, rtol=1e-4, atol=1e-6) for name, array in before.items())
    assert run.secure_round() == 2

    seen = (network.centre.home / "witness" / "fleet-http.bin").read_bytes()
    assert not [site for site in SITES if np.full(16, toy_summand(site), "<u4").tobytes() in seen]
    network.wait_for_sites()
