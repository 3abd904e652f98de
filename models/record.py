"""What made weights, in one JSON file beside them: for each network the run, the scans it learnt from, the hash of what came out.

A record that stands beside other weights than its own is refused: it would name sources that they never saw.
"""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from models.anatomy import Entry
from protocol.codes import Code
from protocol.errors import InvalidInputError

RECORD = "training.json"


class LeftOut(BaseModel):
    """How networks that never saw this scan did on it. Fractions are points of lung volume."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    false_opacity_points: float
    inserted: int
    mean_error_points: float
    worst_error_points: float
    lung_dice: float


class NetworkRecord(BaseModel):
    """The run of `python -m models.pretrain` that made one network; `revision` is the code's own, as git describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    command: str
    revision: str
    seed: int
    versions: dict[str, str]
    threads: int
    steps: int
    phantoms: int
    variants: int
    """Of each scan."""
    anatomies: tuple[Entry, ...]
    rate: float | None = None
    """Peak of the learning rate, where it was not the usual one."""
    before: "NetworkRecord | None" = None
    """The run that this one went on from, if it did not begin anew."""

    @property
    def runs(self) -> tuple["NetworkRecord", ...]:
        """Every run that made this network, the last one first."""
        return (self, *(() if self.before is None else self.before.runs))


class TrainingRecord(BaseModel):
    """Both networks. One that is not trained yet has no record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lungs: NetworkRecord | None = None
    opacity: NetworkRecord | None = None
    left_out: tuple[LeftOut, ...] = ()

    @property
    def anatomies(self) -> tuple[Entry, ...]:
        """Every scan that either network learnt from, once."""
        runs = [run for network in (self.lungs, self.opacity) if network is not None for run in network.runs]
        return tuple({entry.sha256: entry for run in runs for entry in run.anatomies}.values())


def read_record(weights: Path, lungs: Path) -> TrainingRecord | None:
    """Return the record beside `weights`, after checking that it speaks of these very files; `None` if none was kept.

    Raises:
        InvalidInputError: `bad-setting` if it is damaged, or of other weights.
    """
    path = weights.with_name(RECORD)
    try:
        record = TrainingRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InvalidInputError(
            Code.BAD_SETTING, f"{path} is damaged; `python -m models.pretrain` writes it anew with the weights."
        ) from error
    spoken_of = [network.sha256 for network in (record.opacity, record.lungs) if network is not None]
    if spoken_of != [sha256_of(weights), sha256_of(lungs)]:
        raise InvalidInputError(
            Code.BAD_SETTING, f"{path} is of other weights than those beside it; train again, or restore them."
        )
    return record


def sha256_of(path: Path) -> str:
    """Return the hash of a file.

    Raises:
        InvalidInputError: `bad-setting` if it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidInputError(Code.BAD_SETTING, f"{path} cannot be read.") from error
