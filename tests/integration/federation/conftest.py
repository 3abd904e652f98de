"""One centre and three hospitals for all tests of this folder: real processes on loopback; only training is a toy."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from protocol.errors import UnavailableError
from server.bundle import make_bundle
from server.home import Plot, make_home
from server.runtime import open_fleet
from server.settings import CentreSettings, load_settings
from tests.fakes.federation import CentreUnderTest, until

NORTH, SOUTH, WEST = SITES = ("northport", "southbay", "westhill")

PLAN = """
base = "{base}"
sites = ["northport", "southbay", "westhill"]
rounds = {rounds}
quorum = {quorum}
round_seconds = {seconds}
learning_rate = 0.1
[privacy]
noise_multiplier = 1.0
clipping_norm = 1.0
sample_rate = 0.1
expected_batch = 4
steps_per_round = 1
"""


@dataclass
class Site:
    """A toy hospital and the folder by which tests tell it what to do."""

    home: Path
    process: "subprocess.Popen[bytes]"

    def allow(self, *bundles: str) -> None:
        (self.home / "allow.json").write_text(json.dumps(bundles))

    def audit(self) -> list[str]:
        path = self.home / "audit.txt"
        return path.read_text().splitlines() if path.exists() else []

    def log(self) -> str:
        return (self.home / "site.log").read_text(errors="replace")


@dataclass
class Network:
    """The centre, and its hospitals by name."""

    centre: CentreUnderTest
    sites: dict[str, Site] = field(default_factory=dict)

    @property
    def settings(self) -> CentreSettings:
        return load_settings(self.centre.home)

    def wait_for_sites(self) -> None:
        """Wait until the SuperLink hears from every hospital."""
        fleet = open_fleet(self.settings)

        def connected() -> bool:
            try:
                return {node.name for node in fleet.nodes() if node.online} >= set(SITES)
            except UnavailableError:
                return False

        until(connected, seconds=240, what="the hospitals are connected")
        fleet.close()

    def plan(self, *, rounds: int, quorum: int, base: str = "ggo@0", seconds: int = 120, more: str = "") -> Path:
        path = self.centre.home / "plan.toml"
        path.write_text(PLAN.format(rounds=rounds, quorum=quorum, base=base, seconds=seconds) + more)
        return path

    def start_again(self, name: str) -> None:
        """Start a hospital that has ended."""
        site, place = self.sites[name], SITES.index(name)
        site.process.wait(30)
        site.process = self.centre.start_site(site.home, name, self.centre.port + 4 + 2 * place)

    def obey(self) -> None:
        """Let every hospital do what it is asked with the bundle of this checkout."""
        self.allow_bundle()
        for site in self.sites.values():
            for name in ("refuse-from", "break", "hold", "held", "end-after-padding", "silent"):
                (site.home / name).unlink(missing_ok=True)

    def allow_bundle(self) -> None:
        """Allow what `train` will send; asked anew each time, for a developer may be at work in the checkout."""
        bundle = make_bundle().sha256
        for site in self.sites.values():
            site.allow(bundle)

    def hold(self) -> None:
        for site in self.sites.values():
            (site.home / "hold").touch()

    def release(self) -> None:
        """Let the hospitals finish, and see them do so: a second hold at once would be taken for the first."""
        for site in self.sites.values():
            (site.home / "hold").unlink()
        until(
            lambda: not any((site.home / "held").exists() for site in self.sites.values()), seconds=30, what="all go on"
        )


@pytest.fixture(scope="package")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("network")
    centre = CentreUnderTest(folder / "centre", witness=True)
    make_home(centre.home, Plot(base_port=centre.port), now=datetime.now(UTC))
    made = Network(centre)
    try:
        centre.start()
        for number, name in enumerate(SITES):
            centre.enrol(folder / name, name)
            process = centre.start_site(folder / name, name, centre.port + 4 + 2 * number)
            made.sites[name] = Site(folder / name, process)
        made.obey()
        made.wait_for_sites()
        yield made
    finally:
        for site in made.sites.values():
            site.process.terminate()
        for site in made.sites.values():
            site.process.wait(30)
        if centre.child is not None and centre.child.poll() is None:
            centre.stop()


@pytest.fixture(autouse=True)
def obedient(network: Network) -> Iterator[None]:
    """Every test begins with hospitals that do as they are asked."""
    network.obey()
    yield
    network.obey()


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    until(lambda: not running(pid), seconds=10, what=f"{pid} is dead")
