"""One federated run on the disk: its plan, its nodes, and a checkpoint after every round, so that it can go on after any death.

    runs/<run_id>/plan.json                    RunPlan
    runs/<run_id>/nodes.json                   SuperNode number by site, as it was at the start
    runs/<run_id>/weights-0000.safetensors     what the run starts from; one more file for each round
    runs/<run_id>/optimizer-0001.safetensors   state of the centre's own optimizer after the newest round, where the strategy has one
    runs/<run_id>/rounds.json                  one entry for each round
    runs/<run_id>/leaves-open.txt              what the plan does not withstand, in words
    runs/<run_id>/spool/                       the updates of the present round, where the strategy needs them all
    runs/<run_id>/scores.json                  how each checkpoint does on the public phantoms
    runs/<run_id>/present.json                 the release that its result is compared with, where the plan has an evaluation
    runs/<run_id>/evaluation.json              what the sites answered to that, and what follows
    runs/<run_id>/outcome.json                 how the run ended
    runs/<run_id>/flower.json                  Flower's own number for it
    runs/<run_id>/bundles.json                 the app bundles that it was carried by, by their SHA-256, oldest first
    runs/<run_id>/secure.json                  the newest round of secure summation that was begun

A round counts once its entry is in rounds.json; its weights are on the disk before that.
"""

import fcntl
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError
from protocol.plan import RunPlan
from protocol.release import Scores
from protocol.shape import canonical_json
from server.files import unwritable, write_durably
from strategies.arrays import Arrays, arrays_sha256
from strategies.threat import threat_left_open

T = TypeVar("T")

COMPLETED = "completed"

_LOCK = ".lock"
_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """What one round came to.

    `sites` gave an update that counts; `refused` says of each other site why not, by code. `epsilon` has every site that said what it
    spent, also one whose update was screened out. A round without its quorum is `skipped`: its updates are dropped and the weights stay
    as they were. `optimizer_sha256` is empty where the strategy keeps no state.
    """

    round: int
    weights_sha256: str
    sites: tuple[str, ...] = ()
    refused: dict[str, Code] = field(default_factory=dict)
    epsilon: dict[str, float] = field(default_factory=dict)
    skipped: bool = False
    seconds: float = 0.0
    optimizer_sha256: str = ""


