"""Step 7: the coordinator builds a release of counts, and the ministry reads it: protected numbers, masks marked."""

from collections.abc import Sequence
from typing import Any

from deploy.local.scene import Scene

_SMALLEST = 10
_ROUNDING = 5


def play(scene: Scene) -> None:
    """Build a release and ask for counts by week, region and severity.

    Raises:
        StepFailed: If a number is shown that the disclosure rule hides, or if nothing can be shown at all.
    """
    registry = scene.centre.registry
    scene.keys["ministry"] = str(
        registry.json("people", "add", "Ministry of Health", "--role", "ministry", "--region", "XA")["api_key"]
    )
    release = registry.json("release", "build")
    by_severity = _ask(scene, by="week,region,severity")
    by_region = _ask(scene, by="week,region")
    by_country = [*_ask(scene, by="week"), *_ask(scene, by="week,severity")]
    _check_protected(scene, [*by_severity, *by_region, *by_country])
    shown = [cell for cell in by_region if cell["count"] is not None]
    scene.check(shown, "the busy weeks of a region with two hospitals are published")
    scene.check(any(cell["count"] is None for cell in by_severity), "small cells are masked, and marked as such")
    cells = [*by_severity, *by_region, *by_country]
    published = sum(cell["count"] is not None for cell in cells)
    scene.facts["counts"] = {
        "release": release.get("release", release.get("number")),
        "cells": by_severity,
        "by_region": by_region,
        "by_country": by_country,
        "published": published,
        "masked": len(cells) - published,
    }


def _ask(scene: Scene, *, by: str) -> list[dict[str, Any]]:
    """Return the cells of one table, each with its dimensions and its count, `None` where masked."""
    with scene.centre.client(scene.keys["ministry"]) as client:
        answer = client.get("/v1/registry/counts", params={"by": by})
    scene.check(answer.status_code == 200, f"the ministry gets counts by {by.replace(',', ', ')}")
    cells: list[dict[str, Any]] = answer.json()["cells"]
    return cells


def _check_protected(scene: Scene, cells: Sequence[dict[str, Any]]) -> None:
    """No number of 1 to 10 and none that is not rounded; a masked cell has no number at all."""
    numbers = [cell["count"] for cell in cells if cell["count"] is not None]
    scene.check(all(number == 0 or number >= _SMALLEST for number in numbers), "no count of 1 to 10 is shown")
    scene.check(all(number % _ROUNDING == 0 for number in numbers), "every count shown is a multiple of 5")
