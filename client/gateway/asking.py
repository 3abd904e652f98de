"""Who asks: the desk behind a request, its session, and the one answer to whatever is not theirs."""

from fastapi import Request

from client.gateway import rim
from client.gateway.desk import Desk
from client.gateway.sessions import Session
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.shape import OpaqueId


def desk_of(request: Request) -> Desk:
    """Return what the routes work with."""
    desk: Desk = request.app.state.desk
    return desk


def session_of(request: Request) -> Session:
    """Return the caller's session, if it holds now.

    Raises:
        RefusedError: `unauthenticated`, `grant-invalid` or `reader-not-approved`.
        UnavailableError: `peer-unreachable` if the centre was silent for too long.
    """
    desk = desk_of(request)
    session = desk.sessions.find(request.cookies.get(desk.cookie))
    note_known(request)
    return session


def note_known(request: Request) -> None:
    """Note that the request comes of somebody who has a session: its row in the audit chain is written whatever else is."""
    request.state.known = True


def session_for(request: Request, request_id: OpaqueId) -> Session:
    """Return the caller's session if it is for this request; any other request looks absent.

    Raises:
        InvalidInputError: `not-found` if it is for another.
        RefusedError: As `session_of`.
        UnavailableError: As `session_of`.
    """
    session = session_of(request)
    if session.claim.request_id != request_id:
        raise absent()
    return session


def refuse_other_claim(session: Session, claim_id: OpaqueId) -> None:
    """Let a session see its own claim only.

    Raises:
        InvalidInputError: `not-found`.
    """
    if session.claim.claim_id != claim_id:
        raise absent()


def session_to_write(request: Request, claim_id: OpaqueId) -> Session:
    """Return the caller's session if it may write under this claim.

    Raises:
        RefusedError: As `session_of`; `forbidden` if another site's page asks, or the grant is for looking only.
        InvalidInputError: `not-found` if it is for another claim.
        UnavailableError: As `session_of`.
    """
    session = session_of(request)
    rim.refuse_foreign_page(request, desk_of(request))
    refuse_other_claim(session, claim_id)
    session.refuse_mere_viewer()
    return session


def absent() -> InvalidInputError:
    """Return what is said of everything that is not the reader's, whether or not it exists."""
    return InvalidInputError(Code.NOT_FOUND, "There is nothing of that name that you may see.")
