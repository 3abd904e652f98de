"""Stock Flower: a SuperLink, three SuperNodes in subprocess isolation, TLS, node authentication and SQLite, as its own programs start them."""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from shutil import copy

import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import bench.networks.stock
from bench.networks.processes import ROOT, called, environment, listens, running, until
from bench.networks.stopwatch import SITES
from server.authority import certificate_pem, issue_server, make_authority
from strategies.arrays import Arrays

_PROJECT = """[project]
name = "stock"
version = "0.1.0"
description = "The toy training of bench.round as Flower's own app"
license = { file = "LICENSE" }
dependencies = ["flwr>=1.41,<1.42"]

[tool.flwr.app]
publisher = "acinus"
fab-format-version = 1
flwr-version-target = "1.41.0"
fab-include = ["stock/*.py", "LICENSE"]

[tool.flwr.app.components]
serverapp = "stock.server:app"
clientapp = "stock.site:app"

[tool.flwr.app.config]
weights = ""
rounds = 1
"""

_PROFILE = """[superlink]
default = "bench"

[superlink.bench]
address = "127.0.0.1:{port}"
root-certificates = "{ca}"
"""


def run(folder: Path, arrays: Arrays, rounds: int, first_port: int) -> None:
    """Carry out a run of so many rounds; the sites' logs are in `folder` afterwards.

    Args:
        folder: Empty; holds everything.
        arrays: What the run starts from.
        rounds: How many.
        first_port: Of four neighbouring ones.
    """
    env = environment(folder, FLWR_HOME=str(folder / "flwr"))
    _write_certificates(folder, first_port)
    np.savez(folder / "base.npz", **arrays)  # type: ignore[arg-type] # its stubs take each name for `allow_pickle`
    app = _write_app(folder / "app")
    with ExitStack() as stack:
        stack.enter_context(running(_superlink(folder, first_port), folder / "superlink.log", env))
        until(lambda: listens(first_port), seconds=60, what="the SuperLink is up")
        for number, site in enumerate(SITES):
            register = ["flwr", "supernode", "register", str(folder / f"{site}.pub"), "bench", "--name", site]
            called(register, env, cwd=folder)
            command = _supernode(folder, site, first_port, first_port + 1 + number)
            own = environment(folder, FLWR_HOME=str(folder / site))
            stack.enter_context(running(command, folder / f"{site}.log", own))
        until(lambda: _online(folder, env), seconds=60, what="the sites are connected")
        config = f'weights="{folder / "base.npz"}" rounds={rounds}'
        called(["flwr", "run", str(app), "bench", "--stream", "--run-config", config], env, cwd=folder, seconds=1200)


def _write_certificates(folder: Path, port: int) -> None:
    now = datetime.now(UTC)
    authority = make_authority(now)
    chain, key = issue_server(authority, part="superlink", host_name="localhost", now=now)
    (folder / "ca.pem").write_bytes(certificate_pem(authority.certificate))
    (folder / "superlink.pem").write_bytes(chain)
    (folder / "superlink.key").write_bytes(key)
    for site in SITES:
        private = ec.generate_private_key(ec.SECP384R1())
        (folder / f"{site}.key").write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
        )
        public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        (folder / f"{site}.pub").write_bytes(public)
    (folder / "flwr").mkdir()
    (folder / "flwr" / "config.toml").write_text(_PROFILE.format(port=port, ca=folder / "ca.pem"), encoding="utf-8")


def _write_app(app: Path) -> Path:
    sources = Path(str(bench.networks.stock.__file__)).parent
    (app / "stock").mkdir(parents=True)
    for source in sources.glob("*.py"):
        copy(source, app / "stock")
    copy(ROOT / "LICENSE", app)
    (app / "pyproject.toml").write_text(_PROJECT, encoding="utf-8")
    return app


def _superlink(folder: Path, port: int) -> list[str]:
    return [
        "flower-superlink", "--host", "127.0.0.1", "--port", str(port),
        "--ssl-certfile", str(folder / "superlink.pem"), "--ssl-keyfile", str(folder / "superlink.key"),
        "--ssl-ca-certfile", str(folder / "ca.pem"), "--enable-supernode-auth", "--database", str(folder / "state.db"),
        "--isolation", "subprocess", "--disable-runtime-dependency-installation",
    ]  # fmt: skip


def _supernode(folder: Path, site: str, superlink: int, port: int) -> list[str]:
    return [
        "flower-supernode", "--superlink", f"127.0.0.1:{superlink}", "--root-certificates", str(folder / "ca.pem"),
        "--auth-supernode-private-key", str(folder / f"{site}.key"), "--host", "127.0.0.1", "--port", str(port),
        "--isolation", "subprocess", "--node-config", f'site="{site}"',
    ]  # fmt: skip


def _online(folder: Path, env: dict[str, str]) -> bool:
    listed = called(["flwr", "supernode", "list", "bench", "--format", "json"], env, cwd=folder)
    return listed.count('"online"') == len(SITES)
