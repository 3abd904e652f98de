"""Puts the HTTPS application together."""

from functools import cache

from fastapi import APIRouter, FastAPI
from starlette.staticfiles import StaticFiles

from registry_api.api import (
    alerts,
    counts,
    enrolment,
    events,
    exports,
    facade,
    models,
    problems,
    public,
    quality,
    readers,
    reads,
    reviews,
)
from registry_api.api.errand import threads
from registry_api.api.gate import Gate
from registry_api.api.quick import Quick
from registry_api.api.rim import Rim
from registry_api.pages import alerts as alerts_page
from registry_api.pages import availability, entrance, statistics, worklist
from registry_api.pages import counts as counts_page
from registry_api.pages import quality as quality_page
from registry_api.pages.render import STATIC
from registry_api.runtime import Runtime

_AREAS = (
    reviews,  # before the reads: no request is called `statistics`
    reads,  # among the first: routes are tried in this order, and readers' programs ask all day
    enrolment,
    models,
    counts,
    exports,
    public,
    alerts,
    quality,
    readers,
    events,
    facade,
    entrance,
    counts_page,
    alerts_page,
    quality_page,
    worklist,
    availability,
    statistics,
)


def create_app(runtime: Runtime) -> FastAPI:
    """Return the application that serves `runtime`."""
    table = _table()
    app = FastAPI(
        title="Acinus registry",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        routes=[*table.routes],
        lifespan=table.lifespan_context,
    )
    app.state.runtime = runtime
    app.state.gate = Gate(single_writer=runtime.database.single_writer)
    app.state.threads = threads()
    problems.install(app)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Rim, runtime=runtime)
    app.add_middleware(Quick, runtime=runtime)
    return app


@cache
def _table() -> APIRouter:
    """Return routes and what goes on beside them. FastAPI works them out at the first request, once for all applications of a process."""
    table = APIRouter(responses=problems.DOCUMENTED)
    for area in _AREAS:
        table.include_router(area.router)
    return table
