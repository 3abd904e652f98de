"""The reader's page: what waits, what may be claimed and why not, the reader's own reads and their signatures."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlmodel import Session, col, select

from protocol.reading import Origin
from protocol.shape import OpaqueId, Sha256, SiteId, Thumbprint
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.api.reach import sites_of
from registry_api.enrolment.tables import SiteRow
from registry_api.pages.render import page
from registry_api.people.roles import Role
from registry_api.people.tables import PersonRow
from registry_api.reading import claims, turns
from registry_api.reading.grants import GrantSigner, make_grant
from registry_api.reading.leads import led_group
from registry_api.reading.lifecycle import AMENDABLE, HELD, UNSIGNED, State
from registry_api.reading.offers import ReadView, SlotView, all_reads, offered, offers, own_reads
from registry_api.reading.readers import keys_of
from registry_api.reading.reassignment import reassign
from registry_api.reading.reviews import review
from registry_api.reading.turns import SkipReason

router = APIRouter(prefix="/worklist")

ReaderCaller = Annotated[Caller, require(Role.READER)]
FormId = Annotated[OpaqueId, Form()]
SHOWN = 50
"""How many of what waits the page shows of each kind; the first ones in order."""

BEAT_MS = 20_000
"""How often the page says that the reader is still there, and looks for a read's new state. Once a minute would do for the lease."""

Fence = Annotated[int, Form(ge=1)]

NEXT_STEP: dict[State, str] = {
    State.CLAIMED: "Open the study at the hospital.",
    State.READING: "Report at the hospital, beside the images.",
    State.NEEDS_INFO: "The hospital was asked; wait for its answer.",
    State.PRELIMINARY: "Compare the hash with the one the hospital showed you, then sign.",
    State.SIGNED: "Signed; on its way to the hospital.",
    State.DELIVERY_FAILED: "Signed; the hospital's node is away and gets it when it is back.",
    State.DELIVERED: "The hospital has the final report.",
    State.CLOSED: "The hospital took note.",
}
"""What a reader reads beside a read of theirs."""


SCORE_WORDS = {
    1: "I agree",
    2: "I differ; an understandable miss",
    3: "I differ; it should be seen most of the time",
    4: "I differ; it should be seen almost every time",
}
"""RADPEER's scores in words."""


@router.get("", response_class=HTMLResponse)
def read_worklist(
    runtime: RuntimeDep, session: SessionDep, caller: Annotated[Caller, require(Role.READER, Role.COORDINATOR)]
) -> HTMLResponse:
    """Show the worklist; the coordinator sees every request of their place and its state instead."""
    if caller.role is Role.COORDINATOR:
        reads, readers = all_reads(session, sites=sites_of(session, caller)), _readers(session)
        return page(
            "reads.html", caller=caller, reads=reads, readers=readers, names=dict(readers), unsigned=UNSIGNED, held=HELD
        )
    now = runtime.clock()
    waiting = offers(session, caller.person_id, now=now, shown=SHOWN)
    first = turns.next_case(session, caller.person_id, now=now)
    return page(
        "worklist.html",
        caller=caller,
        now=now,
        mine=_own(session, caller.person_id),
        held=HELD,
        amendable=AMENDABLE,
        first=offered(session, first, caller.person_id) if first is not None else None,
        skips_left=turns.skips_left(session, caller.person_id),
        skip_reasons=turns.SENTENCES,
        waiting=waiting,
        keys=keys_of(session, caller.person_id),
        gateways=_gateways(session),
        next_step=NEXT_STEP,
        scores=SCORE_WORDS,
        leads=led_group(session, caller.person_id),
        beat_ms=BEAT_MS,
    )


@router.post("/claim")
def claim_read(runtime: RuntimeDep, session: SessionDep, caller: ReaderCaller, request_id: FormId) -> RedirectResponse:
    """Claim a read; another than the next one counts as a skip."""
    turns.take(session, request_id, caller.person_id, now=runtime.clock())
    return _back()


