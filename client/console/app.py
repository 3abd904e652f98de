"""The staff page as an application: all routes, each with its line in the table of rights.

Every route is a coroutine, so that all of them run in the event loop's thread, on that thread's database connections.
"""

from functools import cache

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.staticfiles import StaticFiles

from client.console import changes, doors, imaging, keeping, labelling, node, pages, people, reading, rim
from client.console.rights import MATRIX, OPEN
from client.console.ward import Ward

_ROOMS = (doors, node, imaging, keeping, labelling, reading, changes, people)


def create_app(ward: Ward) -> FastAPI:
    """Return the application that shows `ward`.

    Raises:
        LookupError: If a route has no line in the table of rights.
    """
    app = FastAPI(title="Acinus console", docs_url=None, redoc_url=None, openapi_url=None, routes=[*_routes()])
    app.state.ward = ward
    rim.install(app)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    missing = set(routes()) - set(MATRIX) - OPEN
    if missing:
        raise LookupError(f"routes without a line in the table of rights: {sorted(missing)}")
    return app


def routes() -> list[tuple[str, str]]:
    """Return method and path of every route."""
    found = (route for room in _ROOMS for route in room.router.routes if isinstance(route, APIRoute))
    return [(method, route.path) for route in found for method in route.methods or ()]


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """Return the routes, once for all applications of a process: FastAPI works them out at the first request, for as long as twenty answers."""
    table = APIRouter(dependencies=[Depends(rim.admit)])
    for room in _ROOMS:
        table.include_router(room.router)
    return tuple(table.routes)