_RECORDS: TypeAdapter[list[RoundRecord]] = TypeAdapter(list[RoundRecord])
_SCORES: TypeAdapter[dict[int, Scores]] = TypeAdapter(dict[int, Scores])
_NODES: TypeAdapter[dict[str, int]] = TypeAdapter(dict[str, int])
_PLAN: TypeAdapter[RunPlan] = TypeAdapter(RunPlan)
_NUMBER: TypeAdapter[int] = TypeAdapter(int)
_BUNDLES: TypeAdapter[tuple[str, ...]] = TypeAdapter(tuple[str, ...])
_OUTCOME: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run; its name is the run's id.

    Whatever reads from it raises `InvalidInputError` (`bad-shape`) where a file is damaged, and what writes raises `UnavailableError`
    (`disk-full`) where the disk takes no more.
    """

    path: Path

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.path.name

    def start(
        self, plan: RunPlan, nodes: dict[str, int], base: bytes, beside: Mapping[str, bytes] = MappingProxyType({})
    ) -> None:
        """Write what a run needs before its first round; the plan last, for a folder with one is a run.

        Args:
            plan: What was agreed.
            nodes: SuperNode number by site; a site that never enrolled is missing.
            base: The base release's safetensors file.
            beside: Further files of the run, by name.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise unwritable(self.path, error) from error
        try:
            write_durably(self._weights(0), base)
            self.note_nodes(nodes)
            for name, content in beside.items():
                self.write_room(name, content)
            write_durably(self.path / "leaves-open.txt", f"{threat_left_open(plan)}\n".encode())
            write_durably(self.path / "plan.json", canonical_json(plan))
        except UnavailableError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def note_nodes(self, nodes: dict[str, int]) -> None:
        """Write the SuperNodes' numbers, again when the run is taken up later."""
        write_durably(self.path / "nodes.json", json.dumps(nodes).encode())
        (self.path / "outcome.json").unlink(missing_ok=True)

    @contextmanager
    def held(self, number: int) -> Iterator[None]:
        """Hold the run for one writer, Flower's run `number`; a second one waits until the first has ended. The lock dies with its holder."""
        with (self.path / _LOCK).open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.truncate(0)
            lock.write(str(number))
            lock.flush()
            yield

    def is_held(self, number: int) -> bool:
        """Say whether Flower's run `number` holds the run at this moment."""
        path = self.path / _LOCK
        if not path.exists():
            return False
        with path.open("r") as lock:
            holder = lock.read()
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return holder == str(number)
        return False

    def note_flower_run(self, number: int) -> None:
        """Write down Flower's number of the run that is about to work on this one."""
        write_durably(self.path / "flower.json", json.dumps(number).encode())

    def flower_run(self) -> int | None:
        """Return Flower's number of the run that last worked on this one."""
        return self._read("flower.json", _NUMBER)

    def note_bundle(self, sha256: str) -> None:
        """Write down the bundle that carries the run from here on; a run that is taken up again may have another one."""
        known = self.bundles()
        if sha256 not in known[-1:]:
            write_durably(self.path / "bundles.json", _BUNDLES.dump_json((*known, sha256)))

    def bundles(self) -> tuple[str, ...]:
        """Return the bundles so far, oldest first."""
        return self._read("bundles.json", _BUNDLES) or ()

    def note_secure_round(self, number: int) -> None:
        """Write down that a round of secure summation is about to begin."""
        write_durably(self.path / "secure.json", json.dumps(number).encode())

    def secure_round(self) -> int:
        """Return the newest round of secure summation that was begun, 0 before the first."""
        return self._read("secure.json", _NUMBER) or 0

    def plan(self) -> RunPlan:
        """Return the run's plan.

        Raises:
            InvalidInputError: `not-found` if there is no such run.
        """
        plan = self._read("plan.json", _PLAN)
        if plan is None:
            raise InvalidInputError(Code.NOT_FOUND, f"There is no run in {self.path}.")
        return plan

    def nodes(self) -> dict[str, int]:
        """Return the SuperNode number of each site."""
        return self._read("nodes.json", _NODES) or {}

    def records(self) -> list[RoundRecord]:
        """Return the rounds so far; empty before the first."""
        return self._read("rounds.json", _RECORDS) or []

    @property
    def spool(self) -> Path:
        """Where the updates of a round lie while it lasts."""
        return self.path / "spool"

    def checkpoint(self, record: RoundRecord, weights: Arrays, optimizer: Arrays | None = None) -> None:
        """Keep a round: its weights and the state of the centre's optimizer first, then its entry. Earlier states go last."""
        if not record.skipped:
            write_durably(self._weights(record.round), _serialised(weights))
            if optimizer is not None:
                write_durably(self._optimizer(record.round), _serialised(optimizer))
        entries = [asdict(one) for one in (*self.records(), record)]
        write_durably(self.path / "rounds.json", json.dumps(entries).encode())
        newest = self._optimizer(self._newest())
        for path in self.path.glob("optimizer-*.safetensors"):
            if path != newest:
                path.unlink()

    def optimizer_state(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the state after the newest round that counted, compared with what that round recorded; `None` before the first."""
        newest = self._newest()
        if not newest:
            return None
        state = _loaded(self._optimizer(newest))
        if arrays_sha256(state) != self.records()[newest - 1].optimizer_sha256:
            raise _damaged(self._optimizer(newest))
        return state

    def latest(self) -> tuple[int, dict[str, NDArray[np.float32]]]:
        """Return the number of rounds so far and the weights after them, compared with what their round recorded."""
        records = self.records()
        weights = self.weights(self._newest())
        if records and arrays_sha256(weights) != records[-1].weights_sha256:
            raise _damaged(self._weights(self._newest()))
        return len(records), weights

    def last_step(self) -> Arrays | None:
        """Return what the newest round that counted added to the weights; `None` before the first."""
        kept = [0, *(record.round for record in self.records() if not record.skipped)]
        if len(kept) == 1:
            return None
        before, after = (self.weights(number) for number in kept[-2:])
        return {name: after[name] - before[name] for name in after}

    def weights(self, number: int) -> dict[str, NDArray[np.float32]]:
        """Return the weights after a round that was not skipped; 0 is what the run started from."""
        return _loaded(self._weights(number))

    def starts_from(self, base: bytes) -> bool:
        """Say whether the run's first weights are the file `base`, byte for byte."""
        try:
            return self._weights(0).read_bytes() == base
        except OSError:
            return False

    def newest_file(self) -> bytes:
        """Return the newest weights as a safetensors file, compared with what their round recorded."""
        self.latest()
        return self._weights(self._newest()).read_bytes()

    def scores(self) -> dict[int, Scores]:
        """Return the scores so far, by round."""
        return self._read("scores.json", _SCORES) or {}

    def note_scores(self, number: int, scores: Scores) -> None:
        """Keep the scores of one checkpoint."""
        everything: dict[int, Any] = {**self.scores(), number: scores}
        write_durably(self.path / "scores.json", _SCORES.dump_json(everything))

    def outcome(self) -> str | None:
        """Return how the run ended: `completed`, a code, or None if it has not."""
        said = self._read("outcome.json", _OUTCOME)
        return said.get("ended") if said else None

    def end(self, outcome: str) -> None:
        """Record how the run ended."""
        write_durably(self.path / "outcome.json", json.dumps({"ended": outcome}).encode())

    def write_room(self, name: str, content: bytes) -> None:
        """Write one file of the run durably, for whoever keeps something beside the rounds."""
        write_durably(self.path / name, content)

    def read_room(self, name: str, kind: TypeAdapter[T]) -> T | None:
        """Return what that file holds, or None if it is not there."""
        return self._read(name, kind)

    def _newest(self) -> int:
        """Return the last round that changed the weights, 0 if none has."""
        return max((record.round for record in self.records() if not record.skipped), default=0)

    def _weights(self, number: int) -> Path:
        return self.path / f"weights-{number:04}.safetensors"

    def _optimizer(self, number: int) -> Path:
        return self.path / f"optimizer-{number:04}.safetensors"

    def _read(self, name: str, kind: TypeAdapter[T]) -> T | None:
        """Return what a file holds, or None if it is not there."""
        path = self.path / name
        try:
            return kind.validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise _damaged(path) from error


def _serialised(arrays: Arrays) -> bytes:
    return save({name: np.array(array) for name, array in arrays.items()})


def _loaded(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        return dict(load(path.read_bytes()))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> InvalidInputError:
    return InvalidInputError(
        Code.BAD_SHAPE, f"{path} is missing or damaged; restore it, or start a new run from a release."
    )


def runs_in(runs: Path) -> list[RunFolder]:
    """Return every run in the folder of runs."""
    return [RunFolder(path) for path in sorted(runs.glob("*")) if _RUN_ID.fullmatch(path.name) and path.is_dir()]


def find_run(runs: Path, run_id: str) -> RunFolder:
    """Return the run of that id, or of that folder.

    Raises:
        InvalidInputError: `not-found`.
    """
    name = Path(run_id).name
    if not _RUN_ID.fullmatch(name) or not (runs / name).is_dir():
        raise InvalidInputError(Code.NOT_FOUND, f"There is no run {name} in {runs}.")
    return RunFolder(runs / name)
