"""Draws what training has cost over time: ε after each charge as a step, and the site's own limit above it. SVG, no script."""

from collections.abc import Sequence

from markupsafe import Markup

_WIDTH, _HEIGHT = 720, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 16, 26
_LINES = 4


def curve(course: Sequence[float], *, limit: float) -> Markup:
    """Return the chart; empty without a charge.

    Args:
        course: ε after each charge, ascending.
        limit: What the policy allows altogether.
    """
    if not course:
        return Markup()
    ceiling = max(limit, course[-1]) * 1.08
    spoken = f"ε rose to {course[-1]:.2f} over {len(course)} charges; the limit is {limit:g}"
    parts = [
        f'<svg class="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{spoken}">',
        *(_grid_line(ceiling * line / _LINES, ceiling) for line in range(_LINES + 1)),
        f'<path class="spent" d="{_steps(course, ceiling)}"/>',
        f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(limit, ceiling)}" y2="{_y(limit, ceiling)}"/>',
        f'<text class="limit" x="{_WIDTH - _RIGHT}" y="{_y(limit, ceiling) - 5}" text-anchor="end">limit {limit:g}</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">charge 1</text>',
        *_last_mark(len(course)),
        "</svg>",
    ]
    return Markup("".join(parts))  # noqa: S704 - nothing but our own numbers is in it


def _last_mark(charges: int) -> list[str]:
    """Number the last charge, if it is not the first."""
    mark = f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">charge {charges}</text>'
    return [mark] if charges > 1 else []


def _steps(course: Sequence[float], ceiling: float) -> str:
    """Start at nothing and rise at each charge."""
    width = (_WIDTH - _LEFT - _RIGHT) / len(course)
    path, x = [f"M {_LEFT} {_y(0.0, ceiling)}"], float(_LEFT)
    for epsilon in course:
        x += width
        path.append(f"V {_y(epsilon, ceiling)} H {x:.1f}")
    return " ".join(path)


def _grid_line(at: float, ceiling: float) -> str:
    y = _y(at, ceiling)
    return (
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{at:.1f}</text>'
    )


def _y(epsilon: float, ceiling: float) -> float:
    return round(_HEIGHT - _BOTTOM - epsilon / ceiling * (_HEIGHT - _TOP - _BOTTOM), 1)
