"""How a release came about: the plan of its run, the bundles that sites were asked with, and what runs at the centre."""

import platform
from importlib.metadata import PackageNotFoundError, version

from protocol.plan import RunPlan
from protocol.release import PlanText, Provenance, Software
from protocol.shape import Sha256, canonical_json
from server.run import RunFolder
from strategies.arrays import arrays_sha256

_NAMED = ("acinus", "flwr", "numpy", "safetensors", "torch")
"""What the numbers of a run pass through at the centre."""


def provenance_of(folder: RunFolder) -> Provenance:
    """Return what a run's folder and this installation say.

    Raises:
        InvalidInputError: `bad-shape` if a file of the run is damaged.
    """
    return Provenance(
        plan=plan_text(folder.plan()), bundles=folder.bundles(), software=installed(), weights=weights_of_rounds(folder),
    )  # fmt: skip


def weights_of_rounds(folder: RunFolder) -> tuple[Sha256, ...]:
    """Return what each round began from: the first from the base release, each other one from what the round before it left."""
    after = [record.weights_sha256 for record in folder.records()]
    return (arrays_sha256(folder.weights(0)), *after)[: len(after)]


def plan_text(plan: RunPlan) -> PlanText:
    """Return the plan as it is published: a release goes to every node, and who took part in a run is nobody's business there."""
    content = plan.model_dump(mode="json")
    return canonical_json({**content, "sites": len(set(plan.sites))}).decode()


def installed() -> tuple[Software, ...]:
    """Return the versions of what is installed here, by name."""
    found = [Software(name="python", version=platform.python_version())]
    for name in _NAMED:
        try:
            found.append(Software(name=name, version=version(name)))
        except PackageNotFoundError:  # a centre without the extra `centre` has no torch
            continue
    return tuple(sorted(found, key=lambda one: one.name))
