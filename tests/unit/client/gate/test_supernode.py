"""The SuperNode's keeper: it ends the program when asked to, when the node has enrolled anew, and says when it ended by itself."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.gate import keys as making
from client.gate.supernode import run_supernode
from protocol.codes import Code
from protocol.errors import UnavailableError
from strategies.flower import FOLDER_VARIABLE
from tests.fakes.federation import until
from tests.fakes.outcomes import code_of


class Keeper:
    """`run_supernode` in a thread, with a program that notes that it runs."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.stop = threading.Event()
        self.code: Code | None = None
        making.keep_supernode_key(folder, making.new_supernode_key())
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        said = f"import pathlib, time; pathlib.Path({str(self.folder / 'up')!r}).touch(); time.sleep(60)"
        try:
            self.keep([sys.executable, "-c", said])
        except UnavailableError as error:
            self.code = error.code

    def keep(self, command: list[str]) -> None:
        key = self.folder / making.SUPERNODE_KEY
        pieces = self.folder / "pieces"
        run_supernode(command, home=self.folder, pieces=pieces, forward_port=self.port, key=key, stop=self.stop)

    def start(self) -> None:
        self.thread.start()
        until((self.folder / "up").exists, seconds=20, what="the program runs")

    def over(self) -> bool:
        self.thread.join(10)
        return not self.thread.is_alive()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    with socket.create_server(("127.0.0.1", 0)) as forwarder:
        made = Keeper(tmp_path, forwarder.getsockname()[1])
        yield made
        made.stop.set()
        if made.thread.ident is not None:
            made.thread.join(10)


def test_the_program_ends_when_the_node_has_enrolled_anew(keeper: Keeper) -> None:
    keeper.start()
    time.sleep(0.5)
    assert keeper.thread.is_alive()
    making.keep_supernode_key(keeper.folder, making.new_supernode_key())
    assert keeper.over()
    assert keeper.code is None


def test_the_program_ends_when_the_node_does(keeper: Keeper) -> None:
    keeper.start()
    keeper.stop.set()
    assert keeper.over()
    assert keeper.code is None


def test_the_program_knows_the_folder_that_it_shares_with_the_runner(keeper: Keeper) -> None:
    said = (
        f"import os, pathlib; pathlib.Path({str(keeper.folder / 'said')!r}).write_text(os.environ[{FOLDER_VARIABLE!r}])"
    )
    assert code_of(lambda: keeper.keep([sys.executable, "-c", said])) is Code.NODE_FAULT
    assert (keeper.folder / "said").read_text() == str(keeper.folder / "pieces")


def test_a_program_that_ends_by_itself_is_a_fault(keeper: Keeper) -> None:
    assert code_of(lambda: keeper.keep([sys.executable, "-c", "raise SystemExit(305)"])) is Code.NODE_FAULT


def test_without_a_key_there_is_nothing_to_start(keeper: Keeper) -> None:
    (keeper.folder / making.SUPERNODE_KEY).unlink()
    assert code_of(lambda: keeper.keep([sys.executable, "-c", "raise SystemExit(0)"])) is Code.MISSING_CERTIFICATE
