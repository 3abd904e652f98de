"""Studies: found, looked at, measured again. Quarantine: tried again or discarded."""

import asyncio
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from client.console import read_views, rim, views
from client.console.rights import may
from client.store.records import StudyState
from client.store.results import PICTURE
from client.store.search import SIZE, Order, StudyQuery
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError
from protocol.shape import OpaqueId

StudyKey = Annotated[OpaqueId, Path()]
Number = Annotated[int, Query(ge=1, le=1_000_000)]
Hashes = Annotated[list[Annotated[str, Form(pattern=r"^[0-9a-f]{64}$")]], Form(min_length=1, max_length=SIZE)]

_HALF_DECIMAL = 0.05
"""Shares are shown to one decimal: what is shown as 12.3 is from 12.3."""

_BANDS = "|".join(views.BANDS)

router = APIRouter()


class Reason(StrEnum):
    """Why an instance is discarded: a closed list, so that the audit holds no free text."""

    NOT_FOR_US = "not-for-this-node"
    SENT_AGAIN = "sent-again"
    DAMAGED = "damaged-at-the-source"
    DUPLICATE = "duplicate"
    TEST = "test-object"


REASONS = {
    Reason.NOT_FOR_US: "It is not for this node, such as another modality",
    Reason.SENT_AGAIN: "It was sent again and arrived whole",
    Reason.DAMAGED: "It is damaged at the source, too",
    Reason.DUPLICATE: "It is another copy of what counts already",
    Reason.TEST: "It was a test",
}


@router.get("/studies")
async def show_studies(  # noqa: PLR0913 - a form's fields are its parameters
    request: Request,
    *,
    page: Number = 1,
    state: Annotated[str, Query(pattern=r"^(received|measured|refused)?$")] = "",
    band: Annotated[str, Query(pattern=rf"^({_BANDS})?$")] = "",
    flagged: bool = False,
    least: Annotated[str, Query(pattern=r"^(\d{1,2}([.,]\d)?|100)?$")] = "",
    key: Annotated[str, Query(pattern=r"^\s*[0-9a-f]{0,32}\s*$")] = "",
    order: Order = Order.NEWEST,
) -> HTMLResponse:
    """Show studies, filtered and sorted, a page at a time."""
    ward = rim.ward_of(request)
    query = StudyQuery(
        state=StudyState(state) if state else None, band=band, flagged=flagged, key=key.strip(),
        least_ggo=(float(least.replace(",", ".") or 0) - _HALF_DECIMAL) / 100, order=order,
    )  # fmt: skip
    found = ward.search.studies(query, page)
    asked = {
        "state": state,
        "band": band,
        "flagged": "true" if flagged else "",
        "least": least,
        "key": key.strip(),
        "order": order.value,
    }
    return rim.show(
        request, "studies.html", here="studies", found=found, rows=views.study_rows(found.rows), counts=ward.store.counts(),
        asked=asked, bands=views.BANDS, orders=[one.value for one in Order],
        link=views.link("/studies", {name: value for name, value in asked.items() if value and value != Order.NEWEST}),
    )  # fmt: skip


@router.get("/studies/{study_key}")
async def show_study(request: Request, study_key: StudyKey) -> HTMLResponse:
    """Show one study with its picture, its label and what may be done."""
    ward = rim.ward_of(request)
    row = views.study_row(ward.store.study(study_key), ward.store.finding(study_key))
    asks = bool(row["measured"]) and may(rim.visitor_of(request).roles, "POST", "/studies/{study_key}/read")
    return rim.show(
        request, "study.html", here="studies", row=row, picture=views.has_picture(ward, study_key),
        reads=read_views.reads_of(ward, study_key) if asks else [], priors=ward.counter.earlier(study_key) if asks else [],
        label=views.label_row(ward.labelling.of(study_key), views.labels_allowed(ward)), earlier=views.earlier_rows(ward, study_key), known=ward.known(study_key),
    )  # fmt: skip


@router.get("/studies/{study_key}/picture.png")
async def read_picture(request: Request, study_key: StudyKey) -> FileResponse:
    """Send the overlay picture of a study."""
    ward = rim.ward_of(request)
    if not views.has_picture(ward, ward.store.study(study_key).study_key):
        raise InvalidInputError(Code.NOT_FOUND, "There is no picture of this study.")
    return FileResponse(ward.store.folder(study_key) / PICTURE, media_type="image/png")


@router.post("/studies/{study_key}/remeasure")
async def remeasure(request: Request, study_key: StudyKey) -> Response:
    """Ask the worker to measure a study again, with the release in use now."""
    ward = rim.ward_of(request)
    ward.store.reopen(study_key)
    ward.note("study.reopened", rim.visitor_of(request), study_key)
    return rim.go_to(f"/studies/{study_key}")


@router.get("/quarantine")
async def show_quarantine(
    request: Request,
    *,
    page: Number = 1,
    code: Annotated[str, Query(pattern=r"^[a-z-]{0,40}$")] = "",
    taken: Annotated[int, Query(ge=0, le=SIZE)] = 0,
    kept: Annotated[int, Query(ge=0, le=SIZE)] = 0,
    gone: Annotated[int, Query(ge=0, le=SIZE)] = 0,
) -> HTMLResponse:
    """Show what could not be used, why, and what to do about it; nothing of the header."""
    ward = rim.ward_of(request)
    found = ward.aside.page(page, code=code)
    return rim.show(
        request, "quarantine.html", here="quarantine", found=found, rows=views.quarantine_rows(found.rows),
        codes=ward.aside.counts(), code=code, done={"taken": taken, "kept": kept, "gone": gone},
        link=views.link("/quarantine", {"code": code} if code else {}),
    )  # fmt: skip


@router.post("/quarantine/retry")
async def retry(request: Request, sha256: Hashes) -> Response:
    """Take instances in again, through the intake as any other."""
    ward, visitor = rim.ward_of(request), rim.visitor_of(request)
    taken = 0
    for one in dict.fromkeys(sha256):
        try:
            became = await asyncio.to_thread(ward.take_again, one)
        except FederationError as error:
            ward.note("quarantine.retried", visitor, one, error.code.value)
            raise
        taken += became.code is None
        ward.note("quarantine.retried", visitor, one, became.code.value if became.code is not None else "clear")
    return rim.go_to(f"/quarantine?taken={taken}&kept={len(set(sha256)) - taken}")


@router.post("/quarantine/discard")
async def discard(
    request: Request,
    sha256: Hashes,
    reason: Annotated[Reason | None, Form()] = None,
    *,
    sure: Annotated[bool, Form()] = False,
) -> Response:
    """Remove instances with their bytes; asked without reason and confirmation, show the page that asks for both."""
    ward, visitor = rim.ward_of(request), rim.visitor_of(request)
    chosen = [ward.aside.one(one) for one in dict.fromkeys(sha256)]
    if reason is None or not sure:
        rows = views.quarantine_rows(chosen)
        return rim.show(
            request, "discard.html", here="quarantine", rows=rows, reasons=REASONS, asked=reason is not None
        )
    for one in chosen:
        ward.note(
            "quarantine.discarded", visitor, one.sha256, reason.value
        )  # before the bytes go: the row outlives them
        ward.aside.remove(one.sha256)
    return rim.go_to(f"/quarantine?gone={len(chosen)}")
