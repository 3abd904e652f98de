"""A run whose ServerApp, SuperLink and whole centre are killed in its midst: it goes on after each death, and nobody is left behind.

In its last round a hospital's budget is spent, and it goes on without it.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from protocol.codes import Code
from server.runtime import open_catalogue, promote, roll_back
from server.status import status_of
from tests.fakes.federation import until
from tests.fakes.toy_site import STEP
from tests.integration.federation.conftest import NORTH, SOUTH, WEST, Network, kill, running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


class Training:
    """`acinus-centre train` under way."""

    def __init__(self, network: Network, *words: str) -> None:
        self.network = network
        network.allow_bundle()
        self.process = network.centre.begin("train", *words, "--json")

    def held(self) -> None:
        """Wait until every hospital is in the midst of a round."""
        sites = self.network.sites.values()
        until(lambda: all((site.home / "held").exists() for site in sites), seconds=90, what="the hospitals train")

    def ended(self) -> tuple[int, dict[str, object], str]:
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, json.loads(out), err


def process_named(network: Network, name: str) -> int:
    (found,) = [pid for pid in network.centre.processes() if name in command_of(pid)]
    return found


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def interrupted(network: Network, words: tuple[str, ...], end: Callable[[], None]) -> str:
    """Train until every hospital is at work, end something, and return the id of the run that failed."""
    network.hold()
    training = Training(network, *words)
    training.held()
    end()
    code, document, said = training.ended()
    assert (code, document["code"]) == (5, "run-failed"), said
    run_id: str = re.findall(r"^run ([0-9a-f]{32})$", said, re.MULTILINE)[0]
    assert f"--resume {run_id}" in str(document["message"])
    return run_id


def kill_centre(network: Network) -> None:
    """Kill the supervisor; the kernel and Flower's own watch must end all others."""
    everybody = network.centre.processes()
    assert any("flwr-serverapp" in command_of(pid) for pid in everybody)
    assert network.centre.child is not None
    network.centre.child.kill()
    network.centre.child.wait(10)
    until(lambda: not any(running(pid) for pid in everybody), seconds=30, what="nobody is left of the killed centre")


def test_a_run_survives_every_death_at_the_centre(network: Network) -> None:
    (network.sites[WEST].home / "refuse-from").write_text("2")
    plan = str(network.plan(rounds=2, quorum=2))
    run_id = interrupted(network, (plan,), lambda: kill(process_named(network, "flwr-serverapp")))
    network.release()

    interrupted(network, ("--resume", run_id), lambda: kill_centre(network))
    network.centre.start()
    network.release()
    network.wait_for_sites()

    interrupted(network, ("--resume", run_id), lambda: kill(process_named(network, "strategies.flower.superlink")))
    network.wait_for_sites()
    network.release()

    code, document, said = Training(network, "--resume", run_id).ended()
    assert code == 0, said
    first, second = document["rounds"]  # type: ignore[misc]
    assert (first["sites"], first["refused"]) == ([NORTH, SOUTH, WEST], {})
    assert (second["sites"], second["refused"]) == ([NORTH, SOUTH], {WEST: "budget-spent"})
    assert second["epsilon"] == {NORTH: 1.0, SOUTH: 1.0}
    assert "round 2/2: 2 sites, westhill refused (budget-spent)" in said
    catalogue = open_catalogue(network.settings)
    before, after = load(catalogue.weights("ggo@0")), load(catalogue.weights(str(document["release"])))
    assert all(np.allclose(after[name], array + 2 * np.float32(STEP), atol=1e-6) for name, array in before.items())


def test_the_release_is_promoted_through_the_registry_and_taken_back(network: Network) -> None:
    promote(network.settings, "ggo@0")
    catalogue = open_catalogue(network.settings)
    newest = catalogue.names()[-1]
    promote(network.settings, newest, despite=Code.EVALUATION_MISSED)
    assert catalogue.promoted() == newest
    renewed = roll_back(network.settings)
    assert catalogue.promoted() == renewed != newest
    assert catalogue.weights(renewed) == catalogue.weights("ggo@0")


def test_status_knows_hospitals_and_processes(network: Network) -> None:
    status = status_of(network.settings)
    assert status["running"]
    assert {NORTH, SOUTH, WEST} == {site["site"] for site in status["sites"] if site["connected"]}
    assert any(status["bundle_sha256"] in line for line in network.sites[NORTH].audit())
    assert set(status["pids"].values()) < network.centre.processes()
