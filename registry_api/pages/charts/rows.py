"""Lying bars below one another: a number for each of some places or values. Narrow enough for a phone."""

from collections.abc import Sequence

from markupsafe import Markup

from registry_api.pages.charts.drawing import Bar, Drawing, ceiling_of, spoken_of

_WIDTH, _ROW, _EDGE = 420, 30, 6
_LEFT, _RIGHT = 128, 92
_HIDDEN_SHARE = 0.12


def rows(name: str, bars: Sequence[Bar], *, title: str) -> Markup:
    """Return the chart: labels to the left, numbers at the ends of the bars."""
    drawing = Drawing(
        name, width=_WIDTH, height=len(bars) * _ROW + 2 * _EDGE, title=title, spoken=spoken_of(bars)
    )  # fmt: skip
    ceiling, room = ceiling_of(bars), _WIDTH - _LEFT - _RIGHT
    drawing.line(_LEFT, _EDGE, _LEFT, drawing.height - _EDGE)
    for index, bar in enumerate(bars):
        middle = _EDGE + (index + 0.5) * _ROW
        length = room * (_HIDDEN_SHARE if bar.count is None else bar.count / ceiling)
        drawing.text(_LEFT - 8, middle + 4, bar.label, anchor="end")
        drawing.box(_LEFT, middle - 9, length, 18, hidden=bar.count is None)
        drawing.text(_LEFT + length + 6, middle + 4, bar.says, anchor="start")
    return drawing.done()
