"""What every chart is drawn with: shapes with their looks as attributes, so that the same SVG stands in a page, in a file and in a picture."""

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

INK, FAINT, GRID = "#14292c", "#3c5356", "#b9cac8"
BRAND, SECOND = "#0b5d66", "#b4632d"
"""The two colours of bars differ in lightness too, for eyes and printers that see no hue."""

_HATCH = (
    '<defs><pattern id="{id}" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="7" height="7" fill="#fdf3df"/><line x1="0" y1="0" x2="0" y2="7" stroke="#d9a441" stroke-width="2"/>'
    "</pattern></defs>"
)
_GRID_STEPS = (5, 10, 20, 25, 50, 100, 200, 250, 500)
_LINES_MAX = 5


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: a published number, or None with the word that says why; None without a word is a gap.

    `word` is also what stands at the bar, if there is one.
    """

    label: str
    count: int | None
    word: str = ""

    @property
    def says(self) -> str:
        """What a person reads of it."""
        return self.word or ("" if self.count is None else str(self.count))


class Drawing:
    """A picture that grows shape by shape. Lengths are units of its own width and height; the page scales it."""

    def __init__(self, name: str, *, width: int, height: int, title: str, spoken: Iterable[str]) -> None:
        """Begin with the words: `title` and `spoken` are what a screen reader says."""
        self.width, self.height = width, height
        self._hatch = f"{name}-hatch"
        self._parts = [_HATCH.format(id=self._hatch)]
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" role="img" '
            f'aria-labelledby="{name}-title {name}-text" font-family="system-ui, Liberation Sans, sans-serif" font-size="12">'
            f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-text">{escape("; ".join(spoken))}</desc>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Add a line of the grid."""
        self._parts.append(
            f'<line class="axis" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{GRID}"/>'
        )

    def text(self, x: float, y: float, words: str, *, anchor: str = "middle", bold: bool = False) -> None:
        """Add words; `anchor` is start, middle or end."""
        weight = ' font-weight="650"' if bold else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{FAINT}"{weight}>{escape(words)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, *, hidden: bool, colour: str = BRAND) -> None:
        """Add a bar, hatched if its number is hidden."""
        looks = f'fill="url(#{self._hatch})" stroke="#b07d1b" stroke-dasharray="4 3"' if hidden else f'fill="{colour}"'
        kind = "hidden" if hidden else "bar"
        size = f'width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
        self._parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" {size} {looks}/>')

    def done(self) -> Markup:
        """Return the picture."""
        return Markup("".join([self._head, *self._parts, "</svg>"]))  # noqa: S704 — every text in it was escaped; the rest are our own numbers


def spoken_of(bars: Iterable[Bar]) -> list[str]:
    """Return the bars in words."""
    return [f"{bar.label}: {bar.says or '–'}" for bar in bars]


def grid_step(top: int) -> int:
    """Return the distance of grid lines: the first one that needs few enough."""
    return next((step for step in _GRID_STEPS if top / step <= _LINES_MAX), -(-top // _LINES_MAX))


def ceiling_of(bars: Iterable[Bar]) -> int:
    """Return the greatest number of the scale: a grid line at or above the highest bar."""
    top = max((bar.count or 0 for bar in bars), default=0)
    step = grid_step(top)
    return max(step, -(-top // step) * step)
