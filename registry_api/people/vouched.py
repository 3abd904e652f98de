"""People whom an identity provider vouches for: the registry keeps what its coordinator grants to their groups, and no key."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from sqlmodel import Session, col, delete

from identity.provider import Vouched
from registry_api.people.roles import Role
from registry_api.people.service import check_person
from registry_api.people.tables import PageSessionRow, PersonRow

_ID_LENGTH = 32


class Grant(Protocol):
    """What a group of the provider's may be here."""

    @property
    def group(self) -> str:
        """As the provider's role claim says it."""

    @property
    def role(self) -> Role:
        """What its people may do."""

    @property
    def region(self) -> str | None:
        """The country or region whose counts a ministry sees."""

    @property
    def site(self) -> str | None:
        """The hospital of role hospital."""


def meet(session: Session, vouched: Vouched, grants: Sequence[Grant], *, now: datetime) -> PersonRow | None:
    """Return the person, with what the first grant to one of their groups says; somebody new is added.

    None is somebody to whom nothing is granted, or whom the coordinator removed; open sessions of theirs end.

    Raises:
        InvalidInputError: If the grant cannot be, as for `check_person`.
    """
    person_id = vouched.key[:_ID_LENGTH]
    row = session.get(PersonRow, person_id)
    grant = next((one for one in grants if one.group in vouched.groups), None)
    if grant is None or (row is not None and row.disabled_at is not None):
        session.exec(delete(PageSessionRow).where(col(PageSessionRow.person_id) == person_id))
        return None
    check_person(session, grant.role, region=grant.region, site=grant.site)
    row = row or PersonRow(id=person_id, name="", role="", key_sha256=f"vouched:{vouched.key}", created_at=now)
    row.name = vouched.name.strip()[:200] or grant.group
    row.role, row.region, row.site = grant.role.value, grant.region, grant.site
    session.add(row)
    session.flush()
    return row
