"""Two rows of lying bars back to back: age bands of women and men."""

from collections.abc import Sequence

from markupsafe import Markup

from registry_api.pages.charts.drawing import BRAND, SECOND, Bar, Drawing, ceiling_of

_WIDTH, _ROW, _HEAD, _EDGE = 420, 28, 24, 6
_MIDDLE, _LABELS, _WORDS = 210, 62, 50
_HIDDEN_SHARE = 0.12


def pyramid(name: str, left: Sequence[Bar], right: Sequence[Bar], *, title: str, sides: tuple[str, str]) -> Markup:
    """Return the chart.

    Args:
        name: Of the chart within its page.
        left: The bars to the left, oldest first.
        right: Those to the right, with the same labels.
        title: What it shows.
        sides: What stands over either side.
    """
    pairs = list(zip(left, right, strict=True))
    spoken = [f"{one.label}: {sides[0]} {one.says}, {sides[1]} {two.says}" for one, two in pairs]
    drawing = Drawing(name, width=_WIDTH, height=_HEAD + len(pairs) * _ROW + _EDGE, title=title, spoken=spoken)
    room = _MIDDLE - _LABELS / 2 - _WORDS
    scale = room / ceiling_of([*left, *right])
    drawing.text(_MIDDLE - _LABELS / 2 - 4, 15, sides[0], anchor="end", bold=True)
    drawing.text(_MIDDLE + _LABELS / 2 + 4, 15, sides[1], anchor="start", bold=True)
    for index, (one, two) in enumerate(pairs):
        top = _HEAD + index * _ROW
        drawing.text(_MIDDLE, top + 16, one.label)
        _side(drawing, one, top, length=_length(one, scale, room), leftward=True)
        _side(drawing, two, top, length=_length(two, scale, room), leftward=False)
    return drawing.done()


def _length(bar: Bar, scale: float, room: float) -> float:
    return room * _HIDDEN_SHARE if bar.count is None else bar.count * scale


def _side(drawing: Drawing, bar: Bar, top: float, *, length: float, leftward: bool) -> None:
    inner = _MIDDLE - _LABELS / 2 if leftward else _MIDDLE + _LABELS / 2
    start, end = (inner - length, inner - length - 5) if leftward else (inner, inner + length + 5)
    drawing.box(start, top + 3, length, 18, hidden=bar.count is None, colour=BRAND if leftward else SECOND)
    drawing.text(end, top + 16, bar.says, anchor="end" if leftward else "start")
