"""Taking alerts out of the house: a mail over SMTP, or a signed POST to a webhook."""

import base64
import json
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError
from registry_api.alerts.rules import written_values
from registry_api.alerts.service import Delivery

SIGNATURE_HEADER = "X-Acinus-Signature"
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The SMTP server that mails go through. Without `user` it takes them as they come; with `tls` off it must be on this machine."""

    host: str
    port: int
    sender: str
    tls: bool
    user: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class Carrier:
    """Delivers alerts. `trust` says whom to believe at the other end; `origin` is named in messages."""

    origin: str
    key: Ed25519PrivateKey
    trust: ssl.SSLContext
    mailbox: Mailbox | None

    def carry(self, delivery: Delivery) -> None:
        """Deliver an alert.

        Raises:
            UnavailableError: `peer-unreachable` if the other end does not take it.
            RefusedError: `peer-refused` if the mail would go to another address than the target.
        """
        if delivery.target.startswith("https://"):
            self._post(delivery)
        else:
            self._mail(delivery)

    def _post(self, delivery: Delivery) -> None:
        """Post what happened as JSON; its signature is over the very bytes. Redirects are not followed."""
        body = json.dumps(self.content(delivery)).encode()
        signature = base64.urlsafe_b64encode(self.key.sign(body)).decode().rstrip("=")
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signature}
        try:
            with (
                httpx.Client(verify=self.trust, timeout=_PATIENCE_S, trust_env=False) as client,
                client.stream("POST", delivery.target, content=body, headers=headers) as answer,
            ):
                status, taken = answer.status_code, answer.is_success  # its body, however long, is not read
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError(
                Code.PEER_UNREACHABLE, f"The webhook does not answer: {type(error).__name__}."
            ) from error
        if not taken:
            raise UnavailableError(Code.PEER_UNREACHABLE, f"The webhook answers {status}.")

    def _mail(self, delivery: Delivery) -> None:
        if self.mailbox is None:
            raise UnavailableError(Code.PEER_UNREACHABLE, "No mail server is set under [alerts].")
        message = self.message(delivery, sender=self.mailbox.sender)
        if [to.addr_spec for to in message["To"].addresses] != [delivery.target]:  # it is what the server will be told
            raise RefusedError(Code.PEER_REFUSED, "The target is not one plain mail address.")
        try:
            with smtplib.SMTP(self.mailbox.host, self.mailbox.port, timeout=_PATIENCE_S) as server:
                if self.mailbox.tls:
                    server.starttls(context=self.trust)
                if self.mailbox.user:
                    server.login(self.mailbox.user, self.mailbox.password)
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise UnavailableError(
                Code.PEER_UNREACHABLE, f"The mail server does not take it: {type(error).__name__}."
            ) from error

    def content(self, delivery: Delivery) -> dict[str, object]:
        """Return what a message says, for programs."""
        condition = delivery.condition
        return {
            "kind": "acinus-alert",
            "id": delivery.alert_id,
            "registry": self.origin,
            "release": delivery.release,
            "week": delivery.week,
            "place": condition.place,
            "of": written_values(condition.values) or "all",
            "measure": condition.measure.value,
            "above" if condition.above else "below": condition.threshold,
            "measured": delivery.measured,
            "count": delivery.count,
        }

    def message(self, delivery: Delivery, *, sender: str) -> EmailMessage:
        """Return what a message says, for people."""
        condition = delivery.condition
        of = written_values(condition.values) or "all studies"
        message = EmailMessage()
        message["From"], message["To"] = sender, delivery.target
        message["Subject"] = (
            f"Acinus: {condition.place}, week {delivery.week}: {condition.measure.value} {delivery.measured:g}"
        )
        message["Message-ID"] = f"<{delivery.alert_id}@{sender.rpartition('@')[2]}>"
        message.set_content(
            f"{condition.place}, week {delivery.week}, {of}: {delivery.count} studies (rounded).\n"
            f"{condition.measure.value}: {delivery.measured:g}, "
            f"at or {'above' if condition.above else 'below'} the threshold of {condition.threshold:g}.\n\n"
            f"Release {delivery.release}: {self.origin}/registry?place={condition.place}&week={delivery.week}\n"
        )
        return message
