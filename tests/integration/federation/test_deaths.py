"""A run of four rounds whose ServerApp, SuperLink and whole centre are killed in its midst: it goes on after each, and nobody is left."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from server.runtime import open_catalogue
from server.status import processes_of
from tests.fakes.federation import until
from tests.fakes.toy_site import STEP
from tests.integration.federation.conftest import SITES, Network, kill, running

pytestmark = pytest.mark.e2e


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
    network.release()
    code, document, said = training.ended()
    assert (code, document["code"]) == (5, "run-failed"), said
    run_id: str = re.findall(r"^run ([0-9a-f]{32})$", said, re.MULTILINE)[0]
    assert f"--resume {run_id}" in str(document["message"])
    return run_id


def test_a_run_survives_every_death_at_the_centre(network: Network) -> None:
    plan = str(network.plan(rounds=2, quorum=3))
    run_id = interrupted(network, (plan,), lambda: kill(process_named(network, "flwr-serverapp")))
    interrupted(network, ("--resume", run_id), lambda: kill(process_named(network, "bin/flower-superlink")))
    network.wait_for_sites()
    interrupted(network, ("--resume", run_id), lambda: kill_centre(network))
    network.centre.start()
    network.wait_for_sites()
    code, document, said = Training(network, "--resume", run_id).ended()
    assert code == 0, said
    assert [entry["sites"] for entry in document["rounds"]] == [list(SITES)] * 2  # type: ignore[attr-defined]
    catalogue = open_catalogue(network.settings)
    before, after = load(catalogue.weights("ggo@0")), load(catalogue.weights(str(document["release"])))
    assert all(np.allclose(after[name], array + 2 * np.float32(STEP), atol=1e-6) for name, array in before.items())


def kill_centre(network: Network) -> None:
    """Kill the supervisor; the kernel and Flower's own watch must end all others."""
    everybody = network.centre.processes() | processes_of(network.settings)
    assert any("flwr-serverapp" in command_of(pid) for pid in everybody)
    assert network.centre.child is not None
    network.centre.child.kill()
    network.centre.child.wait(10)
    until(lambda: not any(running(pid) for pid in everybody), seconds=60, what="nobody is left of the killed centre")


def test_the_processes_of_the_centre_are_all_that_it_has(network: Network) -> None:
    assert isinstance(network.centre.child, subprocess.Popen)
    assert processes_of(network.settings) | {network.centre.child.pid} == network.centre.processes()
