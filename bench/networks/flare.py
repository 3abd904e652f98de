"""NVIDIA FLARE: a provisioned server and three clients as processes of their own, and a job of its own FedAvg, in an environment of its own."""

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.networks.processes import called, environment, running
from bench.networks.stopwatch import SITES
from strategies.arrays import Arrays

VERSION = "2.9.0"
TUNED_SECONDS = 0.05
_ADMIN = "admin@bench.example"
_SCRIPTS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Flare:
    """An installed FLARE; `interval` is how often its clients ask for work, None for its own choice."""

    python: Path
    interval: float | None = None

    def tuned(self) -> "Flare":
        """Return it with clients that ask twenty times a second."""
        return replace(self, interval=TUNED_SECONDS)

    def run(self, folder: Path, arrays: Arrays, rounds: int, first_port: int) -> None:
        """Carry out a run of so many rounds; the sites' logs are in `folder` afterwards.

        Args:
            folder: Empty; holds everything.
            arrays: What the run starts from.
            rounds: How many.
            first_port: A free one.
        """
        env = environment(folder)
        env["PATH"] = f"{self.python.parent}:{env['PATH']}"
        np.savez(folder / "base.npz", **arrays)  # type: ignore[arg-type] # its stubs take each name for `allow_pickle`
        kits = self._provision(folder, first_port, env)
        with ExitStack() as stack:
            for name in ("server", *SITES):
                start = ["bash", str(kits / name / "startup" / "sub_start.sh"), "--once"]
                stack.enter_context(running(start, folder / f"{name}.log", env))
            job = [str(self.python), str(_SCRIPTS / "flare_job.py"), str(folder), str(kits / _ADMIN), str(rounds)]
            called([*job, str(self.interval or "")], env, cwd=folder, seconds=900)

    def _provision(self, folder: Path, port: int, env: dict[str, str]) -> Path:
        """Make keys, certificates and start scripts; return the folder of all kits."""
        (folder / "project.yml").write_text(json.dumps(_project(port)), encoding="utf-8")  # JSON is YAML
        command = [str(self.python.with_name("nvflare")), "provision", "-p", str(folder / "project.yml")]
        called([*command, "-w", str(folder / "kits"), "--force"], env, cwd=folder)
        return folder / "kits" / "bench" / "prod_00"


def install(folder: Path) -> tuple[Flare | None, str]:
    """Install FLARE into a new environment; return it, or None and the reason."""
    python = folder / "bin" / "python"
    try:
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", f"nvflare=={VERSION}"],
        ):
            subprocess.run(command, check=True, capture_output=True, timeout=900)
    except (subprocess.SubprocessError, OSError) as error:
        return None, f"nvflare {VERSION} cannot be installed here ({type(error).__name__})."
    return Flare(python), ""


def _project(port: int) -> dict[str, object]:
    clients = [{"name": site, "type": "client", "org": "bench"} for site in SITES]
    server = {
        "name": "server", "type": "server", "org": "bench", "default_host": "localhost", "fed_learn_port": port,
        "admin_port": port,
    }  # fmt: skip
    admin = {"name": _ADMIN, "type": "admin", "org": "bench", "role": "project_admin"}
    kinds = (
        "workspace.WorkspaceBuilder",
        "static_file.StaticFileBuilder",
        "cert.CertBuilder",
        "signature.SignatureBuilder",
    )
    builders: list[dict[str, object]] = [{"path": f"nvflare.lighter.impl.{kind}"} for kind in kinds]
    builders[0]["args"] = {"template_file": ["master_template.yml"]}
    builders[1]["args"] = {"config_folder": "config"}
    return {
        "api_version": 3, "name": "bench", "description": "bench.round", "participants": [server, *clients, admin],
        "builders": builders,
    }  # fmt: skip
