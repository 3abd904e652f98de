"""What stands between a signed release and the nodes: the centre's phantoms, the sites' held-out patients, and who overrode those."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from protocol.codes import MEANINGS, Code
from protocol.errors import InvalidInputError, RefusedError
from protocol.release import Manifest, Scores
from server.files import write_durably

OVERRIDES = "overrides.json"

DICE_MARGIN, FALSE_OPACITY_MARGIN_POINTS = 0.01, 0.5
"""How much less a trained release may do than its start on a dozen phantoms: they do not tell smaller differences apart."""


@dataclass(frozen=True, slots=True)
class Override:
    """A promotion in spite of a refusal: `who` is the account on the centre's machine, `at` UTC."""

    release: str
    code: Code
    who: str
    at: str


_OVERRIDES: TypeAdapter[list[Override]] = TypeAdapter(list[Override])


def does_harm(now: Scores, start: Scores) -> bool:
    """Say whether weights do worse than those that training began with, by more than the margins; both on the same public phantoms."""
    lost, haze = start.dice - now.dice, now.false_opacity_points - start.false_opacity_points
    return lost > DICE_MARGIN or haze > FALSE_OPACITY_MARGIN_POINTS


def require_no_harm(manifest: Manifest) -> None:
    """Refuse weights that training made worse: private training adds noise, and a run of little data may end below its start.

    Both were measured on the same public phantoms, by the same program. Smaller differences than the margins say nothing there. What
    came out of a run without both scores is refused too.

    Raises:
        RefusedError: `worse-than-base`.
    """
    if manifest.run_id is None:
        return
    now, start = manifest.scores, manifest.base_scores
    if now is None or start is None:
        raise RefusedError(
            Code.WORSE_THAN_BASE,
            f"{manifest.name} was not measured beside the weights that it started from. Train again; every run measures both.",
        )
    if does_harm(now, start):
        raise RefusedError(
            Code.WORSE_THAN_BASE,
            f"{manifest.name} does worse on the public phantoms than the weights that it started from: Dice {now.dice:.3f} after "
            f"{start.dice:.3f}, {now.false_opacity_points:.2f} points of opacity in healthy lungs after "
            f"{start.false_opacity_points:.2f}. Nodes keep what they have; train with more sites, more rounds or a smaller rate.",
        )


def check_evaluation(manifest: Manifest, present: str, *, despite: Code | None) -> None:
    """Refuse what the sites' held-out patients speak against, what too few spoke of, and what was compared with another release.

    What came out of a run whose plan had no evaluation was spoken of by nobody. The present release may be announced again.

    Raises:
        RefusedError: `worse-than-present`, `evaluation-missed`.
        InvalidInputError: `bad-request` if `despite` names no refusal that stands.
    """
    reason = None if manifest.name == present else _refusal_of(manifest, present)
    if despite is not None and reason is not despite:
        raise InvalidInputError(
            Code.BAD_REQUEST,
            f"Nothing refuses {manifest.name} with {despite.value}, so there is nothing to override. Leave --despite away.",
        )
    if reason is not None and despite is None:
        told = (
            "Its record in `catalogue list --json` says which groups lost. Train again"
            if manifest.evaluation is not None
            else "The plan of its run had no [evaluation]. Train with one"
        )
        raise RefusedError(
            reason,
            f"{manifest.name} is not promoted: {MEANINGS[reason][1]} {told}; or promote it with `--despite {reason.value}`, which is "
            f"written into {OVERRIDES}.",
        )


def _refusal_of(manifest: Manifest, present: str) -> Code | None:
    if manifest.evaluation is None:
        return Code.EVALUATION_MISSED if manifest.run_id is not None else None
    if manifest.evaluation.reason is None and manifest.evaluation.present != present:
        return Code.EVALUATION_MISSED
    return manifest.evaluation.reason


class OverrideBook:
    """The promotions in spite of a refusal, in one file of the catalogue's folder. Nothing takes an entry away again."""

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        """Open the book.

        Args:
            folder: The catalogue's.
            clock: The time, with its zone.
        """
        self._path = folder / OVERRIDES
        self._clock = clock

    def entries(self) -> list[Override]:
        """Return all of them, oldest first.

        Raises:
            InvalidInputError: `bad-setting` if the file is damaged.
        """
        try:
            return _OVERRIDES.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValidationError) as error:
            raise InvalidInputError(Code.BAD_SETTING, f"{self._path} is damaged. Restore it from a backup.") from error

    def note(self, name: str, code: Code, who: str) -> None:
        """Write down, before it happens, that a person promotes `name` in spite of a refusal.

        Raises:
            InvalidInputError: `bad-setting` if earlier entries are damaged.
            UnavailableError: `disk-full`.
        """
        at = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        entries = [*self.entries(), Override(release=name, code=code, who=who, at=at)]
        write_durably(self._path, _OVERRIDES.dump_json(entries))
