"""What a person reads in place of a cell, a value or a change: words that stand alone, without colour."""

from dataclasses import dataclass

from registry_api.pages.charts.drawing import Bar
from registry_api.pages.language import gettext as _
from registry_api.releases.comparison import Change
from registry_api.releases.disclosure import Cell, Status
from registry_api.releases.reporting import HEARD


@dataclass(frozen=True, slots=True)
class Shown:
    """A cell as a page writes it; `note` explains it."""

    text: str
    note: str
    hidden: bool


def show(cell: Cell) -> Shown:
    """Return what a person reads in place of the cell."""
    if cell.count is not None:
        return Shown(str(cell.count), "", hidden=False)
    if cell.status is Status.MASKED:
        note = _("masked: %(most)s or fewer, but not none") % {"most": (cell.bound or "").rpartition("-")[2]}
        return Shown(word(cell), note, hidden=True)
    note = _("withheld: it would say too much of one hospital or of a masked number beside it")
    return Shown(word(cell), note, hidden=True)


def word(cell: Cell) -> str:
    """Return the cell in one word."""
    if cell.count is not None:
        return str(cell.count)
    return (cell.bound or "").replace("-", "–") if cell.status is Status.MASKED else _("withheld")


def bar(label: str, cell: Cell | None) -> Bar:
    """Return the bar of a cell; None is a week that the release does not hold."""
    return Bar(label, None) if cell is None else Bar(label, cell.count, "" if cell.count is not None else word(cell))


def value_title(dimension: str, value: str) -> str:
    """Return how a value of a dimension is called; bands are called what they are."""
    if dimension == "ggo":
        return f"{value.replace('-', '–')} %"
    return _VALUES[value]() if value in _VALUES else value.replace("-", "–")


def dimension_title(dimension: str) -> str:
    """Return how a dimension is called."""
    return TITLES[dimension]()


def change_text(change: Change | None) -> str:
    """Return a change with its sign, and in percent where there is one."""
    if change is None:
        return _("not known: a number is hidden")
    percent = "" if change.percent is None else f" ({change.percent:+.0f} %)"
    return f"{change.count:+d}{percent}".replace("-", "−")


def between_text(change: Change) -> str:
    """Return what the rounding leaves open of a change."""
    bounds = {"least": f"{change.least:+d}".replace("-", "−"), "most": f"{change.most:+d}".replace("-", "−")}
    return _("the true change lies between %(least)s and %(most)s") % bounds


def quality_title(name: str) -> str:
    """Return what is said of hospitals by a word of a week's quality."""
    if name in FIELD_TITLES:
        return _("%(field)s known in nearly all records") % {"field": FIELD_TITLES[name]()}
    return _("heard from in that week or since") if name == HEARD else _("nearly all records in time")


FIELD_TITLES = {
    "age_band": lambda: _("Age"),
    "sex": lambda: _("Sex"),
    "pcr": lambda: _("PCR"),
    "care_setting": lambda: _("Care setting"),
    "rsna_class": lambda: _("RSNA class"),
    "corads": lambda: _("CO-RADS"),
}
"""By field that a record may leave unknown; asked for when a page is made, in the language of its reader."""

TITLES = {
    "severity": lambda: _("Severity (zone score)"),
    "age": lambda: _("Age"),
    "sex": lambda: _("Sex"),
    "pcr": lambda: _("PCR"),
    "rsna": lambda: _("RSNA class"),
    "ggo": lambda: _("Ground glass (% of the lungs)"),
    "unit": lambda: _("What is counted"),
}
"""By dimension of the cube; asked for when a page is made, in the language of its reader."""

_VALUES = {
    "none": lambda: _("none"),
    "mild": lambda: _("mild"),
    "moderate": lambda: _("moderate"),
    "severe": lambda: _("severe"),
    "female": lambda: _("female"),
    "male": lambda: _("male"),
    "other": lambda: _("other"),
    "unknown": lambda: _("unknown"),
    "positive": lambda: _("positive"),
    "negative": lambda: _("negative"),
    "typical": lambda: _("typical"),
    "indeterminate": lambda: _("indeterminate"),
    "atypical": lambda: _("atypical"),
    "unread": lambda: _("not read"),
    "patients": lambda: _("patients"),
}
