"""Upright bars side by side: a number for each of some weeks."""

from collections.abc import Sequence

from markupsafe import Markup

from registry_api.pages.charts.drawing import Bar, Drawing, ceiling_of, grid_step, spoken_of

_WIDTH, _HEIGHT = 720, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 18, 28
_HIDDEN_SHARE = 0.12
_WORDS_MAX = 14
"""With more bars than that, words at them would run into each other: numbers go, hidden boxes speak for themselves, and labels thin out."""


def columns(name: str, bars: Sequence[Bar], *, title: str, ceiling: int | None = None) -> Markup:
    """Return the chart.

    Args:
        name: Of the chart within its page.
        bars: In the order of time.
        title: What it shows.
        ceiling: The end of the scale, if it is fixed.
    """
    drawing = Drawing(name, width=_WIDTH, height=_HEIGHT, title=title, spoken=spoken_of(bars))
    top = ceiling or ceiling_of(bars)
    for at in range(0, top + 1, grid_step(top)):
        drawing.line(_LEFT, _y(at, top), _WIDTH - _RIGHT, _y(at, top))
        drawing.text(_LEFT - 6, _y(at, top) + 4, str(at), anchor="end")
    for index, bar in enumerate(bars):
        _bar(drawing, bar, index, len(bars), top)
    return drawing.done()


def _y(count: float, ceiling: int) -> float:
    return _HEIGHT - _BOTTOM - count / ceiling * (_HEIGHT - _TOP - _BOTTOM)


def _bar(drawing: Drawing, bar: Bar, index: int, bars: int, ceiling: int) -> None:
    pitch = (_WIDTH - _LEFT - _RIGHT) / bars
    width = min(pitch * 0.72, 70)
    left = _LEFT + index * pitch + (pitch - width) / 2
    top = _y(ceiling * _HIDDEN_SHARE if bar.count is None else bar.count, ceiling)
    crowded = bars > _WORDS_MAX
    if bar.count is not None or bar.word:
        drawing.box(left, top, width, _y(0, ceiling) - top, hidden=bar.count is None)
    if not crowded:
        drawing.text(left + width / 2, top - 5, bar.says)
    if not crowded or (bars - 1 - index) % 4 == 0:
        drawing.text(left + width / 2, _HEIGHT - 8, bar.label)
