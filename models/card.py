"""The model card: what the shipped weights learnt from, how well they do on what they did not see, and where they fail."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.anatomy import Entry
from protocol.release import Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """How nets that never saw this volume did on it. Fractions are points of lung volume."""

    name: str
    false_opacity_points: float
    inserted: int
    mean_error_points: float
    worst_error_points: float
    lung_dice: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """All that the card says of one run of the command."""

    command: str
    seed: int
    lung_sha256: str
    opacity_sha256: str
    parameters: int
    lung_parameters: int
    phantoms: int
    anatomies: Sequence[Entry]
    scores: Scores
    left_out: Sequence[LeftOut]


_HEAD = """# Model card: the starting weights (`ggo@0`)

Written by `python -m models.pretrain`. **A measurement aid, not a diagnosis.**

* **What**: two small 2.5D U-Nets (`lite-2p5d`, GroupNorm): one labels ground glass and consolidation, one finds the lungs.
* **For**: the share of lung volume with opacity on chest CT in Hounsfield units, and as the start of federated training.
* **Not for**: diagnosis, triage without a person, children, scans that carry a quality flag read without looking at it.
"""

_FAILURES = """## Known failures

* Inserted disease is easier than real disease. No figure here is a claim about accuracy on patients: no public scan with an
  expert's three-dimensional mask was free to learn from or to test on.
* Uniform haze without a border (early oedema, poor inspiration) is not told from healthy lung: there is nothing beside it to
  compare with. Dependent density and motion beside the heart may be called ground glass, up to about two points.
* Effusion is left out of the lungs; a thin one behind consolidation may be counted as consolidation, and the reverse.
* A solid mass is neither ground glass nor consolidation by definition, but the haze around it may be called ground glass.
* A lung that is dense from top to bottom may be missed by the lung mask; the flag `large-lung-asymmetry` then says so.
* Heads, abdomens, label maps and 8-bit pictures are refused; a prone or decubitus scan is measured, but right and left follow the
  header.
"""


def model_card(training: Training) -> str:
    """Return the card as Markdown."""
    parts = [_HEAD, _identity(training), _sources(training), _figures(training), _FAILURES]
    return "\n".join(parts)


def _identity(training: Training) -> str:
    return f"""## Identity

| | |
|---|---|
| Command | `{training.command}` |
| Seed | {training.seed} |
| `starting.safetensors` | SHA-256 `{training.opacity_sha256}`, {training.parameters:,} parameters |
| `lungs.safetensors` | SHA-256 `{training.lung_sha256}`, {training.lung_parameters:,} parameters |
"""


def _sources(training: Training) -> str:
    rows = [
        f"| `{entry.file}` | {entry.source} | {entry.licence} | `{entry.sha256[:16]}…` |"
        for entry in training.anatomies
    ]
    table = ["| File | Source | Licence | SHA-256 |", "|---|---|---|---|", *rows] if rows else ["No real anatomy."]
    return f"""## What it learnt from

{training.phantoms} phantoms (`models/phantom.py`), and disease inserted (`models/insertion.py`) into these scans, none of which shows
opacity of its own. No pixel of them is in this repository; `models/weights/anatomy.json` holds the full hashes.

{chr(10).join(table)}

Scans whose licence forbids commercial use or derivatives, or that have none, were not learnt from.
"""


def _figures(training: Training) -> str:
    scores = training.scores
    rows = [
        f"| `{row.name}` | {row.lung_dice:.3f} | {row.false_opacity_points:.2f} | {row.mean_error_points:.2f} | {row.worst_error_points:.2f} | {row.inserted} |"
        for row in training.left_out
    ]
    table = (
        [
            "| Left out | Lung Dice (against threshold and closing, before disease) | Opacity found as it is | Mean error, inserted | Worst | Cases |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
        if rows
        else ["No volume was left out in this run."]
    )
    return f"""## How well

Public phantoms that were not learnt from ({scores.cases} cases): Dice of opacity {scores.dice:.3f}, error of the ground-glass share
{scores.ggo_error_points:.2f} points, opacity found in healthy phantoms {scores.false_opacity_points:.2f} points.

Real anatomy, each volume measured by networks that were trained *without* it (points are percent of lung volume):

{chr(10).join(table)}
"""
