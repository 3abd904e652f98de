"""The accounts of the hospital's staff: made, given roles, closed."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import HTMLResponse, Response

from client.console import rim, views
from client.console.ward import Ward
from client.staff.roles import GRANTED, MEANS, roles_of, words_of
from client.staff.sessions import Visitor
from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.shape import OpaqueId

AccountId = Annotated[OpaqueId, Path()]
Roles = Annotated[list[Annotated[str, Form(max_length=20)]], Form(max_length=10)]
Secret = Annotated[str, Form(max_length=1000)]

router = APIRouter()


@router.get("/staff")
async def show_staff(request: Request) -> HTMLResponse:
    """Show every account."""
    ward = rim.ward_of(request)
    return rim.show(
        request, "staff.html", here="staff", accounts=views.account_rows(ward), roles=[(role.value, MEANS[role]) for role in GRANTED],
        token=ward.entrance.takes_token,
    )  # fmt: skip


@router.post("/staff")
async def add(request: Request, name: Annotated[str, Form(max_length=100)], password: Secret, role: Roles) -> Response:
    """Make an account; its holder changes the password at the first log-in."""
    ward, visitor = rim.ward_of(request), rim.visitor_of(request)
    account = ward.accounts.add(name.strip(), password, roles_of(role), by=visitor.who)
    ward.note("staff.added", visitor, account.account_id, ".".join(words_of(account.roles)))
    return rim.go_to("/staff")


@router.post("/staff/{account_id}/roles")
async def set_roles(request: Request, account_id: AccountId, role: Roles) -> Response:
    """Give other roles; the account's sessions end."""
    ward, visitor = _for_another(request, account_id)
    roles = roles_of(role)
    ward.accounts.set_roles(account_id, roles, by=visitor.who)
    ward.note("staff.roles", visitor, account_id, ".".join(words_of(roles)))
    return rim.go_to("/staff")


@router.post("/staff/{account_id}/password")
async def set_password(request: Request, account_id: AccountId, password: Secret) -> Response:
    """Set a password for somebody who lost theirs; it must be changed at the next log-in."""
    ward, visitor = _for_another(request, account_id)
    ward.accounts.set_password(account_id, password, by=visitor.who)
    ward.note("staff.password", visitor, account_id)
    return rim.go_to("/staff")


@router.post("/staff/{account_id}/disable")
async def disable(request: Request, account_id: AccountId) -> Response:
    """Close an account; its holder is logged out everywhere, now."""
    ward, visitor = _for_another(request, account_id)
    ward.accounts.set_disabled(account_id, disabled=True)
    ward.note("staff.disabled", visitor, account_id)
    return rim.go_to("/staff")


@router.post("/staff/{account_id}/enable")
async def enable(request: Request, account_id: AccountId) -> Response:
    """Open a closed account again."""
    ward, visitor = _for_another(request, account_id)
    ward.accounts.set_disabled(account_id, disabled=False)
    ward.note("staff.enabled", visitor, account_id)
    return rim.go_to("/staff")


def _for_another(request: Request, account_id: str) -> tuple[Ward, Visitor]:
    """Return what the routes work with, unless somebody would change their own account: so one administrator always stays.

    Raises:
        RefusedError: `forbidden`.
    """
    visitor = rim.visitor_of(request)
    if visitor.account_id == account_id:
        raise RefusedError(
            Code.FORBIDDEN, "Nobody changes their own roles or closes their own account. Ask another administrator."
        )
    return rim.ward_of(request), visitor
