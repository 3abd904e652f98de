"""Writes what came of the story: `summary.json` for programs, `report.html` for people. Both hold no identifier of a patient."""

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deploy.local.charts import agreement_chart, counts_chart, timeline_chart, training_chart

_TEMPLATE = "report.html.j2"
_PICTURES = 6


def write_summary(facts: dict[str, Any], path: Path) -> None:
    """Write `facts` as JSON, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def write_report(
    facts: dict[str, Any], path: Path, *, pictures: Sequence[tuple[str, Path]], screenshot: Path | None
) -> None:
    """Write one self-contained page: charts as SVG, pictures as PNG inside it, no address to fetch anything from.

    Args:
        facts: What `summary.json` holds, also of a story that failed part-way.
        path: Where to write.
        pictures: Overlays with their captions; the first six are shown.
        screenshot: The viewer as a browser showed it, if one was there.
    """
    page = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    page.filters["percent"] = lambda fraction: "–" if fraction is None else f"{100 * fraction:.1f} %"
    text = page.get_template(_TEMPLATE).render(
        facts=facts,
        charts=_charts(facts),
        pictures=[(caption, _inline(picture)) for caption, picture in pictures[:_PICTURES]],
        screenshot=_inline(screenshot) if screenshot and screenshot.is_file() else None,
    )
    path.write_text(text, encoding="utf-8")


def _charts(facts: dict[str, Any]) -> dict[str, str]:
    """Draw the charts for which there is anything to draw."""
    caps = {site["site"]: site["epsilon_total"] for site in facts["sites"] if site["site"] in facts["refused_sites"]}
    drawings: dict[str, tuple[object, Callable[[], str]]] = {
        "training": (facts["rounds"], lambda: training_chart(facts["rounds"], caps, facts["training_start"])),
        "agreement": (facts["cases"], lambda: agreement_chart(facts["cases"])),
        "counts": (facts["counts"].get("cells"), lambda: counts_chart(_cells(facts["counts"]))),
        "timeline": (facts["read"].get("timeline"), lambda: timeline_chart(facts["read"]["timeline"])),
    }
    return {name: draw() for name, (material, draw) in drawings.items() if material}


def _cells(counts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every cell of the counts in one list: totals and severities, of regions and of the country."""
    return [*counts["by_country"], *counts["by_region"], *counts["cells"]]


def _inline(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
