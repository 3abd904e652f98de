"""Fills the templates. Everything is escaped; the only markup that passes unescaped is what our own chart module drew."""

from pathlib import Path
from typing import Any, cast

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from registry_api.api.access import Caller
from registry_api.pages.language import LANGUAGES, gettext, ngettext, spoken

_FOLDER = Path(__file__).parent
STATIC = _FOLDER / "static"

_templates = Environment(
    loader=PackageLoader("registry_api.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=["jinja2.ext.i18n"],
)
cast("Any", _templates).install_gettext_callables(gettext, ngettext, newstyle=True)


def page(template: str, *, caller: Caller | None, status: int = 200, **content: Any) -> HTMLResponse:
    """Return a page. `caller` fills the head of the page and the form token; None is somebody not logged in."""
    spoken_in = {"language": spoken(), "languages": LANGUAGES}
    text = _templates.get_template(template).render(caller=caller, **spoken_in, **content)
    return HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})


def error_page(code: str, status: int, detail: str) -> HTMLResponse:
    """Return the page that says what went wrong and what to do."""
    return page("error.html", caller=None, status=status, code=code, detail=detail)
