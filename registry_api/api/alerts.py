"""Routes of alert rules: each caller has their own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, Self

from fastapi import APIRouter, FastAPI, Path
from pydantic import BaseModel, ConfigDict, Field, model_validator

from protocol.shape import OpaqueId, RegionCode
from registry_api.alerts.rules import Condition, Measure, read_values
from registry_api.alerts.service import OWNERS, Wishes, add_rule, list_rules, remove_rule
from registry_api.alerts.tables import AlertRuleRow
from registry_api.alerts.watch import Watch
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.loops import keep_on
from registry_api.people.roles import Scope
from registry_api.runtime import alert_carrier

LOOK_SECONDS = 30.0


@asynccontextmanager
async def _watching(app: FastAPI) -> AsyncIterator[None]:
    """Look for alerts for as long as the registry serves."""
    runtime = app.state.runtime
    look = partial(asyncio.to_thread, Watch(runtime, alert_carrier(runtime)).look)
    watcher = asyncio.create_task(keep_on("alerts", look, every_seconds=LOOK_SECONDS))
    yield
    watcher.cancel()


router = APIRouter(prefix="/v1/registry/alerts", lifespan=_watching)

Owner = Annotated[Caller, require(*sorted(OWNERS, reverse=True), scope=Scope.ALERTS)]


class RuleCreate(BaseModel):
    """A new rule: one cell of the newest week, a measure, and `above` or `below`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    place: RegionCode
    of: Annotated[str, Field(max_length=100, pattern=r"^([a-z]+:[a-z0-9+-]+(;[a-z]+:[a-z0-9+-]+)?)?$")] = ""
    measure: Measure = Measure.COUNT
    above: Annotated[float, Field(ge=-100, le=10**7)] | None = None
    below: Annotated[float, Field(ge=-100, le=10**7)] | None = None
    target: Annotated[str, Field(min_length=3, max_length=500)]

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("say above or below")
        if len(read_values(self.of)) != len(self.of.split(";")) - (not self.of):
            raise ValueError("of names a dimension that does not exist, or one twice")
        return self

    @property
    def condition(self) -> Condition:
        """The condition that the rule says."""
        threshold = self.above if self.above is not None else self.below
        return Condition(
            place=self.place,
            values=read_values(self.of),
            measure=self.measure,
            threshold=float(threshold or 0),
            above=self.above is not None,
        )


@router.get("")
def read_rules(session: SessionDep, caller: Owner) -> list[dict[str, Any]]:
    """Return the caller's rules."""
    return [_content(row) for row in list_rules(session, caller.person_id)]


@router.post("", status_code=201)
def create_rule(wish: RuleCreate, runtime: RuntimeDep, session: SessionDep, caller: Owner) -> dict[str, str]:
    """Add a rule; it is looked at when the next release comes."""
    wishes = Wishes.of(runtime.settings)
    person = caller.person_id, caller.region
    rule_id = add_rule(session, person, wish.condition, target=wish.target, wishes=wishes, now=runtime.clock())
    return {"id": rule_id}


@router.delete("/{rule_id}", status_code=204)
def delete_rule(rule_id: Annotated[OpaqueId, Path()], session: SessionDep, caller: Owner) -> None:
    """Remove a rule of the caller."""
    remove_rule(session, rule_id, caller.person_id)


def _content(row: AlertRuleRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "place": row.place,
        "of": row.categories,
        "measure": row.measure,
        "above" if row.above else "below": row.threshold,
        "target": row.target,
        "created_at": row.created_at.isoformat(timespec="seconds"),
    }
