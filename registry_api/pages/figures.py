"""The figures of the ministry's page, each a chart and the table of the same cells. From a release only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from registry_api.pages.charts.columns import columns
from registry_api.pages.charts.drawing import Bar
from registry_api.pages.charts.pyramid import pyramid
from registry_api.pages.charts.rows import rows
from registry_api.pages.language import gettext as _
from registry_api.pages.wording import bar, dimension_title, value_title, word
from registry_api.releases.cube import DIMENSIONS, is_country
from registry_api.releases.disclosure import Cell
from registry_api.releases.distribution import share_of
from registry_api.releases.document import Document


@dataclass(frozen=True, slots=True)
class View:
    """What a page looks at: one place, one week and the weeks before it, of one release. `places` are all that its reader may see."""

    document: Document
    places: Sequence[str]
    place: str
    week: str
    weeks: Sequence[str]

    def cell(self, *categories: tuple[str, str], place: str = "", week: str = "") -> Cell | None:
        """Return a cell of this place and week, or of others; None of a week that the release does not hold."""
        table = self.document.weeks.get(week or self.week)
        return table.cell(place or self.place, categories) if table else None

    def bar(self, label: str, cell: Cell | None) -> Bar:
        """Return the bar of a cell."""
        return bar(label, cell)

    def name(self, place: str) -> str:
        """Return what a place is called, its code where the release names none."""
        unit = self.document.units.get(place)
        return unit.name if unit and unit.name else place


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart, and its numbers as a table for whoever cannot or will not look at it."""

    name: str
    title: str
    chart: Markup
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def trend(view: View) -> Figure:
    """Return the studies of each week."""
    title = _("Studies per week, %(place)s") % {"place": view.name(view.place)}
    bars = [view.bar(week[5:], view.cell(week=week)) for week in view.weeks]
    table = [(week, one.says or "–") for week, one in zip(view.weeks, bars, strict=True)]
    note = _("A hatched box is a number that is hidden; its size says nothing. A gap is a week of which nothing came.")
    return Figure("trend", title, columns("trend", bars, title=title), (_("Week"), _("Studies")), table, note)


def regions(view: View) -> Figure | None:
    """Return the studies of the week by region; None where the reader sees fewer than two."""
    shown = [place for place in view.places if not is_country(place)]
    if len(shown) < 2:  # noqa: PLR2004 — a comparison needs two
        return None
    title = _("Regions in week %(week)s") % {"week": view.week[5:]}
    bars = [view.bar(view.name(place), view.cell(place=place)) for place in shown]
    table = [(place, one.label, one.says, _rate(view, place)) for place, one in zip(shown, bars, strict=True)]
    head = (_("Code"), _("Region"), _("Studies"), _("per 100,000 people"))
    return Figure("regions", title, rows("regions", bars, title=title), head, table)


def _rate(view: View, place: str) -> str:
    cell, persons = view.cell(place=place), view.document.persons(place, view.week)
    if cell is None or cell.count is None or persons is None:
        return "–"
    return f"{cell.count * 100_000 / persons:.1f}"


def ages(view: View) -> Figure:
    """Return the pyramid of age and sex. Other and unknown sexes stand in the table only."""
    title = _("Age and sex in week %(week)s") % {"week": view.week[5:]}
    bands, sexes = [*reversed(DIMENSIONS["age"][:-1]), DIMENSIONS["age"][-1]], DIMENSIONS["sex"]  # unknown stands below
    bars = {
        sex: [view.bar(value_title("age", band), view.cell(("age", band), ("sex", sex))) for band in bands]
        for sex in sexes
    }
    women, men = bars["female"], bars["male"]
    chart = pyramid("ages", women, men, title=title, sides=(value_title("sex", "female"), value_title("sex", "male")))
    table = [
        (value_title("age", band), *(bars[sex][index].says or "–" for sex in sexes)) for index, band in enumerate(bands)
    ]
    head = (dimension_title("age"), *(value_title("sex", sex) for sex in sexes))
    return Figure("ages", title, chart, head, table)


def severity(view: View) -> Figure:
    """Return the mix of severities."""
    return _mix(view, "severity", _("Severity in week %(week)s"))


def ground_glass(view: View) -> Figure | None:
    """Return how much of the lungs is ground glass; None of a release that does not say."""
    if "ggo" not in view.document.dimensions:
        return None
    return _mix(view, "ggo", _("Share of the lungs with ground glass, week %(week)s"))


def _mix(view: View, dimension: str, title: str) -> Figure:
    title = title % {"week": view.week[5:]}
    whole = view.cell()
    found = [(value, view.cell((dimension, value))) for value in DIMENSIONS[dimension]]
    shares = [share_of(cell, whole) if cell and whole else None for _value, cell in found]
    bars = [
        _with_share(view.bar(value_title(dimension, value), cell), share)
        for (value, cell), share in zip(found, shares, strict=True)
    ]
    table = [
        (one.label, word(cell) if cell else "–", "–" if share is None else f"{share:.0f} %")
        for one, (_value, cell), share in zip(bars, found, shares, strict=True)
    ]
    head = (dimension_title(dimension), _("Studies"), _("of all"))
    return Figure(dimension, title, rows(dimension, bars, title=title), head, table)


def _with_share(one: Bar, share: float | None) -> Bar:
    return one if share is None or one.count is None else Bar(one.label, one.count, f"{one.count} · {share:.0f} %")


def completeness(view: View) -> Figure:
    """Return how many hospitals sent, of how many that were expected to, week by week."""
    title = _("Hospitals that sent, %(place)s") % {"place": view.name(view.place)}
    sent = [_sent(view, week) for week in view.weeks]
    bars = [
        Bar(week[5:], one and one[0], f"{one[0]}/{one[1]}" if one else "")
        for week, one in zip(view.weeks, sent, strict=True)
    ]
    ceiling = max((one[1] for one in sent if one), default=1)
    table = [
        (week, str(one[0]), str(one[1])) if one else (week, "–", "–")
        for week, one in zip(view.weeks, sent, strict=True)
    ]
    chart = columns("completeness", bars, title=title, ceiling=ceiling)
    note = _("Sent: at least one record of that week. No hospital is named.")
    return Figure("completeness", title, chart, (_("Week"), _("sent"), _("expected")), table, note)


def _sent(view: View, week: str) -> tuple[int, int] | None:
    table = view.document.weeks.get(week)
    return table.reporting.get(view.place) if table else None


FIGURES: dict[str, Callable[[View], Figure | None]] = {
    "trend": trend,
    "regions": regions,
    "severity": severity,
    "ggo": ground_glass,
    "ages": ages,
    "completeness": completeness,
}
"""By name, in the order of the page."""
