"""A week that is published again keeps its numbers until they are wrong by more than a step of the grid. Pure and total.

    a cell without a number, zero, or never shown before     → as the rule has it
    its number is one step of the grid or less from before    → the number of before
    else                                                      → the new number

Of the true counts nothing comes in here, but what `disclosure.protect` would publish and what was published. So all versions of a
week together are a function of what they would be without this, and tell nobody more. And they tell less: a number that
moves has moved by two steps, so by more than `rounding` studies. A single study that came or went shows in no version.
"""

from collections.abc import Mapping
from dataclasses import replace

from registry_api.releases.disclosure import Cell, Key, Rule


def steady(cells: Mapping[Key, Cell], before: Mapping[Key, Cell], rule: Rule) -> dict[Key, Cell]:
    """Return the cells of a week as its next version shows them.

    Args:
        cells: What the rule makes of the week now.
        before: The cells of the version before; one that is not among them was zero.
        rule: The thresholds that both went through.
    """
    return {key: _kept(cell, _shown_last(before.get(key)), rule) for key, cell in cells.items()}


def _shown_last(cell: Cell | None) -> int | None:
    """Return the last number that any version showed of a cell: other hidden cells come and go, and must not make it move."""
    if cell is None:
        return None
    return cell.earlier if cell.count is None else cell.count


def _kept(cell: Cell, last: int | None, rule: Rule) -> Cell:
    if not last:
        return cell
    if cell.count is None:
        return replace(cell, earlier=last)
    near = cell.count != 0 and abs(cell.count - last) <= rule.rounding
    return replace(cell, count=last) if near else cell
