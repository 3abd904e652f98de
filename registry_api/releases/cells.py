"""Cells written as JSON, piece by piece: an answer has thousands, which differ in few pieces. Pure."""

import json
from collections.abc import Iterable, Mapping

from registry_api.releases.disclosure import Cell
from registry_api.releases.export import shown
from registry_api.releases.query import Categories, Run, per_100k


def cells_as_json(runs: Iterable[Run]) -> str:
    """Return the array that `export.as_json` of each cell would make, in compact JSON."""
    by_categories: dict[Categories, str] = {}
    by_cell: dict[Cell, str] = {}
    written: list[str] = []
    for run in runs:
        head = _members({"week": run.week, "region": run.place})
        rates: dict[int | None, str] = {}
        for categories, cell in zip(run.grid, run.cells, strict=True):
            values = by_categories.get(categories)
            if values is None:
                values = by_categories[categories] = _following(dict(categories))
            number = by_cell.get(cell)
            if number is None:
                number = by_cell[cell] = _following(shown(cell))
            rate = rates.get(cell.count)
            if rate is None:
                rate = rates[cell.count] = _following({"per_100k": per_100k(cell.count, run.persons)})
            written.append(f"{{{head}{values}{number}{rate}}}")
    return f"[{','.join(written)}]"


def _members(content: dict[str, object]) -> str:
    """Return what stands between the braces of an object."""
    return json.dumps(content, separators=(",", ":"))[1:-1]


def _following(content: Mapping[str, object]) -> str:
    """Return members that follow others; nothing if there are none."""
    members = _members({**content})
    return f",{members}" if members else ""
