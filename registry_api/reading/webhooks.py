"""Events posted to a person's own program: signed, tried again with growing pauses, and given up on where everybody can see it.

The signing secret of a webhook is derived from the centre's grant key and the webhook's id, so no table holds one.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.shape import OpaqueId
from registry_api.addresses import https_host
from registry_api.people.roles import Role
from registry_api.people.tables import PersonRow
from registry_api.reading.events import ReadEvent, Viewer, events_after
from registry_api.reading.tables import ReadEventRow, WebhookDeliveryRow, WebhookRow

PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 360, 1440))
"""After the n-th failure the next attempt waits so long; after the last one the delivery is dead."""

LEASE = timedelta(minutes=2)
"""How long one sender has a delivery to itself. If it dies, another takes over after that."""

ROLES = frozenset({Role.COORDINATOR, Role.HOSPITAL, Role.READER})
_URL_MAX = 2000


@dataclass(frozen=True, slots=True)
class Message:
    """One attempt to deliver one event."""

    delivery_id: int
    url: str
    body: bytes
    headers: dict[str, str]


def add_webhook(session: Session, person_id: OpaqueId, url: str, *, now: datetime) -> WebhookRow:
    """Post the events from now on that this person may see to `url`.

    Raises:
        InvalidInputError: `not-found` if nobody of that id may follow events; `bad-request` if the address is not a plain https one.
    """
    person = session.get(PersonRow, person_id)
    if person is None or Role(person.role) not in ROLES or person.disabled_at is not None:
        raise InvalidInputError(
            Code.NOT_FOUND, "Nobody of that id may follow reads: a coordinator, a reader or a person of a hospital."
        )
    if len(url) > _URL_MAX or https_host(url) is None:
        raise InvalidInputError(
            Code.BAD_REQUEST, "Give an address that begins with https://, without a name or a mark."
        )
    newest = session.exec(select(ReadEventRow.id).order_by(col(ReadEventRow.id).desc()).limit(1)).first()
    row = WebhookRow(id=secrets.token_hex(16), person_id=person_id, url=url, cursor=newest or 0, created_at=now)
    session.add(row)
    session.flush()
    return row


def end_webhook(session: Session, webhook_id: OpaqueId, *, now: datetime) -> None:
    """Post nothing more; what was not delivered is dropped.

    Raises:
        InvalidInputError: `not-found` if there is none.
    """
    row = webhook_of(session, webhook_id)
    row.ended_at = now
    session.add(row)


def webhook_of(session: Session, webhook_id: OpaqueId) -> WebhookRow:
    """Return a webhook that has not ended.

    Raises:
        InvalidInputError: `not-found` if there is none.
    """
    row = session.get(WebhookRow, webhook_id)
    if row is None or row.ended_at is not None:
        raise InvalidInputError(
            Code.NOT_FOUND, "There is no webhook of that id. `acinus-registry webhooks list` shows them."
        )
    return row


def secret_of(grant_key: Ed25519PrivateKey, webhook_id: OpaqueId) -> str:
    """Return the webhook's signing secret (HKDF, RFC 5869): 256 bits that only the holder of the grant key can make again."""
    derive = HKDF(SHA256(), length=32, salt=None, info=f"acinus webhook 1 {webhook_id}".encode())
    return "whsec_" + base64.urlsafe_b64encode(derive.derive(grant_key.private_bytes_raw())).decode().rstrip("=")


def signature(secret: str, body: bytes, moment: datetime) -> str:
    """Return the value of `Acinus-Signature`: the time, and HMAC-SHA256 over time, a full stop and the body."""
    seconds = int(moment.timestamp())
    mac = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={mac.hexdigest()}"


def is_any(session: Session) -> bool:
    """Say whether somebody has a webhook."""
    return session.exec(select(WebhookRow.id).where(col(WebhookRow.ended_at).is_(None)).limit(1)).first() is not None


def enqueue(session: Session, *, now: datetime) -> int:
    """Write down a delivery for every event that has come for a webhook; return how many."""
    query = (
        select(WebhookRow, PersonRow)
        .join(PersonRow, col(PersonRow.id) == WebhookRow.person_id)
        .where(col(WebhookRow.ended_at).is_(None), col(PersonRow.disabled_at).is_(None))
    )
    written = 0
    for webhook, person in session.exec(query.with_for_update(of=WebhookRow, skip_locked=True)).all():
        viewer = Viewer(person.id, Role(person.role), person.site, person.region)
        events, webhook.cursor = events_after(session, viewer, webhook.cursor, now=now)
        session.add(webhook)
        for event in events:
            session.add(WebhookDeliveryRow(webhook_id=webhook.id, event_id=event.id, body=_body(event), next_at=now))
        written += len(events)
    session.flush()
    return written


