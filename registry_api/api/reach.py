"""How far a caller sees: a hospital its own reads, a coordinator of a place those of its hospitals, one of none everybody's."""

from sqlmodel import Session

from protocol.shape import SiteId
from registry_api.api.access import Caller
from registry_api.enrolment.sites import sites_within
from registry_api.people.roles import Role


def sites_of(session: Session, caller: Caller) -> frozenset[SiteId] | None:
    """Return the hospitals whose reads a coordinator or somebody of a hospital sees; None is every one's.

    It says nothing of readers, who see what they may claim and what is theirs, wherever it is.
    """
    if caller.role is Role.HOSPITAL:
        return frozenset({str(caller.site)})
    return sites_within(session, caller.region)
