"""What every step of the story works on: the centre, the nodes, what was sent, and what has been found to hold so far."""

import ssl
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from deploy.local.commands import CommandLine
from deploy.local.failures import StepFailed
from deploy.local.network import Network, kill_part, part_pid
from deploy.local.phantoms import PhantomStudy
from deploy.local.planted import Planted
from deploy.local.sender import RealStudy
from deploy.local.sites import Cast, Hospital
from deploy.local.stage import Stage


@dataclass(frozen=True, slots=True)
class Centre:
    """The centre as the coordinator sees it."""

    folder: Path
    base_port: int
    centre: CommandLine
    registry: CommandLine

    @property
    def home(self) -> Path:
        """The folder shared by `acinus-centre` and `acinus-registry`."""
        return self.centre.home

    @property
    def ca(self) -> Path:
        """The network's CA certificate, which is public."""
        return self.home / "pki" / "ca.pem"

    @property
    def origin(self) -> str:
        """Where people reach the registry."""
        return f"https://localhost:{self.base_port}"

    def client(self, api_key: str = "") -> httpx.Client:
        """Return an HTTPS client that trusts the network's CA only; with `api_key` it speaks for that person."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        trust = ssl.create_default_context(cafile=str(self.ca))
        return httpx.Client(base_url=self.origin, verify=trust, headers=headers, timeout=30, trust_env=False)


@dataclass(frozen=True, slots=True)
class Node:
    """One hospital's installation as its own IT sees it."""

    hospital: Hospital
    folder: Path
    base_port: int
    command: CommandLine

    @property
    def home(self) -> Path:
        """The node's home folder."""
        return self.command.home

    @property
    def site(self) -> str:
        """The site's short name."""
        return self.hospital.site

    @property
    def dicom_port(self) -> int:
        """Where the receiver listens."""
        return self.base_port

    @property
    def gateway(self) -> str:
        """Where readers reach this hospital."""
        return f"https://localhost:{self.base_port + 1}"

    @property
    def console(self) -> str:
        """The staff page."""
        return f"https://localhost:{self.base_port + 2}"

    @property
    def gateway_ca(self) -> Path:
        """The hospital's own CA, which it gives to readers."""
        return self.home / "keys" / "gateway-ca.pem"

    @property
    def ae_title(self) -> str:
        """What the receiver calls itself."""
        return str(self._dicom().get("ae_title", "ACINUS"))

    @property
    def callers(self) -> list[str]:
        """Who may send to it."""
        return [str(caller) for caller in self._dicom().get("allowed_callers", [])]

    def status(self) -> dict[str, Any]:
        """Return what `acinus-node status --json` says."""
        answer: dict[str, Any] = self.command.json("status")
        return answer

    def _dicom(self) -> dict[str, Any]:
        settings: dict[str, Any] = tomllib.loads((self.home / "node.toml").read_text(encoding="utf-8"))
        return dict(settings.get("dicom", {}))


@dataclass(frozen=True, slots=True)
class Held:
    """Something that was checked, and was so."""

    step: str
    what: str


@dataclass
class Scene:
    """The state of one playing. Steps add to it; the report is made from it."""

    cast: Cast
    out: Path
    today: date
    network: Network
    stage: Stage
    centre: Centre
    nodes: tuple[Node, ...]
    data: Path | None = None
    planted: Planted = field(default_factory=Planted)
    studies: list[PhantomStudy] = field(default_factory=list)
    real: list[RealStudy] = field(default_factory=list)
    """What was sent from `data`, all of it to the first hospital."""
    held: list[Held] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    pictures: list[tuple[str, Path]] = field(default_factory=list)
    """Overlays for the report, with their captions."""
    keys: dict[str, str] = field(default_factory=dict)
    """API keys by role, as the registry's command line printed them."""

    def node(self, site: str) -> Node:
        """Return the node of `site`."""
        return next(node for node in self.nodes if node.site == site)

    def most_affected(self, node: Node) -> dict[str, Any]:
        """Return the measured phantom with the most ground glass at `node`, as `facts["cases"]` has it."""
        own = [case for case in self.facts["cases"] if case["site"] == node.site and case["source"] == "phantom"]
        return max(own, key=lambda case: case["ggo_fraction"] or 0.0)

    def until_each(self, question: Callable[[Node], bool], *, what: str, seconds: float) -> None:
        """Ask `question` of one node after the other, each until it is true: a node that has said yes is not asked again.

        Raises:
            StepFailed: If one does not say yes in time.
        """
        waiting = list(self.nodes)

        def none_left() -> bool:
            while waiting and question(waiting[0]):
                waiting.pop(0)
            return not waiting

        self.network.until(none_left, what=what, seconds=seconds)

    def kill(self, node: Node, part: str) -> int:
        """Kill (-9) the process that plays `part` at a node and return its id.

        Raises:
            StepFailed: If there is none.
        """
        pid = kill_part(node.home, part)
        self.facts.setdefault("killed", []).append({"site": node.site, "part": part, "pid": pid})
        return pid

    def await_back(self, node: Node, part: str, *, killed: int) -> None:
        """Wait until a node has started `part` anew.

        Raises:
            StepFailed: If it does not.
        """
        self.network.until(
            lambda: part_pid(node.home, part) not in {None, killed},
            what=f"the {part} of {node.site} is back",
            seconds=60,
        )

    def check(self, held: object, what: str, where: Path | str = "") -> None:
        """Note that `what` is so.

        Raises:
            StepFailed: If it is not; `where` says where to look.
        """
        if not held:
            raise StepFailed(f"did not hold: {what}", where or self.out)
        self.note(what)

    def note(self, what: str) -> None:
        """Note something that is so because the step has come this far."""
        self.held.append(Held(self.stage.title, what))
        self.stage.say(what)
