"""One federated run on the disk: its plan, its nodes, and a checkpoint after every round, so that it can go on after any death.

    runs/<run_id>/plan.json                    RunPlan
    runs/<run_id>/nodes.json                   SuperNode number by site, as it was at the start
    runs/<run_id>/weights-0000.safetensors     what the run starts from; one more file for each round
    runs/<run_id>/rounds.json                  one entry for each round
    runs/<run_id>/scores.json                  how each checkpoint does on the public phantoms
    runs/<run_id>/outcome.json                 how the run ended
    runs/<run_id>/flower.json                  Flower's own number for it

A round counts once its entry is in rounds.json; its weights are on the disk before that.
"""

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.plan import RunPlan
from protocol.release import Scores
from protocol.shape import canonical_json
from server.files import write_durably
from strategies.arrays import Arrays, arrays_sha256

COMPLETED = "completed"

_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """What one round came to.

    `sites` gave an update that counts; `refused` says of each other site why not, by code. A round without its quorum is `skipped`: its
    updates are dropped and the weights stay as they were.
    """

    round: int
    weights_sha256: str
    sites: tuple[str, ...] = ()
    refused: dict[str, Code] = field(default_factory=dict)
    epsilon: dict[str, float] = field(default_factory=dict)
    skipped: bool = False
    seconds: float = 0.0


_RECORDS: TypeAdapter[list[RoundRecord]] = TypeAdapter(list[RoundRecord])
_SCORES: TypeAdapter[dict[int, Scores]] = TypeAdapter(dict[int, Scores])
_NODES: TypeAdapter[dict[str, int]] = TypeAdapter(dict[str, int])


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run; its name is the run's id."""

    path: Path

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.path.name

    def start(self, plan: RunPlan, nodes: dict[str, int], base: bytes) -> None:
        """Write what a run needs before its first round.

        Args:
            plan: What was agreed.
            nodes: SuperNode number by site; a site that never enrolled is missing.
            base: The base release's safetensors file.

        Raises:
            UnavailableError: `disk-full`.
        """
        self.path.mkdir(mode=0o700, parents=True)
        write_durably(self._weights(0), base)
        write_durably(self.path / "plan.json", canonical_json(plan))
        self.note_nodes(nodes)

    def note_nodes(self, nodes: dict[str, int]) -> None:
        """Write the SuperNodes' numbers, again when the run is taken up later."""
        write_durably(self.path / "nodes.json", json.dumps(nodes).encode())
        (self.path / "outcome.json").unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run for one writer; a second one waits until the first has ended. The lock dies with its holder."""
        with (self.path / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def note_flower_run(self, number: int) -> None:
        """Write down Flower's number of the run that is about to work on this one."""
        write_durably(self.path / "flower.json", json.dumps(number).encode())

    def flower_run(self) -> int | None:
        """Return Flower's number of the run that last worked on this one."""
        path = self.path / "flower.json"
        return int(json.loads(path.read_bytes())) if path.exists() else None

    def plan(self) -> RunPlan:
        """Return the run's plan.

        Raises:
            InvalidInputError: `not-found` if there is no such run.
        """
        try:
            return RunPlan.model_validate_json((self.path / "plan.json").read_bytes())
        except (FileNotFoundError, ValidationError) as error:
            raise InvalidInputError(Code.NOT_FOUND, f"There is no run in {self.path}.") from error

    def nodes(self) -> dict[str, int]:
        """Return the SuperNode number of each site."""
        return _NODES.validate_json((self.path / "nodes.json").read_bytes())

    def records(self) -> list[RoundRecord]:
        """Return the rounds so far; empty before the first."""
        path = self.path / "rounds.json"
        return _RECORDS.validate_json(path.read_bytes()) if path.exists() else []

    def checkpoint(self, record: RoundRecord, weights: Arrays) -> None:
        """Keep a round: its weights first, then its entry.

        Raises:
            UnavailableError: `disk-full`.
        """
        if not record.skipped:
            write_durably(self._weights(record.round), save({name: np.array(array) for name, array in weights.items()}))
        entries = [asdict(one) for one in (*self.records(), record)]
        write_durably(self.path / "rounds.json", json.dumps(entries).encode())

    def latest(self) -> tuple[int, dict[str, NDArray[np.float32]]]:
        """Return the number of rounds so far and the weights after them.

        Raises:
            InvalidInputError: `bad-shape` if the checkpoint is damaged.
        """
        records = self.records()
        kept = [record.round for record in records if not record.skipped]
        weights = self.weights(kept[-1] if kept else 0)
        if records and arrays_sha256(weights) != records[-1].weights_sha256:
            raise InvalidInputError(
                Code.BAD_SHAPE, f"The newest checkpoint in {self.path} is damaged; start a new run from a release."
            )
        return len(records), weights

    def weights(self, number: int) -> dict[str, NDArray[np.float32]]:
        """Return the weights after a round that was not skipped; 0 is what the run started from.

        Raises:
            InvalidInputError: `bad-shape` if the file is missing or damaged.
        """
        try:
            return dict(load(self._weights(number).read_bytes()))
        except (OSError, SafetensorError) as error:
            raise InvalidInputError(
                Code.BAD_SHAPE, f"{self._weights(number)} is missing or damaged; start a new run from a release."
            ) from error

    def newest_file(self) -> bytes:
        """Return the newest weights as a safetensors file."""
        kept = [record.round for record in self.records() if not record.skipped]
        return self._weights(kept[-1] if kept else 0).read_bytes()

    def scores(self) -> dict[int, Scores]:
        """Return the scores so far, by round."""
        path = self.path / "scores.json"
        return _SCORES.validate_json(path.read_bytes()) if path.exists() else {}

    def note_scores(self, number: int, scores: Scores) -> None:
        """Keep the scores of one checkpoint."""
        everything: dict[int, Any] = {**self.scores(), number: scores}
        write_durably(self.path / "scores.json", _SCORES.dump_json(everything))

    def outcome(self) -> str | None:
        """Return how the run ended: `completed`, a code, or None if it has not."""
        path = self.path / "outcome.json"
        return str(json.loads(path.read_bytes())["ended"]) if path.exists() else None

    def end(self, outcome: str) -> None:
        """Record how the run ended."""
        write_durably(self.path / "outcome.json", json.dumps({"ended": outcome}).encode())

    def _weights(self, number: int) -> Path:
        return self.path / f"weights-{number:04}.safetensors"


def find_run(runs: Path, run_id: str) -> RunFolder:
    """Return the run of that id, or of that folder.

    Raises:
        InvalidInputError: `not-found`.
    """
    name = Path(run_id).name
    if not _RUN_ID.fullmatch(name) or not (runs / name).is_dir():
        raise InvalidInputError(Code.NOT_FOUND, f"There is no run {name} in {runs}.")
    return RunFolder(runs / name)
