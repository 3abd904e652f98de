"""`python -m models.card`: write the model card of the shipped weights, from their training record and their scores.

    python -m models.card [--out FILE]

What the weights learnt from comes from `models/weights/training.json` (or the card says that no record was kept), how well they do on
phantoms is measured here. The part on real scans is written by `python -m bench.accuracy`, which has those scans.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.evaluate import evaluate, evaluation_phantoms
from models.net import LUNG_WIDTHS, GgoNet
from models.record import NetworkRecord, TrainingRecord, read_record, sha256_of
from models.weights import LUNGS, STARTING, load_net
from protocol.errors import FederationError
from protocol.release import Scores

log = logging.getLogger(__name__)

CARD = Path(__file__).resolve().parents[1] / "docs" / "model-card.md"
BEGIN, END = (
    "<!-- written by `python -m bench.accuracy`: begin -->",
    "<!-- written by `python -m bench.accuracy`: end -->",
)
"""Between them stands what was measured on real scans."""

_HEAD = """# Model card: the starting weights (`ggo@0`)

Written by `python -m models.card` and `python -m bench.accuracy`. **A measurement aid, not a diagnosis.**

* **What**: two small 2.5D U-Nets (`lite-2p5d`, GroupNorm): one labels ground glass and consolidation, one finds the lungs.
  `docs/explanation/measurement.md` says what happens around them.
* **For**: the share of lung volume with opacity on chest CT in Hounsfield units, and as the start of federated training.
* **Not for**: diagnosis, triage without a person, children, or any number whose quality flags nobody has read.
* **Never validated on patients.** No public chest CT with an expert's three-dimensional mask was free to learn from or to test on.
"""

_NO_RECORD = """## What it learnt from

**No record was kept of the run that made these weights**: which scans they learnt from, under which licences, is not known. Train them anew
with `python -m models.pretrain`, which writes the record; until then **do not rely on the licences of their sources**.
"""

_FAILURES = """## Known failures

* Inserted disease is easier than real disease: no figure here is a claim about accuracy on patients.
* **Single slices** are unreliable: without neighbours, vessels at the hilum and dependent density may be called ground glass. They carry
  `single-slice`; what was found in those at hand stands above.
* Wide and even haze without a border (early oedema, poor inspiration) is read low or not at all: there is nothing beside it to compare
  with. Of a phantom with 30 % of it, 17 % were found; a test expects this failure by name.
* Dependent density, motion beside the heart and low dose may be called ground glass, and a raised diaphragm consolidation.
* **Opacity in the outer 3 mm of the lung is read low**: of disease put in there, 30 to 47 % is missed, on every scanner, and with it 8 to 16 % of
  all opacity in lungs of ordinary density (`docs/adr/0157-where-the-points-of-accuracy-go.md`). Lungs that are unevenly dense are read high.
* **Lungs that are more than half ill** are read low where they are of ordinary density, mostly at the pleura, and may be read high where they are
  not; by how much stands above, under disease of known extent.
* **Dense disease along the pleura is partly lost by the lung mask**, less than by a threshold but more than the goal allows: how much of
  disease put into three scans with an expert's lungs is kept stands in `docs/benchmarks/lungs.md`.
* Where consolidation fills the base of a lung, its lower third may be read many points low (case b02).
* Effusion is left out of the lungs; a thin one behind consolidation may be counted as consolidation, and the reverse.
* A solid mass is neither ground glass nor consolidation by definition, but the haze around it may be called ground glass.
* A lung that is dense from top to bottom may be missed by the lung mask; the flag `large-lung-asymmetry` then says so.
* Heads, abdomens, label maps and 8-bit pictures are refused; a prone or decubitus scan is measured, but right and left follow the
  header.
