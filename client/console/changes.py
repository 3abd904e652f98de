"""Changes of the policy on the staff page: proposed by one person, confirmed by another."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import HTMLResponse, Response

from client.console import rim, views
from client.console.proposals import MOST_BYTES
from client.staff.sessions import Visitor
from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError
from protocol.shape import OpaqueId

ProposalId = Annotated[OpaqueId, Path()]

router = APIRouter()


@router.get("/policy")
async def show_policy(request: Request) -> HTMLResponse:
    """Show the policy in force, the change that waits, and how it came to be what it is."""
    ward, visitor = rim.ward_of(request), rim.visitor_of(request)
    seen = ward.proposals.look()
    return rim.show(
        request, "policy.html", here="policy", text=ward.proposals.text(), notice=views.policy_notice(ward),
        waiting=views.waiting_change(ward, visitor.account_id), history=views.policy_history(ward), sha256=seen.sha256,
        problem=views.policy_problem(ward),
    )  # fmt: skip


@router.get("/policy/edit")
async def show_edit(request: Request) -> HTMLResponse:
    """Show the present text for a person to change."""
    ward = rim.ward_of(request)
    seen = ward.proposals.look()
    return rim.show(
        request, "policy_edit.html", here="policy", text=ward.proposals.text(), base=seen.sha256,
        waits=ward.proposals.waiting() is not None,
    )  # fmt: skip


@router.post("/policy")
async def propose(
    request: Request,
    text: Annotated[str, Form(max_length=2 * MOST_BYTES)],
    base: Annotated[str, Form(pattern=r"^[0-9a-f]{64}$")],
) -> Response:
    """Propose a text; it changes nothing yet."""
    ward = rim.ward_of(request)
    ward.proposals.propose(text, base=base, by=_person(rim.visitor_of(request)))
    return rim.go_to("/policy")


@router.post("/policy/{proposal_id}/confirm")
async def confirm(request: Request, proposal_id: ProposalId, *, sure: Annotated[bool, Form()] = False) -> Response:
    """Let a proposal take effect."""
    if not sure:
        raise InvalidInputError(Code.BAD_REQUEST, "Read the difference, tick the box that says so, and confirm again.")
    rim.ward_of(request).proposals.confirm(proposal_id, by=_person(rim.visitor_of(request)))
    return rim.go_to("/policy")


@router.post("/policy/{proposal_id}/reject")
async def reject(request: Request, proposal_id: ProposalId) -> Response:
    """Turn a proposal down."""
    rim.ward_of(request).proposals.reject(proposal_id, by=_person(rim.visitor_of(request)))
    return rim.go_to("/policy")


def _person(visitor: Visitor) -> str:
    if visitor.account_id is None:
        raise RefusedError(Code.FORBIDDEN, "The token stands for no person. Log in with an account.")
    return visitor.account_id
