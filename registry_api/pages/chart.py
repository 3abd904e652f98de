"""A bar chart as SVG, drawn here. Hidden numbers are hatched boxes of one fixed height with a word, so that neither height nor colour tells more."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 720, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 18, 40
_GRID_STEPS = (5, 10, 20, 25, 50, 100, 200, 250, 500)
_LINES_MAX = 5
_HIDDEN_SHARE = 0.12


_HATCH = (
    '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="7" height="7" fill="#fdf3df"/>'
    '<line x1="0" y1="0" x2="0" y2="7" stroke="#d9a441" stroke-width="2"/></pattern></defs>'
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: a published number, or None with the word that says why."""

    label: str
    count: int | None
    word: str = ""


def bar_chart(bars: Sequence[Bar], *, title: str) -> Markup:
    """Return the chart; `title` and a list of all values are its text for screen readers."""
    top = max((bar.count or 0 for bar in bars), default=0)
    step = _grid_step(top)
    ceiling = max(step, -(-top // step) * step)
    spoken = "; ".join(f"{bar.label}: {bar.word if bar.count is None else bar.count}" for bar in bars)
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="chart-title chart-text">',
        f'<title id="chart-title">{escape(title)}</title><desc id="chart-text">{escape(spoken)}</desc>',
        _HATCH,
        *_grid(ceiling, step),
        *(_bar(bar, index, len(bars), ceiling) for index, bar in enumerate(bars)),
        "</svg>",
    ]
    return Markup("".join(parts))  # noqa: S704 — every text in it is escaped above or below; the rest are our own numbers


def _grid_step(top: int) -> int:
    """The first step that needs few enough lines."""
    return next((step for step in _GRID_STEPS if top / step <= _LINES_MAX), -(-top // _LINES_MAX))


def _y(count: float, ceiling: int) -> float:
    return _HEIGHT - _BOTTOM - count / ceiling * (_HEIGHT - _TOP - _BOTTOM)


def _grid(ceiling: int, step: int) -> list[str]:
    return [
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(at, ceiling):.1f}" y2="{_y(at, ceiling):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(at, ceiling) + 4:.1f}" text-anchor="end">{at}</text>'
        for at in range(0, ceiling + 1, step)
    ]


def _bar(bar: Bar, index: int, bars: int, ceiling: int) -> str:
    pitch = (_WIDTH - _LEFT - _RIGHT) / bars
    width = min(pitch * 0.72, 70)
    left = _LEFT + index * pitch + (pitch - width) / 2
    middle = left + width / 2
    hidden = bar.count is None
    top = _y(ceiling * _HIDDEN_SHARE if bar.count is None else bar.count, ceiling)
    base = _y(0, ceiling)
    word = bar.word if hidden else str(bar.count)
    return (
        f'<rect class="{"hidden" if hidden else "bar"}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{max(base - top, 0):.1f}"/>'
        f'<text x="{middle:.1f}" y="{top - 5:.1f}" text-anchor="middle">{escape(word)}</text>'
        f'<text x="{middle:.1f}" y="{_HEIGHT - 20}" text-anchor="middle">{escape(bar.label)}</text>'
    )
