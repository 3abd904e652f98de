"""Routes for programs that speak FHIR or DICOM's worklist service: the reads that the caller may see, read only."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response
from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.api.reach import sites_of
from registry_api.people.roles import Role
from registry_api.reading import fhir, ups
from registry_api.reading.offers import ReadView, all_reads, open_reads, own_reads
from registry_api.runtime import Runtime

router = APIRouter(prefix="/v1")


class FhirAnswer(JSONResponse):
    """A FHIR resource."""

    media_type = "application/fhir+json"


class DicomAnswer(JSONResponse):
    """Data sets in DICOM's JSON."""

    media_type = ups.MEDIA_TYPE


PAGE = 100
PAGE_MAX = 500

Looker = Annotated[Caller, require(Role.READER, Role.HOSPITAL, Role.COORDINATOR)]
Count = Annotated[int, Query(alias="_count", ge=0, le=PAGE_MAX)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
Offset = Annotated[int, Query(ge=0)]
UPS_STATE = Query(alias="ProcedureStepState", pattern="^(SCHEDULED|IN PROGRESS|COMPLETED|CANCELED)$")


@router.get("/fhir/metadata", response_class=FhirAnswer)
def read_capability(runtime: RuntimeDep, _caller: Looker) -> Response:
    """Say what the façade can do."""
    return _fhir(fhir.capability(_base(runtime), now=runtime.clock()))


@router.get("/fhir/{kind}", response_class=FhirAnswer)
def search_resources(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Looker,
    kind: fhir.Kind,
    status: Annotated[str | None, Query(pattern="^[a-z-]{1,30}$")] = None,
    count: Count = PAGE,
) -> Response:
    """Return the resources of one kind that the caller may see, of one status if it is given."""
    found = fhir.resources(kind, views_for(runtime, session, caller))
    chosen = [one for one in found if status in {None, one["status"]}]
    return _fhir(fhir.searchset(_base(runtime), chosen[:count], total=len(chosen)))


@router.get("/fhir/{kind}/{resource_id}", response_class=FhirAnswer)
def read_resource(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Looker,
    kind: fhir.Kind,
    resource_id: Annotated[str, Path(pattern=r"^[0-9a-f]{32}(-[0-9]{1,4})?$")],
) -> Response:
    """Return one resource."""
    for one in fhir.resources(kind, views_for(runtime, session, caller)):
        if one["id"] == resource_id:
            return _fhir(one)
    raise _absent()


@router.get("/dicom-web/workitems", response_class=DicomAnswer)
def search_workitems(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Looker,
    state: Annotated[str | None, UPS_STATE] = None,
    limit: Limit = PAGE,
    offset: Offset = 0,
) -> Response:
    """Return the slots that the caller may see as workitems (UPS-RS)."""
    found = [item for _, item in _workitems(views_for(runtime, session, caller))]
    chosen = [item for item in found if state is None or item[ups.STATE_TAG]["Value"] == [state]]
    return DicomAnswer(chosen[offset : offset + limit])


@router.get("/dicom-web/workitems/{uid}", response_class=DicomAnswer)
def read_workitem(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Looker,
    uid: Annotated[str, Path(pattern=r"^2\.25\.[0-9]{1,39}$")],
) -> Response:
    """Return one workitem."""
    for known, item in _workitems(views_for(runtime, session, caller)):
        if known == uid:
            return DicomAnswer([item])
    raise _absent()


def views_for(runtime: Runtime, session: Session, caller: Caller) -> list[ReadView]:
    """Return the reads that the caller may see: a reader what is offered and their own, a hospital its own, a coordinator those of their place, or all."""
    if caller.role is Role.READER:
        offered = open_reads(session, caller.person_id, now=runtime.clock(), eligible_only=True)
        own = own_reads(session, caller.person_id)
        mine = {view.request_id for view in own}
        return own + [view for view in offered if view.request_id not in mine]
    return all_reads(session, sites=sites_of(session, caller))


def _workitems(views: list[ReadView]) -> list[tuple[str, dict[str, Any]]]:
    return [(ups.workitem_uid(view, slot), ups.workitem(view, slot)) for view in views for slot in view.slots]


def _base(runtime: Runtime) -> str:
    return f"{runtime.settings.http.origin}/v1/fhir"


def _fhir(content: dict[str, Any]) -> Response:
    return FhirAnswer(content, media_type=fhir.MEDIA_TYPE)


def _absent() -> InvalidInputError:
    return InvalidInputError(Code.NOT_FOUND, "There is nothing of that id that you may see.")
