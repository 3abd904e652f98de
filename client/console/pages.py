"""Renders the staff pages. No script runs on them; everything shown is escaped."""

from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from client.console.ward import Ward

STATIC = Path(__file__).with_name("static")

_templates = Environment(
    loader=PackageLoader("client.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, ward: Ward, *, status: int = 200, **content: Any) -> HTMLResponse:
    """Return a page."""
    text = _templates.get_template(template).render(name=ward.name, **{"csrf": "", "here": "", **content})
    return HTMLResponse(text, status_code=status)
