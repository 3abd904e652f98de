"""Our own federation: a real centre, and three real nodes of which only the training is a toy. Each part is a process, as in use."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from safetensors.numpy import save

from bench.networks.processes import called, environment, running, until
from bench.networks.stopwatch import SITES
from protocol.errors import UnavailableError
from protocol.plan import RunPlan
from protocol.release import Scores
from server.bundle import make_bundle
from server.catalogue import Catalogue
from server.home import Plot, make_home
from server.runtime import open_catalogue, open_fleet
from server.settings import load_settings
from server.training import Trainer
from strategies.arrays import Arrays
from strategies.flower import KEPT_MEMORY

LINEAGE = "bench"
_PORTS_OF_CENTRE, _PORTS_OF_NODE = 4, 5


def run(folder: Path, arrays: Arrays, rounds: int, first_port: int) -> None:
    """Carry out a run of so many rounds; the sites' logs are in `folder` afterwards.

    Args:
        folder: Empty; holds everything.
        arrays: What the run starts from.
        rounds: How many.
        first_port: Of twenty neighbouring ones.
    """
    home, env = folder / "centre", environment(folder)
    make_home(home, Plot(base_port=first_port), now=datetime.now(UTC))
    settings = load_settings(home)
    _start_from(open_catalogue(settings), arrays)
    with ExitStack() as stack:
        centre = [*_program("acinus-centre"), "--home", str(home)]
        stack.enter_context(running([*centre, "run"], folder / "centre.log", env))
        until(lambda: "is up" in (folder / "centre.log").read_text(), seconds=90, what="the centre is up")
        for number, site in enumerate(SITES):
            port = first_port + _PORTS_OF_CENTRE + number * _PORTS_OF_NODE
            for name, command in _node(home, folder / site, site, port=port, env=env).items():
                stack.enter_context(running(command, folder / f"{site}-{name}.log", {**env, **KEPT_MEMORY}))
        fleet = open_fleet(settings)
        stack.callback(fleet.close)

        def connected() -> bool:
            try:
                return {node.name for node in fleet.nodes() if node.online} == set(SITES)
            except UnavailableError:
                return False

        until(connected, seconds=120, what="the sites are connected")
        trainer = Trainer(
            catalogue=open_catalogue(settings), fleet=fleet, bundle=make_bundle(), runs=settings.runs,
            measure=_unmeasured, say=lambda _: None, pause=time.sleep,
        )  # fmt: skip
        trainer.run(trainer.begin(_plan(rounds)))


def _program(name: str) -> list[str]:
    from server.parts import program

    return [program(name)]


def _start_from(catalogue: Catalogue, arrays: Arrays) -> None:
    catalogue.add(
        save(dict(arrays)), lineage=LINEAGE, parent=None, architecture=LINEAGE, run_id=None, rounds=0, sites=0,
        epsilon_max=None, scores=None,
    )  # fmt: skip


def _node(centre: Path, home: Path, site: str, *, port: int, env: dict[str, str]) -> dict[str, list[str]]:
    """Make a node and enrol it; return the command of each of its parts that has to do with training."""
    node = [*_program("acinus-node"), "--home", str(home)]
    invite = called(
        [*_program("acinus-registry"), "--home", str(centre), "invite", "create", "--site", site, "--region", "XA-N"],
        env,
        cwd=centre,
    ).split()[-1]
    called([*node, "init", "--site-name", site, "--base-port", str(port)], env, cwd=centre)
    called([*node, "enrol", invite], env, cwd=centre)
    return {
        "link": [*node, "run", "--only", "link"],
        "supernode": [*node, "run", "--only", "supernode"],
        "runner": [*_program("python"), "-m", "bench.networks.own_site", str(home), site],
    }


def _plan(rounds: int) -> RunPlan:
    return RunPlan.model_validate(
        {
            "lineage": LINEAGE, "base": f"{LINEAGE}@0", "sites": SITES, "rounds": rounds, "quorum": len(SITES),
            "round_seconds": 120, "learning_rate": 0.1,
            "privacy": {
                "noise_multiplier": 1.0, "clipping_norm": 1.0, "sample_rate": 0.1, "expected_batch": 4, "steps_per_round": 1,
            },
        }
    )  # fmt: skip


def _unmeasured(_: Arrays) -> Scores:
    """No federation here evaluates anything."""
    return Scores(cases=1, dice=0.5, ggo_error_points=0.0, false_opacity_points=0.0)
