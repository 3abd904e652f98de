"""Routes for everybody: weeks of the public tier, as they were drawn. Without the tier there is nothing here."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from sqlmodel import col, select

from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError
from registry_api.api.access import RuntimeDep, SessionDep, address_of
from registry_api.keyfiles import raw_key
from registry_api.public.tables import PublicWeekRow

router = APIRouter(prefix="/v1/public")

_FRESH_SECONDS = 3600
_FOR_GOOD_SECONDS = 31_536_000
Week = Annotated[str, Path(pattern=r"^[0-9]{4}-W[0-9]{2}$")]


@router.get("/weeks")
def read_weeks(request: Request, response: Response, runtime: RuntimeDep, session: SessionDep) -> dict[str, Any]:
    """Return the published weeks, newest first, each with the hash of its bytes and the centre's signature over them."""
    _open_to_everybody(request, runtime)
    columns = PublicWeekRow.week, PublicWeekRow.sha256, PublicWeekRow.signature
    rows = session.exec(select(*columns).order_by(col(PublicWeekRow.week).desc()))
    response.headers["Cache-Control"] = f"public, max-age={_FRESH_SECONDS}"
    return {
        "verify_key": raw_key(runtime.counts_key.public_key()),
        "weeks": [{"week": week, "sha256": sha256, "signature": signature} for week, sha256, signature in rows],
    }


@router.get("/weeks/{week}")
def read_week(week: Week, request: Request, runtime: RuntimeDep, session: SessionDep) -> Response:
    """Return the signed bytes of a week: counts with noise, which may be below zero, and how large the noise is."""
    _open_to_everybody(request, runtime)
    row = session.get(PublicWeekRow, week)
    if row is None:
        raise InvalidInputError(Code.NOT_FOUND, "That week has not been published for everybody.")
    headers = {"Cache-Control": f"public, max-age={_FOR_GOOD_SECONDS}, immutable", "ETag": f'"{row.sha256}"'}
    return Response(row.body, media_type="application/json", headers=headers)


def _open_to_everybody(request: Request, runtime: RuntimeDep) -> None:
    """Refuse where the tier is off, and who asks too fast.

    Raises:
        InvalidInputError: `not-found`.
        UnavailableError: `rate-limited`.
    """
    if not runtime.settings.public.enabled:
        raise InvalidInputError(Code.NOT_FOUND, "This registry publishes nothing for everybody.")
    if not runtime.pace.take(f"address {address_of(request)}", now=runtime.clock()):
        raise UnavailableError(Code.RATE_LIMITED, "Too many requests. Wait a little and go on more slowly.")
