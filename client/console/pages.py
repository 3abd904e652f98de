"""Renders the staff pages. No script runs on them; everything shown is escaped."""

from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from client.console.rights import may
from client.console.ward import Ward
from client.staff.sessions import Visitor

STATIC = Path(__file__).with_name("static")

_templates = Environment(
    loader=PackageLoader("client.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(
    template: str, ward: Ward, *, visitor: Visitor | None = None, status: int = 200, **content: Any
) -> HTMLResponse:
    """Return a page.

    Args:
        template: Its name.
        ward: What the pages work with.
        visitor: Who looks at it; forms and links show only what they may do.
        status: Of the answer.
        content: What the template shows.
    """
    roles = visitor.roles if visitor is not None else frozenset()
    known = {
        "name": ward.name, "csrf": visitor.csrf if visitor is not None else "", "visitor": visitor, "here": "",
        "may": lambda method, route: may(roles, method, route),
    }  # fmt: skip
    return HTMLResponse(_templates.get_template(template).render(**{**known, **content}), status_code=status)