def take_due(session: Session, grant_key: Ed25519PrivateKey, *, now: datetime, limit: int = 20) -> list[Message]:
    """Take deliveries whose time has come, oldest first, for one attempt each.

    What happened to one read goes out in its order: an event waits for an earlier one of the same read until that is delivered or dead.
    Nothing goes to the program of somebody who was removed, whatever waits for it.
    """
    query = (
        select(WebhookDeliveryRow, WebhookRow)
        .join(WebhookRow, col(WebhookRow.id) == WebhookDeliveryRow.webhook_id)
        .join(ReadEventRow, col(ReadEventRow.id) == WebhookDeliveryRow.event_id)
        .join(PersonRow, col(PersonRow.id) == WebhookRow.person_id)
        .where(col(WebhookDeliveryRow.next_at) <= now, ~_earlier_waits())
        .where(col(WebhookRow.ended_at).is_(None), col(PersonRow.disabled_at).is_(None))
        .order_by(col(WebhookDeliveryRow.id))
        .limit(limit)
    )
    taken = []
    for row, webhook in session.exec(query.with_for_update(of=WebhookDeliveryRow, skip_locked=True)).all():
        row.next_at = now + LEASE
        session.add(row)
        signed = signature(secret_of(grant_key, webhook.id), row.body, now)
        headers = {
            "Content-Type": "application/json",
            "Acinus-Webhook": webhook.id,
            "Acinus-Event": str(row.event_id),
            "Acinus-Signature": signed,
        }
        taken.append(Message(row.id or 0, webhook.url, row.body, headers))
    return taken


def _earlier_waits() -> Any:
    """Return the condition that an earlier event of the same read is still to be delivered to the same webhook."""
    earlier, event = aliased(WebhookDeliveryRow), aliased(ReadEventRow)
    return (
        select(earlier.id)
        .join(event, col(event.id) == earlier.event_id)
        .where(
            earlier.webhook_id == WebhookDeliveryRow.webhook_id,
            col(earlier.next_at).is_not(None),
            col(earlier.id) < WebhookDeliveryRow.id,
            event.request_id == ReadEventRow.request_id,
        )
        .correlate(WebhookDeliveryRow, ReadEventRow)
        .exists()
    )


def settle(session: Session, delivery_id: int, outcome: str, *, now: datetime) -> None:
    """Note what came of an attempt: a status such as 204, or a word; 2xx is delivered, everything else is tried again or given up."""
    row = session.get(WebhookDeliveryRow, delivery_id, with_for_update=True)
    if row is None or row.delivered_at is not None or row.dead_at is not None:
        return
    row.attempts += 1
    row.outcome = outcome
    row.next_at = None
    if outcome.startswith("2"):
        row.delivered_at = now
    elif row.attempts > len(PAUSES):
        row.dead_at = now
    else:
        row.next_at = now + PAUSES[row.attempts - 1]
    session.add(row)


def dead_letters(session: Session, webhook_id: OpaqueId) -> list[WebhookDeliveryRow]:
    """Return the deliveries of a webhook that were given up, the oldest first."""
    query = select(WebhookDeliveryRow).where(
        WebhookDeliveryRow.webhook_id == webhook_id, col(WebhookDeliveryRow.dead_at).is_not(None)
    )
    return list(session.exec(query.order_by(col(WebhookDeliveryRow.id))))


def redeliver(session: Session, webhook_id: OpaqueId, *, now: datetime) -> int:
    """Try every dead delivery of a webhook anew, from the first pause on; return how many.

    Raises:
        InvalidInputError: `not-found` if there is no such webhook.
    """
    webhook_of(session, webhook_id)
    rows = dead_letters(session, webhook_id)
    for row in rows:
        row.attempts, row.dead_at, row.next_at = 0, None, now
        session.add(row)
    return len(rows)


def _body(event: ReadEvent) -> bytes:
    return event.model_dump_json(exclude_none=True).encode()
