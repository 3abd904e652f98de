"""The model card of a release, in Markdown, from its manifest alone: so whoever verified the manifest holds a card that is as good. Pure."""

import json

from protocol.evaluation import Evaluation
from protocol.release import Manifest, Provenance, Scores

_PURPOSE = """\
**A measurement aid, not a diagnosis.** Written from the release's signed manifest; nothing stands here that is not there.

* **For**: the share of lung volume with ground glass and consolidation on chest CT in Hounsfield units, and as the start of federated training.
* **Not for**: diagnosis, triage without a person, children, or any number whose quality flags nobody has read.
"""

_LIMITS = """\
## What it does not say

* Public phantoms tell a broken network from a working one, and not a good one from a better one.
* What sites say of held-out patients is noised; a group of few patients is not spoken of. No figure of a single site is known.
* Which hospitals took part, and how many patients they have, stands nowhere.
"""


def card_of(manifest: Manifest) -> str:
    """Return the card."""
    parts = [
        f"# Model card: {manifest.name}\n",
        _PURPOSE,
        _weights(manifest),
        _training(manifest),
        _phantoms(manifest.base_scores, manifest.scores),
        _compared(manifest.evaluation),
        *([_made_with(manifest.provenance)] if manifest.provenance is not None else []),
        _LIMITS,
    ]
    return "\n".join(parts)


def _weights(manifest: Manifest) -> str:
    return f"""\
## What it is

* Network `{manifest.architecture}`, version {manifest.version} of the lineage `{manifest.lineage}`, signed {manifest.created}.
* Weights: {manifest.weights_bytes} bytes of safetensors, SHA-256 `{manifest.weights_sha256}`.
* Begun from: {f"`{manifest.parent}`" if manifest.parent else "nothing before it"}.
"""


def _training(manifest: Manifest) -> str:
    if manifest.run_id is None:
        return "## How it was trained\n\nIn no federated run.\n"
    epsilon = "no site said" if manifest.epsilon_max is None else f"{manifest.epsilon_max:.3g} at most"
    return f"""\
## How it was trained

* Run `{manifest.run_id}`: {manifest.rounds} rounds that counted, updates of {manifest.sites} sites.
* ε of a patient, over all that was ever released of them at their site: {epsilon}.
"""


def _phantoms(start: Scores | None, now: Scores | None) -> str:
    rows = [_row(what, one) for what, one in (("the weights that it began from", start), ("this release", now)) if one]
    if not rows:
        return "## On public phantoms\n\nNot measured.\n"
    head = "| | Phantoms | Dice | Ground glass off by, points | Opacity in healthy lungs, points |\n|---|---|---|---|---|\n"
    return f"## On public phantoms\n\n{head}{''.join(rows)}"


def _row(what: str, scores: Scores) -> str:
    return f"| {what} | {scores.cases} | {scores.dice:.3f} | {scores.ggo_error_points:.2f} | {scores.false_opacity_points:.2f} |\n"


def _compared(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "## On held-out patients\n\nNo hospital has compared it with another release.\n"
    verdict = "may take its place" if evaluation.reason is None else f"refused: `{evaluation.reason.value}`"
    rows = "".join(
        f"| {one.group.value} | {one.sites} | {one.cases} | {one.change:+.3f} | {one.error:.3f} | {one.outcome.value} |\n"
        for one in evaluation.groups
    )
    return f"""\
## On held-out patients

{evaluation.sites} sites compared it with `{evaluation.present}`, at a margin of {evaluation.margin:g} Dice: {verdict}.

| Group | Sites | Patients, noised | Change in Dice | Noise in it | |
|---|---|---|---|---|---|
{rows}"""


def _made_with(provenance: Provenance) -> str:
    bundles = "".join(f"* App bundle `{one}`\n" for one in provenance.bundles)
    software = "".join(f"* {one.name} {one.version}\n" for one in provenance.software)
    plan = json.dumps(json.loads(provenance.plan), indent=2, sort_keys=True)
    return f"## What made it\n\n{bundles}{software}\nThe plan, with the number of its sites in the place of their names:\n\n```json\n{plan}\n```\n"
