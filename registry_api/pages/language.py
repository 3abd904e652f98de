"""In which language a page is: gettext catalogues beside the templates, the reader's choice by cookie, else what their browser prefers."""

import gettext as catalogues
from contextvars import ContextVar
from functools import cache
from pathlib import Path

DOMAIN = "registry"
FOLDER = Path(__file__).parent / "locale"
COOKIE = "acinus-language"
LANGUAGES = {"en": "English", "fr": "Français"}
"""By ISO 639-1 code. The messages themselves are English; every other one has its catalogue in `FOLDER`."""

_DEFAULT = "en"
_current: ContextVar[str] = ContextVar("language", default=_DEFAULT)


def speak(code: str) -> None:
    """Set the language of the request that is being answered."""
    _current.set(code if code in LANGUAGES else _DEFAULT)


def spoken() -> str:
    """Return the language of the request that is being answered."""
    return _current.get()


def chosen(cookie: str | None, accept: str) -> str:
    """Return the language that a reader chose, or the one of ours that their browser likes best (RFC 9110 section 12.5.4)."""
    if cookie in LANGUAGES:
        return str(cookie)
    wishes = sorted((_wish(one) for one in accept.split(",")), key=lambda wish: -wish[1])
    return next((code for code, weight in wishes if code in LANGUAGES and weight > 0), _DEFAULT)


def _wish(text: str) -> tuple[str, float]:
    """Return language and weight of `fr-CH;q=0.8`; what cannot be read weighs nothing."""
    tag, _, parameter = text.strip().partition(";")
    weight = parameter.strip().removeprefix("q=")
    try:
        return tag.partition("-")[0].lower(), float(weight) if weight else 1.0
    except ValueError:
        return "", 0.0


def gettext(message: str) -> str:
    """Return the message in the language of the request."""
    return _catalogue(spoken()).gettext(message)


def ngettext(one: str, many: str, count: int) -> str:
    """Return the message for `count` things in the language of the request."""
    return _catalogue(spoken()).ngettext(one, many, count)


@cache
def _catalogue(code: str) -> catalogues.NullTranslations:
    return catalogues.translation(DOMAIN, FOLDER, [code], fallback=code == _DEFAULT)
