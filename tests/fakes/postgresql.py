"""A PostgreSQL server started here and thrown away: for tests, and for benchmarks that want the real one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.ports import free_port


def tool(name: str) -> str | None:
    """Return one of the server's programs. Debian keeps them beside its version, not on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def installed() -> bool:
    """Say whether there is a server on this machine."""
    return tool("initdb") is not None and tool("pg_ctl") is not None


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Start a server with its data in `folder` and give its URL; stop it at the end, without care for the data."""
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o011)
    data, port = folder / "data", free_port()
    initdb, pg_ctl = tool("initdb"), tool("pg_ctl")
    assert initdb is not None
    assert pg_ctl is not None
    subprocess.run(
        _as_server(folder, [initdb, "-D", str(data), "-U", "acinus", "-A", "trust", "--no-sync"]),
        check=True,
        cwd="/",
        capture_output=True,
        timeout=60,
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    log = str(folder / "log")
    subprocess.run(_as_server(folder, [pg_ctl, "-D", str(data), "-o", options, "-l", log, "-w", "start"]),
                   check=True, cwd="/", timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        yield f"postgresql+pg8000://acinus@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(_as_server(folder, [pg_ctl, "-D", str(data), "-m", "immediate", "stop"]),
                       check=True, cwd="/", capture_output=True, timeout=60)  # fmt: skip


def _as_server(folder: Path, command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root; then we borrow the account `nobody`."""
    if os.geteuid() != 0:
        return command
    shutil.chown(folder, "nobody")
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
