"""The ways in and out: token, password, the hospital's identity provider; and changing one's own password."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from client.console import rim
from client.console.pages import page
from client.console.ward import Ward
from client.staff.entrance import Entered
from client.staff.oidc import Oidc
from client.staff.sessions import Visitor
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError, RefusedError

Secret = Annotated[str, Form(max_length=1000)]

_MINUTES_AT_PROVIDER = 600

router = APIRouter()


@router.get("/login")
async def show_login(request: Request) -> HTMLResponse:
    """Show the ways in."""
    ward = rim.ward_of(request)
    return page(
        "login.html",
        ward,
        oidc=ward.oidc is not None,
        token=ward.entrance.takes_token,
        accounts=bool(ward.accounts.all()),
    )


@router.post("/login")
async def log_in(request: Request, token: Secret = "", name: Secret = "", password: Secret = "") -> Response:
    """Open a session for whoever knows the token, or a name and its password."""
    rim.refuse_foreign_page(request)
    ward = rim.ward_of(request)
    try:
        entered = (
            ward.entrance.enter_by_token(token)
            if token
            else await ward.entrance.enter_by_password(name.strip(), password)
        )
    except RefusedError as error:
        _note_refusal(ward, error)
        raise
    return _welcome(ward, entered, rim.go_to("/"))


@router.get("/login/oidc")
async def begin_oidc(request: Request) -> Response:
    """Send the browser to the hospital's identity provider. A cookie binds what comes back to this browser.

    It is `Lax`: the browser comes back from another site, and a strict cookie would stay behind.
    """
    ward = rim.ward_of(request)
    address, flow = await _oidc_of(ward).begin()
    answer = RedirectResponse(address, status_code=303)
    answer.set_cookie(
        _oidc_cookie(ward), flow.binding, max_age=_MINUTES_AT_PROVIDER, path="/", secure=True, httponly=True, samesite="lax"
    )  # fmt: skip
    return answer


@router.get("/login/oidc/callback")
async def finish_oidc(request: Request) -> Response:
    """Open a session for whom the provider vouches for.

    The answer is a page that goes on by itself, no redirect: a strict cookie does not travel on a chain that another site began.
    """
    ward = rim.ward_of(request)
    try:
        person = await _oidc_of(ward).finish(dict(request.query_params), request.cookies.get(_oidc_cookie(ward)))
        account = ward.accounts.meet(person.key, name=person.name, roles=person.roles)
        entered = ward.entrance.enter_as(account)
    except RefusedError as error:
        _note_refusal(ward, error)
        raise
    answer = _welcome(ward, entered, page("entered.html", ward))
    answer.delete_cookie(_oidc_cookie(ward), path="/", secure=True, httponly=True, samesite="lax")
    return answer


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """End the session."""
    ward = rim.ward_of(request)
    ward.entrance.sessions.leave(request.cookies.get(rim.cookie_name(ward)))
    ward.note("staff.left", rim.visitor_of(request))
    return rim.go_to("/login")


@router.get("/password")
async def show_password(request: Request) -> HTMLResponse:
    """Show the form for a new password."""
    account_id = _account_id(rim.visitor_of(request))
    return rim.show(request, "password.html", local=rim.ward_of(request).accounts.get(account_id).local)


@router.post("/password")
async def change_password(request: Request, present: Secret, password: Secret, again: Secret) -> Response:
    """Set one's own password; every session of the account ends and a new one begins here."""
    ward, visitor = rim.ward_of(request), rim.visitor_of(request)
    account = ward.accounts.get(_account_id(visitor))
    if not await ward.entrance.knows(account, present):
        raise RefusedError(Code.UNAUTHENTICATED, "The present password is another one. Go back and try again.")
    if password != again or password == present:
        raise InvalidInputError(
            Code.BAD_REQUEST, "The new password is written in two ways, or is the old one. Go back and choose another."
        )
    ward.accounts.set_password(account.account_id, password, by=None)
    ward.note("staff.password", visitor, account.account_id)
    return _welcome(ward, ward.entrance.enter_as(account), rim.go_to("/"))


def _welcome(ward: Ward, entered: Entered, answer: Response) -> Response:
    """Note who came in and give the browser its cookie."""
    visitor = ward.entrance.sessions.find(entered.cookie)
    if visitor is not None:
        ward.note("staff.entered", visitor)
    answer.set_cookie(rim.cookie_name(ward), entered.cookie, path="/", secure=True, httponly=True, samesite="strict")
    return answer


def _note_refusal(ward: Ward, error: FederationError) -> None:
    """Who tried is not known, so the row names nobody."""
    ward.audit.append("staff.refused", "-", error.code.value)


def _oidc_of(ward: Ward) -> Oidc:
    if ward.oidc is None:
        raise InvalidInputError(Code.NOT_FOUND, "This node knows no identity provider. Log in with an account.")
    return ward.oidc


def _oidc_cookie(ward: Ward) -> str:
    return f"__Host-acinus-oidc-{ward.port}"


def _account_id(visitor: Visitor) -> str:
    if visitor.account_id is None:
        raise RefusedError(Code.FORBIDDEN, "The token is no account; it has no password.")
    return visitor.account_id
