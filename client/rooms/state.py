"""How the node is: what `acinus-node status` prints and the console shows."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from client.gate.certificate import renewal_time
from client.gate.keys import load_certificate
from client.gate.policy import SitePolicy
from client.gate.policy_file import load_policy
from client.gate.trust import CERTIFICATE, is_enrolled, load_centre
from client.parts import is_running, parts_of, read_parts
from client.rooms.border import open_contact, open_gate, open_inbox, open_renewals, utc_now
from client.rooms.imaging import open_context, open_shelf, open_store
from client.rooms.pacs import open_outgoing, open_pulled, open_report_queue, report_channels
from client.rooms.training import open_monitor_book, releases_of
from client.settings import NodeSettings
from protocol.codes import meaning_of
from protocol.errors import InvalidInputError, UnavailableError


def status_of(settings: NodeSettings) -> dict[str, Any]:
    """Return what `acinus-node status --json` prints; works while the node runs and while it does not."""
    enrolled = is_enrolled(settings.trust)
    outbox = open_gate(settings).outbox
    link = open_contact(settings).read()
    running = is_running(settings.home)
    return {
        "ok": True,
        "name": settings.site.name,
        "site": load_centre(settings.trust).site if enrolled else None,
        "enrolled": enrolled,
        "running": running,
        "parts": {name: part.state for name, part in read_parts(settings.home, parts_of(settings)).items()},
        "studies": open_store(settings).counts(),
        "context": open_context(settings).counts(),
        "outbox": outbox.counts()["waiting"],
        "parked": [
            {"kind": parked.kind, "code": parked.code, "meaning": meaning_of(parked.code)} for parked in outbox.parked()
        ],
        "stuck": [
            {
                "kind": one.kind,
                "attempts": one.attempts,
                "received": _stamp(one.received),
                "code": one.code,
                "meaning": meaning_of(one.code or ""),
            }
            for one in open_inbox(settings).stuck()
        ],
        "link": {
            "connected": link.connected and running,
            "heard": _stamp(link.heard) if link.heard else None,
        },
        "certificate": certificate_state(settings) if enrolled else None,
        "model_release": open_shelf(settings).current(),
        "release": release_state(settings),
        "pacs": pacs_state(settings),
        "tunnel": tunnel_state(settings),
    }


def certificate_state(settings: NodeSettings) -> dict[str, Any] | None:
    """Return how long the node's certificate is good and how its renewal goes, for `status`; `None` if it cannot be read."""
    try:
        certificate = load_certificate(settings.trust / CERTIFICATE)
    except UnavailableError:
        return None
    last, until, due = open_renewals(settings).last(), certificate.not_valid_after_utc, renewal_time(certificate)
    return {
        "until": _stamp(until),
        "days": max(0, (until - utc_now()).days),
        "renewal": _stamp(due),
        "tried": _stamp(last.tried) if last else None,
        "code": last.code if last and last.tried >= due else None,  # an earlier one was of another certificate
    }


def pacs_state(settings: NodeSettings) -> dict[str, Any] | None:
    """Return how the exchange with the PACS is, for `status`; `None` where none is set up."""
    if "pacs" not in parts_of(settings):
        return None
    outgoing, reports, pulled = open_outgoing(settings), open_report_queue(settings), open_pulled(settings)
    return {
        "send": settings.pacs.send,
        "findings": outgoing.counts(),
        "stuck": [
            {"study_key": one.study_key, "object": one.object, "attempts": one.attempts, "code": one.code}
            for one in outgoing.stuck()
        ],
        "reports": reports.counts() if report_channels(settings) else None,
        "stuck_reports": [
            {"claim_id": one.claim_id, "channel": one.channel, "attempts": one.attempts, "code": one.code}
            for one in reports.stuck()
        ],
        "pull": asdict(pulled.state()) if settings.pull.rules else None,
        "stuck_pulls": [asdict(one) for one in pulled.stuck()] if settings.pull.rules else [],
    }


def release_state(settings: NodeSettings) -> dict[str, Any]:
    """Return how the release in use does here, for `status` and the console; none of it but the word may leave."""
    from client.train.look import figures_of

    shelf, book = open_shelf(settings), open_monitor_book(settings)
    cases = open_store(settings).labels.held_out_cases()
    try:
        policy = load_policy(settings.policy)
    except InvalidInputError:  # `doctor` says what is wrong with it
        policy = SitePolicy()
    found = figures_of(book, releases_of(shelf), cases, policy)
    told = book.told()
    return {
        **asdict(found),
        "drifts": [{**asdict(one), "changed": one.changed} for one in found.drifts],
        "told": told.standing if told is not None and told.release == found.taken else None,
    }


def tunnel_state(settings: NodeSettings) -> dict[str, Any] | None:
    """Return how the tunnel to the relay is, for `status`; `None` where none is set up."""
    from client.gate.tunnel import TunnelBook

    if not settings.relay.address:
        return None
    state = TunnelBook(settings.home, utc_now).read()
    return {
        "relay": settings.relay.address,
        "connected": state.connected and is_running(settings.home),
        "since": state.since,
        "code": state.code,
        "seen": state.seen,
        "looked": state.looked,
    }


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
