"""Hospitals compare the result of a run over Flower itself, one keeps silent, and what they say decides whether it can be promoted."""

import json

import pytest

from server.runtime import open_catalogue
from tests.integration.federation.conftest import WEST, Network

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_what_the_hospitals_say_of_a_candidate_stands_in_its_release_and_refuses_it(network: Network) -> None:
    (network.sites[WEST].home / "silent").touch()
    present = open_catalogue(network.settings).promoted()  # what earlier tests promoted, if they did
    plan = network.plan(rounds=1, quorum=3, seconds=240, more="[evaluation]\nseconds = 120\n")
    network.allow_bundle()
    process = network.centre.begin("train", str(plan), "--json")
    out, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    document = json.loads(out)
    evaluation = document["evaluation"]
    assert (evaluation["present"], evaluation["sites"], evaluation["reason"]) == (present, 2, "worse-than-present")
    assert evaluation["refused"] == {WEST: "policy-evaluation"}
    overall = next(one for one in evaluation["groups"] if one["group"] == "all")
    assert (overall["cases"], overall["change"], overall["outcome"]) == (400, -0.0375, "worse")
    assert "evaluation: 2 sites compared" in said

    releases = network.centre.json("catalogue", "list")["releases"]
    signed = next(one for one in releases if one["name"] == document["release"])
    assert signed["evaluation"]["reason"] == "worse-than-present"
    refused = network.centre.call("catalogue", "promote", document["release"], "--json", check=False)
    assert (refused.returncode, json.loads(refused.stdout)["code"]) in {
        (4, "worse-than-present"),
        (4, "worse-than-base"),
    }
