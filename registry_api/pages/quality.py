"""A hospital's page: how its own records come, week by week, from the same figures as the JSON route."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from registry_api.api.access import RuntimeDep, SessionDep
from registry_api.api.quality import DAYS_SHOWN, WEEKS_SHOWN, Hospital, Offset, own_quality, readings_seen
from registry_api.cases.quality import FIELDS
from registry_api.pages.render import page
from registry_api.pages.wording import FIELD_TITLES

router = APIRouter()

_READINGS_SHOWN = 40


@router.get("/quality", response_class=HTMLResponse)
def read_page(runtime: RuntimeDep, session: SessionDep, caller: Hospital, offset: Offset = 0) -> HTMLResponse:
    """Show the caller's own hospital, newest week first, and the lines of the read log from `offset` on."""
    lines = readings_seen(runtime, session, caller, DAYS_SHOWN, offset=offset, limit=_READINGS_SHOWN + 1)
    quality = own_quality(runtime, session, caller, WEEKS_SHOWN)
    return page(
        "quality.html",
        caller=caller,
        last_received=quality.last_received,
        weeks=list(reversed(quality.weeks)),
        titles={name: FIELD_TITLES[name]() for name in FIELDS},
        percent=percent,
        readings=lines[:_READINGS_SHOWN],
        later=max(offset - _READINGS_SHOWN, 0) if offset else None,
        earlier=offset + _READINGS_SHOWN if len(lines) > _READINGS_SHOWN else None,
        days=DAYS_SHOWN,
    )


def percent(share: float | None) -> str:
    """Return a share as whole percents, a dash where there is none."""
    return "–" if share is None else f"{share * 100:.0f} %"
