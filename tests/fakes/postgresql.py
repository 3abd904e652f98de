"""A PostgreSQL server started here and thrown away: for tests, and for benchmarks that want the real one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.ports import free_port


def tool(name: str) -> str | None:
    """Return one of the server's programs. Debian keeps them beside its version, not on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def installed() -> bool:
    """Say whether there is a server on this machine."""
    return tool("initdb") is not None and tool("pg_ctl") is not None


@dataclass(frozen=True)
class Server:
    """A server that can be stopped and started again, on the same port and data."""

    folder: Path
    port: int = field(default_factory=free_port)
    durable: bool = True
    """Whether a commit waits for the disk; many small databases are made and dropped faster without."""

    @property
    def url(self) -> str:
        return f"postgresql+pg8000://acinus@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        """Make its data, readable to the account it runs as."""
        for parent in (self.folder, *self.folder.parents[:3]):
            parent.chmod(parent.stat().st_mode | 0o011)
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "acinus", "-A", "trust", "--no-sync")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        if not self.durable:
            options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-o", options, "-l", str(self.folder / "log"), "-w", "start"
        )

    def stop(self, mode: str) -> None:
        """Stop it: `fast` as an administrator does, `immediate` as a crash."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def _run(self, name: str, *arguments: str) -> None:
        program = tool(name)
        assert program is not None
        command = _as_server(self.folder, [program, *arguments])
        subprocess.run(command, check=True, cwd="/", timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def serving(folder: Path, *, durable: bool = True) -> Iterator[Server]:
    """Start a server with its data in `folder`; stop it at the end, without care for the data."""
    server = Server(folder, durable=durable)
    server.prepare()
    server.start()
    try:
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop("immediate")


@contextmanager
def running(folder: Path, *, durable: bool = True) -> Iterator[str]:
    """Give the URL of such a server."""
    with serving(folder, durable=durable) as server:
        yield server.url


def _as_server(folder: Path, command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root; then we borrow the account `nobody`."""
    if os.geteuid() != 0:
        return command
    shutil.chown(folder, "nobody")
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