"""


@dataclass(frozen=True, slots=True)
class Hashes:
    """SHA-256 of the two files."""

    opacity: str
    lungs: str


def model_card(record: TrainingRecord | None, hashes: Hashes, scores: Scores) -> str:
    """Return the card as Markdown, its part on real scans still empty.

    Args:
        record: Of the run that made the weights; `None` if none was kept.
        hashes: Of the weights.
        scores: On the public phantoms.
    """
    sources = _NO_RECORD if record is None else _sources(record)
    return "\n".join([_HEAD, _identity(record, hashes), sources, _figures(record, scores), _FAILURES])


def with_real_scans(card: str, section: str) -> str:
    """Return `card` with its part on real scans written anew."""
    head, rest = card.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n\n{section.strip()}\n\n{END}{tail}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.card", description="Write the model card.")
    parser.add_argument("--out", type=Path, default=CARD, metavar="FILE")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        hashes = Hashes(sha256_of(STARTING), sha256_of(LUNGS))
        text = model_card(read_record(STARTING, LUNGS), hashes, evaluate(load_net(STARTING), evaluation_phantoms()))
    except FederationError as error:
        log.error("%s: %s", error.code, error)  # noqa: TRY400 - a sentence for a person, not a traceback
        return error.exit_code
    options.out.write_text(text, encoding="utf-8")
    return 0


def _identity(record: TrainingRecord | None, hashes: Hashes) -> str:
    networks = (
        (STARTING.name, hashes.opacity, GgoNet(), None if record is None else record.opacity),
        (LUNGS.name, hashes.lungs, GgoNet(LUNG_WIDTHS), None if record is None else record.lungs),
    )
    return "## Identity\n\n| | |\n|---|---|\n" + "".join(
        f"| `{name}` | SHA-256 `{sha256}`, {_parameters(net):,} parameters{_run(made)} |\n"
        for name, sha256, net, made in networks
    )


def _run(made: NetworkRecord | None) -> str:
    return "" if made is None else "; it went on from the result of".join(_one_run(run) for run in made.runs)


def _one_run(made: NetworkRecord) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    rate = "" if made.rate is None else f", learning rate up to {made.rate:g}"
    return (
        f"<br>`{made.command}` at revision `{made.revision}`, seed {made.seed}, {made.threads} thread(s), {made.steps:,} steps{rate},"
        f" {made.phantoms} phantoms, {made.variants} variants of each scan; {versions}"
    )


def _sources(record: TrainingRecord) -> str:
    rows = [
        f"| `{entry.file}` | {entry.source} | {entry.licence} | `{entry.sha256[:16]}…` |" for entry in record.anatomies
    ]
    table = ["| File | Source | Licence | SHA-256 |", "|---|---|---|---|", *rows] if rows else ["No real anatomy."]
    return f"""## What it learnt from

Phantoms (`models/phantom.py`), and variants of each of these scans with disease inserted (`models/insertion.py`). No pixel of them is in
this repository; `models/weights/training.json` holds the full hashes.

{chr(10).join(table)}

Truth was the inserted disease, and lungs found by threshold before it was inserted. No expert's mask of disease was learnt from.
Scans whose licence forbids commercial use or derivatives, or that have none, were not learnt from.
"""


def _figures(record: TrainingRecord | None, scores: Scores) -> str:
    return f"""## How well

Public phantoms that were not learnt from ({scores.cases} cases): Dice of opacity {scores.dice:.3f}, error of the ground-glass share
{scores.ggo_error_points:.2f} points, opacity found in healthy phantoms {scores.false_opacity_points:.2f} points (points are percent of
lung volume).
{_left_out(record)}
{BEGIN}

Not measured on real scans yet: `python -m bench.accuracy`.

{END}
"""


def _left_out(record: TrainingRecord | None) -> str:
    """Return the table of scans measured by networks that were trained without them, if that was done."""
    if record is None or not record.left_out:
        return ""
    rows = [
        f"| `{row.name}` | {row.lung_dice:.3f} | {row.false_opacity_points:.2f} | {row.mean_error_points:.2f} | {row.worst_error_points:.2f} | {row.inserted} |"
        for row in record.left_out
    ]
    table = [
        "| Left out | Lung Dice (against threshold and closing, before disease) | Opacity found as it is | Mean error, inserted | Worst | Cases |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    return (
        "\nReal anatomy, each volume measured by networks that were trained *without* it:\n\n" + "\n".join(table) + "\n"
    )


def _parameters(net: GgoNet) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


if __name__ == "__main__":
    sys.exit(main())
