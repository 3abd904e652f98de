"""kill -9 at random moments of training: the ledger is never below what left the site, and no round leaves in two versions."""

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from strategies.arrays import arrays_sha256
from tests.fakes.rough_price import rough_price
from tests.unit.client.train.test_site import BASE, Site, order

ROUNDS_AT_MOST = 400

CLEAN = multiprocessing.get_context("forkserver")
"""Forks from a process that has imported torch and never used it: a fork of one that has may wait for its threads for ever."""
CLEAN.set_forkserver_preload([__name__])


def train_on(folder: Path, first: int, left: Connection) -> None:
    """Be the runner: answer round after round, and tell what leaves the moment it does."""
    torch.set_num_threads(1)
    site = Site(folder, allowed=1000.0, price=rough_price)
    for number in range(first, ROUNDS_AT_MOST):
        notice, update = site.trainer.answer(order(number, rounds=ROUNDS_AT_MOST), BASE)
        left.send((number, arrays_sha256(update), notice.epsilon))


Left = tuple[int, str, float]
"""A round, the hash of its update, and the ε that was said with it."""


def killed_once(folder: Path, first: int, *, answers: int, seconds: float) -> list[Left]:
    """Let a runner train until so many updates have left and `seconds` more, kill it, and return what left."""
    here, there = multiprocessing.Pipe(duplex=False)
    child = CLEAN.Process(target=train_on, args=(folder, first, there))
    child.start()
    there.close()
    left: list[Left] = [here.recv() for _ in range(answers)]
    time.sleep(seconds)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    while here.poll():
        try:
            left.append(here.recv())
        except EOFError:
            break
    return left


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.nightly)])
def test_the_ledger_is_never_below_what_left(tmp_path: Path, kills: int) -> None:
    site = Site(tmp_path, allowed=1000.0, price=rough_price)
    site.trainer.answer(order(1, rounds=ROUNDS_AT_MOST), BASE)
    began = time.monotonic()
    site.trainer.answer(order(2, rounds=ROUNDS_AT_MOST), BASE)
    one_round = time.monotonic() - began
    moment = random.Random(11)
    left: dict[int, set[str]] = {}
    interrupted = 0
    for _ in range(kills):
        first = max(left, default=2)  # the centre asks again for the last round that it knows of
        wait = moment.uniform(0, 1.2) * one_round
        for number, sha256, said in killed_once(tmp_path, first, answers=moment.randrange(3), seconds=wait):
            left.setdefault(number, set()).add(sha256)
            assert said <= site.trainer.ledger.epsilon(1e-5)
        charged = set(site.charges())
        assert set(left) <= charged
        interrupted += bool(charged - {1, 2} - set(left))
        site.trainer.gate.audit.verify()
    assert len(left) >= kills // 4
    assert all(len(versions) == 1 for versions in left.values()), "a round left in two versions"
    assert sorted(site.charges()) == sorted(set(site.charges()))
    assert interrupted > 0  # some of them died between the charge and the update, or the test has seen nothing
