"""Routes of joining: enrolment, the CA certificate, the list of sites."""

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from protocol.enrolment import EnrolReply, EnrolRequest, SiteEntry
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.enrolment.relay import pin_for
from registry_api.enrolment.sites import enrol, list_sites, sites_within
from registry_api.keyfiles import raw_key
from registry_api.people.roles import Role
from registry_api.promoted.lists import newest_root
from registry_api.promoted.service import greet

router = APIRouter(prefix="/v1")


@router.post("/enrolments", status_code=201)
def create_enrolment(request: EnrolRequest, runtime: RuntimeDep, session: SessionDep) -> EnrolReply:
    """Enrol a node: its invite is used up, its signing request is answered with a certificate."""
    site, issued = enrol(session, request, authority=runtime.authority, now=runtime.clock())
    greet(session, site.site)
    relay = None if runtime.relay is None else pin_for(session, site, runtime.relay)
    return EnrolReply(
        site=site.site,
        region=site.region,
        certificate_pem=issued.pem,
        ca_pem=runtime.authority.pem,
        release_root=newest_root(session, runtime.release_root),
        grant_key=raw_key(runtime.grant_key.public_key()),
        link_address=runtime.settings.link.address,
        fleet_address=runtime.settings.fleet.address,
        relay=relay,
    )


@router.get("/ca.pem", response_class=PlainTextResponse)
def read_ca(runtime: RuntimeDep) -> str:
    """Return the network's CA certificate. Whoever fetches it here must hold it against the hash in the invite."""
    return runtime.authority.pem


@router.get("/sites")
def read_sites(
    runtime: RuntimeDep, session: SessionDep, caller: Annotated[Caller, require(Role.SERVICE, Role.COORDINATOR)]
) -> list[SiteEntry]:
    """Return the sites: every one to the federation side of the centre, to a coordinator those of their country or region if they have one."""
    within = sites_within(session, caller.region)
    return [one for one in list_sites(session, now=runtime.clock()) if within is None or one.site in within]


@router.get("/health")
def read_health() -> dict[str, bool]:
    """Say that the registry answers."""
    return {"ok": True}
