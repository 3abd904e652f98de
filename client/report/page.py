"""The report as one page of HTML for a person: the picture, the numbers, bars for six zones, what was before. No identifier, no date.

One file that loads nothing: it opens from a folder, prints on one sheet of A4, and runs no script.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from client.report.concepts import BANNER

Document = Mapping[str, Any]
"""The answer of `docs/reference/quantify.md`."""

MOST_EARLIER = 4
"""Rows of earlier scans; with more the page would not fit on one sheet."""

_SIDES, _THIRDS = ("right", "left"), ("upper", "middle", "lower")
_DAYS_IN_WEEK, _WEEKS_FROM_DAYS = 7, 21

_templates = Environment(
    loader=PackageLoader("client.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier scan of the same patient: how many days before this one, and what was measured of it."""

    days_before: int
    document: Document


def make_page(document: Document, picture: bytes, *, software: str, earlier: Sequence[Earlier] = ()) -> bytes:
    """Return the page, UTF-8.

    Args:
        document: The measurement.
        picture: PNG, as `client.report.picture` draws it.
        software: Version of this program.
        earlier: The patient's earlier scans, the latest first.
    """
    litres = {side: f"{document['per_lung'][side]['lung_volume_ml'] / 1000:.2f}" for side in _SIDES}
    text = _templates.get_template("page.html").render(
        banner=BANNER,
        picture=base64.b64encode(picture).decode("ascii"),
        now=_shown(document),
        right_l=litres["right"],
        left_l=litres["left"],
        sides=[_side(document, name) for name in _SIDES],
        earlier=[
            {"when": when(one.days_before), "was": _shown(one.document), "change": change(one.document, document)}
            for one in earlier[:MOST_EARLIER]
        ],
        flags=[flag.replace("-", " ") for flag in document["quality"]],
        release=document["model_release"],
        software=software,
    )
    return text.encode()


def when(days: int) -> str:
    """Return a distance in time as people say it: days for three weeks, then weeks."""
    if days < _WEEKS_FROM_DAYS:
        return f"{days} day{'' if days == 1 else 's'}"
    return f"{round(days / _DAYS_IN_WEEK)} weeks"


def change(before: Document, now: Document) -> str:
    """Return how the opacity has changed, in percentage points, and what stands against reading it as a change.

    Two releases of the network are two rulers; and where each share lies within the other's interval, they may be one and the same.
    """
    points = 100 * (now["opacity_fraction"] - before["opacity_fraction"])
    said = f"opacity {points:+.1f} points"
    if _holds(before["opacity_interval"], now) and _holds(now["opacity_interval"], before):
        said += ", within both ranges"
    if now["model_release"] != before["model_release"]:
        said += f"; then by {before['model_release']}, not strictly comparable"
    return said


def _holds(interval: list[float], document: Document) -> bool:
    return bool(interval[0] <= document["opacity_fraction"] <= interval[1])


def _shown(document: Document) -> dict[str, Any]:
    low, high = document["opacity_interval"]
    return {
        "ggo": _percent(document["ggo_fraction"]),
        "dense": _percent(document["consolidation_fraction"]),
        "opacity": _percent(document["opacity_fraction"]),
        "low": _percent(low),
        "high": _percent(high),
        "litres": f"{document['lung_volume_ml'] / 1000:.2f}",
        "score": document["severity"]["score"],
        "band": document["severity"]["band"],
    }


def _side(document: Document, side: str) -> dict[str, Any]:
    zones = document["per_zone"][side]
    return {
        "name": side.capitalize(),
        "zones": [
            {
                "name": third,
                "ggo": _percent(zones[third]["ggo_fraction"]),
                "dense": _percent(zones[third]["consolidation_fraction"]),
                "opacity": _percent(zones[third]["opacity_fraction"]),
            }
            for third in _THIRDS
        ],
    }


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"
