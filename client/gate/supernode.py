"""Keeps the stock SuperNode as a child of this process. It is configured, never changed; what it says goes into our log line by line."""

import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from client.parts import die_with
from protocol.codes import Code
from protocol.errors import UnavailableError
from strategies.flower import FOLDER_VARIABLE, KEPT_MEMORY, QUIET

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LOOK_SECONDS = 0.2
_GRACE_SECONDS = 3.0
_LINE_MAX = 500

log = logging.getLogger(__name__)


def run_supernode(
    command: list[str], *, home: Path, pieces: Path, forward_port: int, key: Path, stop: threading.Event
) -> None:
    """Run the stock program until `stop` is set, or until the node has enrolled anew: it reads its key once, when it starts.

    Args:
        command: The program and its options.
        home: The node's.
        pieces: Folder for the weights on their way to and from the runner.
        forward_port: The forwarder's; the program starts once something listens there.
        key: The file of its private key.
        stop: Ends it.

    Raises:
        UnavailableError: `node-fault` if the program ends by itself, `missing-certificate` if it has no key.
    """
    if not _wait_for_port(forward_port, stop):
        return
    known = _written(key)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**flower_environment(home), FOLDER_VARIABLE: str(pieces.resolve())},
        text=True,
        errors="replace",
        preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509 - this process has no thread yet
    )
    with child:
        try:
            _attend(child, lambda: stop.is_set() or _written(key) != known, stop)
        finally:
            _end(child)


def _written(key: Path) -> tuple[int, int]:
    """Return what is another for another file in the key's place."""
    try:
        found = key.stat()
    except OSError as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, f"{key} is missing. Restore it, or enrol the node anew with a new invite."
        ) from error
    return found.st_ino, found.st_mtime_ns


def flower_environment(home: Path) -> dict[str, str]:
    """Return the environment of every Flower process of this node."""
    return {**os.environ, **QUIET, **KEPT_MEMORY, "FLWR_HOME": str((home / "flower").resolve()), "PATH": _path()}


def _path() -> str:
    """Programs installed beside this Python come first."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


def _wait_for_port(port: int, stop: threading.Event) -> bool:
    """Wait until something listens on loopback `port`; False if `stop` was set first."""
    while not stop.is_set():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        stop.wait(_LOOK_SECONDS)
    return False


def _attend(child: "subprocess.Popen[str]", over: Callable[[], bool], stop: threading.Event) -> None:
    """Copy what the child says into the log until it ends or is to end.

    Raises:
        UnavailableError: `node-fault` if it ended by itself.
    """
    if child.stdout is not None:
        threading.Thread(target=_copy, args=(child.stdout,), daemon=True).start()
    while not over():
        stop.wait(_LOOK_SECONDS)
        if child.poll() is not None and not over():
            raise UnavailableError(
                Code.NODE_FAULT,
                f"The SuperNode ended with exit code {child.returncode}. 305 means that the centre does not know its key yet.",
            )


def _copy(output: IO[str]) -> None:
    for line in output:
        said = _COLOUR.sub("", line).strip()[:_LINE_MAX]
        if said:
            log.info("supernode.said", extra={"said": said})


def _end(child: "subprocess.Popen[str]") -> None:
    child.terminate()
    try:
        child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
