"""The node at a glance, its privacy ledger, its place in the network."""

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from client.console import rim, views
from client.console.rights import may
from client.store.search import SIZE, Page, StudyQuery, cut

Number = Annotated[int, Query(ge=1, le=1_000_000)]
Count = Annotated[int | None, Query(ge=0, le=1_000_000_000)]

_LATEST = 12

router = APIRouter()


@router.get("/health")
async def read_health() -> dict[str, bool]:
    """Say that the page is served."""
    return {"ok": True}


@router.get("/")
async def show_overview(request: Request) -> HTMLResponse:
    """Show the node at a glance: of studies only to those who may see findings."""
    ward = rim.ward_of(request)
    roles = rim.visitor_of(request).roles
    sees, decides = may(roles, "GET", "/studies"), may(roles, "POST", "/labels/drafts/{sha256}/approve")
    return rim.show(
        request, "overview.html", here="overview", status_of=ward.status(), sees=sees,
        latest=views.study_rows(ward.search.studies(StudyQuery()).rows[:_LATEST]) if sees else [],
        mean=views.mean_ggo(ward) if sees else None, budget=views.budget(ward), policy=views.policy_notice(ward),
        drafts=len(ward.store.drawn.drafts()) if decides else 0, renewed=f"/?{rim.RENEWED}=1",
    )  # fmt: skip


@router.get("/ledger")
async def show_ledger(request: Request, page: Number = 1) -> HTMLResponse:
    """Show what training has cost and may still cost."""
    budget = views.budget(rim.ward_of(request))
    return rim.show(request, "ledger.html", here="ledger", budget=budget, charges=cut(budget["charges"], page))


@router.get("/network")
async def show_network(request: Request, page: Number = 1, again: Count = None, pulled: Count = None) -> HTMLResponse:
    """Show who is connected, what waits to leave, and the audit, the newest rows first."""
    ward = rim.ward_of(request)
    start = (page - 1) * SIZE
    rows = Page(list(islice(ward.audit.newest(), start, start + SIZE)), page, ward.audit.last().number)
    return rim.show(
        request, "network.html", here="network", status_of=ward.status(), rows=rows, again=again, pulled=pulled
    )


@router.post("/network/send")
async def send_again(request: Request) -> Response:
    """Let findings and final reports that the PACS or the hospital's own system has not taken be tried now."""
    ward = rim.ward_of(request)
    again = ward.send_again()
    ward.note("network.sent-again", rim.visitor_of(request))
    return rim.go_to(f"/network?again={again}")


@router.post("/network/pull")
async def pull_again(request: Request) -> Response:
    """Let studies that could not be fetched from the PACS be tried with the next look into it."""
    ward = rim.ward_of(request)
    pulled = ward.pull_again()
    ward.note("network.pulled-again", rim.visitor_of(request))
    return rim.go_to(f"/network?pulled={pulled}")