@router.post("/skip")
def skip_read(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderCaller,
    request_id: FormId,
    reason: Annotated[SkipReason, Form()],
) -> RedirectResponse:
    """Leave the next case to others."""
    turns.skip(session, request_id, caller.person_id, reason=reason, now=runtime.clock())
    return _back()


@router.post("/release")
def release_read(
    runtime: RuntimeDep, session: SessionDep, caller: ReaderCaller, claim_id: FormId, fence: Fence
) -> RedirectResponse:
    """Give a read back."""
    claims.release(session, claim_id, caller.person_id, fence=fence, now=runtime.clock())
    return _back()


@router.post("/open", response_class=HTMLResponse)
def open_read(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderCaller,
    claim_id: FormId,
    jkt: Annotated[Thumbprint, Form()],
) -> HTMLResponse:
    """Make a grant and show the link that carries it: in the fragment, which browsers send to nobody."""
    signer = GrantSigner(runtime.grant_key)
    issued = make_grant(session, claim_id, caller.person_id, jkt=jkt, signer=signer, now=runtime.clock())
    return page("open.html", caller=caller, issued=issued)


@router.post("/sign")
def sign_read(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderCaller,
    claim_id: FormId,
    fence: Fence,
    report_sha256: Annotated[Sha256, Form()],
) -> RedirectResponse:
    """Sign the report that the hospital holds."""
    claims.sign(session, claim_id, caller.person_id, fence=fence, report_sha256=report_sha256, now=runtime.clock())
    return _back()


@router.post("/amend")
def amend_read(
    runtime: RuntimeDep, session: SessionDep, caller: ReaderCaller, claim_id: FormId, fence: Fence
) -> RedirectResponse:
    """Open a signed report again."""
    claims.amend(session, claim_id, caller.person_id, fence=fence, now=runtime.clock())
    return _back()


@router.post("/review")
def review_read(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderCaller,
    claim_id: FormId,
    fence: Fence,
    score: Annotated[int, Form(ge=1, le=4)],
) -> RedirectResponse:
    """Score the result that the caller peer reviews."""
    review(session, claim_id, caller.person_id, fence=fence, score=score, now=runtime.clock())
    return _back()


@router.post("/reassign")
def reassign_read(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Annotated[Caller, require(Role.COORDINATOR)],
    request_id: FormId,
    number: Annotated[int, Form(ge=1, le=1000)],
    reader_id: Annotated[str, Form(pattern=r"^([0-9a-f]{32})?$")] = "",
) -> RedirectResponse:
    """Take a read from its reader, and give it to another or back to everybody."""
    sites = sites_of(session, caller)
    reassign(session, request_id, number, reader_id=reader_id or None, now=runtime.clock(), sites=sites)
    return _back()


def _back() -> RedirectResponse:
    return RedirectResponse("/worklist", status_code=303)


@dataclass(frozen=True, slots=True)
class _Mine:
    """A reader's reads, each with the slot that is theirs: those that ask something of them, and the others."""

    in_hand: list[tuple[ReadView, SlotView]]
    finished: list[tuple[ReadView, SlotView]]


def _own(session: Session, reader_id: OpaqueId) -> _Mine:
    mine = [(view, slot) for view in own_reads(session, reader_id) for slot in view.slots if slot.claim_id]
    asks = [slot.state in HELD or slot.amend_until is not None for _, slot in mine]
    return _Mine(
        in_hand=[one for one, asked in zip(mine, asks, strict=True) if asked],
        finished=[one for one, asked in zip(mine, asks, strict=True) if not asked],
    )


def _readers(session: Session) -> list[tuple[OpaqueId, str]]:
    """Return id and name of everybody to whom a read can be given, by name."""
    query = select(PersonRow.id, PersonRow.name).where(
        PersonRow.role == Role.READER.value, col(PersonRow.disabled_at).is_(None)
    )
    return list(session.exec(query.order_by(col(PersonRow.name), col(PersonRow.id))))


def _gateways(session: Session) -> dict[SiteId, Origin | None]:
    return {row.site: row.gateway_origin for row in session.exec(select(SiteRow))}
