"""The page of alert rules: what the caller wants to be told of, over the same functions as the JSON routes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlmodel import Session

from protocol.errors import InvalidInputError
from protocol.shape import OpaqueId
from registry_api.alerts.rules import Condition, Measure, read_values
from registry_api.alerts.service import Wishes, add_rule, condition_of, list_rules, remove_rule
from registry_api.api.access import Caller, RuntimeDep, SessionDep
from registry_api.api.alerts import Owner
from registry_api.pages.language import gettext as _
from registry_api.pages.render import page
from registry_api.pages.wording import dimension_title, value_title
from registry_api.releases.cube import DIMENSIONS
from registry_api.releases.query import may_see
from registry_api.runtime import Runtime

router = APIRouter(prefix="/alerts")

NOTHING: Mapping[str, object] = MappingProxyType(
    dict.fromkeys(("place", "of", "measure", "direction", "threshold", "target"), "")
)
"""A form that nobody has filled in."""

MEASURES: dict[Measure, Callable[[], str]] = {
    Measure.COUNT: lambda: _("number of studies"),
    Measure.CHANGE_PERCENT: lambda: _("change against the week before, in percent"),
    Measure.PERCENT_OF_MEAN: lambda: _("percent of the mean of four weeks"),
}
"""By measure; asked for when a page is made, in the language of its reader."""


@router.get("", response_class=HTMLResponse)
def read_page(runtime: RuntimeDep, session: SessionDep, caller: Owner) -> HTMLResponse:
    """Show the caller's rules, and a form for another one."""
    return _page(runtime, session, caller)


def _page(
    runtime: Runtime, session: Session, caller: Caller, *, refused: str = "", form: Mapping[str, object] = NOTHING
) -> HTMLResponse:
    """Return the page; with what was refused, and what was filled in so that nobody has to write it again."""
    try:
        document = runtime.archive.open(session, runtime.archive.entry(session))
        places = [place for place in document.places if may_see(place, caller.region)]
    except InvalidInputError:
        places = [caller.region] if caller.region else []
    allowed = runtime.settings.alerts
    return page(
        "alerts.html",
        caller=caller,
        status=422 if refused else 200,
        refused=refused,
        form=form,
        rules=[(row.id, row.target, sentence(condition_of(row))) for row in list_rules(session, caller.person_id)],
        places=places,
        measures={measure.value: say() for measure, say in MEASURES.items()},
        values={name: [(f"{name}:{one}", value_title(name, one)) for one in DIMENSIONS[name]] for name in DIMENSIONS},
        titles={name: dimension_title(name) for name in DIMENSIONS},
        mail_domains=allowed.mail_domains,
        webhook_hosts=allowed.webhook_hosts,
    )


@router.post("/add")
def create_rule(  # noqa: PLR0913, PLR0917 — the fields of a form, one by one
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Owner,
    place: Annotated[str, Form(max_length=20)],
    measure: Annotated[Measure, Form()],
    direction: Annotated[str, Form(pattern="^(above|below)$")],
    threshold: Annotated[float, Form(ge=-100, le=10**7)],
    target: Annotated[str, Form(min_length=3, max_length=500)],
    of: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Add a rule, or show the page again with what is wrong."""
    condition = Condition(
        place=place, values=read_values(of), measure=measure, threshold=threshold, above=direction == "above"
    )
    wishes = Wishes.of(runtime.settings)
    who = caller.person_id, caller.region
    try:
        add_rule(session, who, condition, target=target.strip(), wishes=wishes, now=runtime.clock())
    except InvalidInputError as error:
        form = {"place": place, "of": of, "measure": measure.value, "direction": direction, "target": target}
        return _page(runtime, session, caller, refused=str(error), form={**form, "threshold": f"{threshold:g}"})
    return RedirectResponse("/alerts", status_code=303)


@router.post("/remove")
def delete_rule(session: SessionDep, caller: Owner, rule_id: Annotated[OpaqueId, Form()]) -> RedirectResponse:
    """Remove a rule of the caller."""
    remove_rule(session, rule_id, caller.person_id)
    return RedirectResponse("/alerts", status_code=303)


def sentence(condition: Condition) -> str:
    """Return a condition as people read it."""
    of = ", ".join(value_title(name, value) for name, value in condition.values)
    sign = "≥" if condition.above else "≤"
    what = MEASURES[condition.measure]()
    return f"{condition.place}{f' ({of})' if of else ''}: {what} {sign} {condition.threshold:g}"
