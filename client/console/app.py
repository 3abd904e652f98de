"""The staff page's routes. It listens on loopback only, under the hospital's own certificate.

Every route is a coroutine, so that all of them run in the event loop's thread, on that thread's database connections.
"""

from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Path, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from client.console import pages, rim, views
from client.console.ward import Ward
from client.store.studies import PICTURE
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.shape import OpaqueId

StudyKey = Annotated[OpaqueId, Path()]
Csrf = Annotated[str, Form(max_length=100)]

_LATEST = 12
_AUDIT_ROWS = 30

router = APIRouter()


def create_app(ward: Ward) -> FastAPI:
    """Return the application that shows `ward`."""
    app = FastAPI(title="Acinus console", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.ward = ward
    rim.install(app)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    return app


@router.get("/health")
async def read_health() -> dict[str, bool]:
    """Say that the page is served."""
    return {"ok": True}


@router.get("/login")
async def show_login(request: Request) -> HTMLResponse:
    """Show the way in."""
    return pages.page("login.html", rim.ward_of(request))


@router.post("/login")
async def log_in(request: Request, token: Annotated[str, Form(max_length=200)]) -> Response:
    """Open a session for whoever knows the token."""
    rim.refuse_foreign_page(request)
    ward = rim.ward_of(request)
    cookie = ward.entrance.enter(token)
    answer = RedirectResponse("/", status_code=303)
    answer.set_cookie(rim.cookie_name(ward), cookie, path="/", secure=True, httponly=True, samesite="strict")
    return answer


@router.post("/logout")
async def log_out(request: Request, csrf: Csrf) -> Response:
    """End the session."""
    rim.refuse_foreign_form(request, csrf)
    ward = rim.ward_of(request)
    ward.entrance.leave(request.cookies.get(rim.cookie_name(ward)))
    return RedirectResponse("/login", status_code=303)


@router.get("/")
async def show_overview(request: Request) -> HTMLResponse:
    """Show the node at a glance."""
    ward = rim.ward_of(request)
    csrf = rim.session_of(request).csrf
    rows = views.study_rows(ward.store)
    return _page(
        request, "overview.html", csrf, here="overview", status_of=ward.status(), latest=rows[:_LATEST],
        mean=views.mean_ggo(rows), budget=views.budget(ward),
    )  # fmt: skip


@router.get("/studies")
async def show_studies(request: Request) -> HTMLResponse:
    """Show every study."""
    csrf = rim.session_of(request).csrf
    store = rim.ward_of(request).store
    return _page(request, "studies.html", csrf, here="studies", rows=views.study_rows(store), counts=store.counts())


@router.get("/studies/{study_key}")
async def show_study(request: Request, study_key: StudyKey) -> HTMLResponse:
    """Show one study with its picture."""
    csrf = rim.session_of(request).csrf
    ward = rim.ward_of(request)
    row = views.study_row(ward.store.study(study_key), ward.store.finding(study_key))
    return _page(request, "study.html", csrf, here="studies", row=row, picture=views.has_picture(ward, study_key))


@router.get("/studies/{study_key}/picture.png")
async def read_picture(request: Request, study_key: StudyKey) -> FileResponse:
    """Send the overlay picture of a study."""
    rim.session_of(request)
    ward = rim.ward_of(request)
    if not views.has_picture(ward, ward.store.study(study_key).study_key):
        raise InvalidInputError(Code.NOT_FOUND, "There is no picture of this study.")
    return FileResponse(ward.store.folder(study_key) / PICTURE, media_type="image/png")


@router.get("/quarantine")
async def show_quarantine(request: Request) -> HTMLResponse:
    """Show what could not be used, and why."""
    csrf = rim.session_of(request).csrf
    return _page(
        request, "quarantine.html", csrf, here="quarantine", rows=views.quarantine_rows(rim.ward_of(request).store)
    )


@router.get("/ledger")
async def show_ledger(request: Request) -> HTMLResponse:
    """Show what training has cost and may still cost."""
    csrf = rim.session_of(request).csrf
    return _page(request, "ledger.html", csrf, here="ledger", budget=views.budget(rim.ward_of(request)))


@router.get("/reads")
async def show_reads(request: Request) -> HTMLResponse:
    """Show reads, and the reader keys that this hospital approved."""
    csrf = rim.session_of(request).csrf
    ward = rim.ward_of(request)
    return _page(request, "reads.html", csrf, here="reads", reads=views.read_rows(ward.reads()), keys=ward.keys.all())


@router.post("/readers")
async def approve_reader(
    request: Request,
    csrf: Csrf,
    thumbprint: Annotated[str, Form(max_length=100)],
    name: Annotated[str, Form(max_length=200)],
) -> Response:
    """Approve a reader's key."""
    rim.refuse_foreign_form(request, csrf)
    ward = rim.ward_of(request)
    ward.keys.approve(thumbprint.strip(), name=name)
    ward.note("reader.approved", "-", "clear")
    return RedirectResponse("/reads", status_code=303)


@router.post("/readers/revoke")
async def revoke_reader(request: Request, csrf: Csrf, thumbprint: Annotated[str, Form(max_length=100)]) -> Response:
    """Take an approval back."""
    rim.refuse_foreign_form(request, csrf)
    ward = rim.ward_of(request)
    ward.keys.revoke(thumbprint.strip())
    ward.note("reader.revoked", "-", "clear")
    return RedirectResponse("/reads", status_code=303)


@router.get("/network")
async def show_network(request: Request) -> HTMLResponse:
    """Show who is connected, what waits to leave, and the last rows of the audit."""
    csrf = rim.session_of(request).csrf
    ward = rim.ward_of(request)
    rows = list(islice(ward.audit(), _AUDIT_ROWS))
    return _page(request, "network.html", csrf, here="network", status_of=ward.status(), rows=rows)


def _page(request: Request, template: str, csrf: str, **content: Any) -> HTMLResponse:
    return pages.page(template, rim.ward_of(request), csrf=csrf, **content)
