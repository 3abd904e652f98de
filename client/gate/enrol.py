"""Joins the network with an invite. Until the CA's certificate matches the invite's hash, nothing that was received is believed."""

import hashlib
import json
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from client.gate.certificate import check_certificate
from client.gate.keys import (
    gateway_pin,
    keep_supernode_key,
    make_tunnel_key,
    new_supernode_key,
    public_key,
    signing_request,
    tunnel_public,
)
from client.gate.lists import check_root
from client.gate.trust import Centre, keep_reply
from protocol.codes import Code
from protocol.enrolment import EnrolReply, EnrolRequest, Invite
from protocol.errors import FederationError, RefusedError, UnavailableError, error_for
from protocol.reading import Origin
from protocol.release import METADATA_CHARACTERS_MAX
from protocol.shape import Sha256

_SECONDS = 20.0
"""The patience with each step of a request, and with the whole answer to it."""

_BYTES_MAX = 3 * METADATA_CHARACTERS_MAX
"""Of an answer so much is read: until the CA is known, anybody may be answering. An enrolment is a root of the lists and a few certificates."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the registry said."""

    status: int
    date: str | None
    content: bytes


def enrol(invite: Invite, *, keys: Path, trust: Path, gateway: Origin) -> Centre:
    """Use the invite: prove the node's key to the centre, and keep the certificate that comes back.

    The SuperNode's key is a fresh one each time: Flower never takes back a key that it was told to forget, as it is when a site is
    revoked. The new one is put in place once the centre has taken it, so an invite that is refused leaves a node as it was.

    Returns:
        What the node pins from now on.

    Raises:
        RefusedError: `invite-invalid` if the centre is another one than the invite names, or refuses the invite.
        ConflictError: `invite-used`.
        UnavailableError: `peer-unreachable`, `missing-certificate` if a key of the node cannot be read, `disk-full`.
    """
    make_tunnel_key(keys)  # a node that was made before there were relays has none
    supernode = new_supernode_key()
    request = EnrolRequest(
        token=invite.token,
        csr_pem=signing_request(keys),
        supernode_key=supernode.line,
        gateway_origin=gateway,
        tunnel_key=tunnel_public(keys),
        gateway_pin=gateway_pin(keys),
    )
    ca_pem = fetch_ca(invite.registry, invite.ca_sha256)
    reply = _post(invite.registry, request, ca_pem)
    _check(reply, invite, ca_pem, keys)
    keep_supernode_key(keys, supernode)
    return keep_reply(reply, registry=invite.registry, trust=trust)


def fetch_ca(registry: Origin, ca_sha256: Sha256) -> str:
    """Return the network's CA certificate (PEM). It is fetched unverified, and believed only for its hash.

    Raises:
        RefusedError: `invite-invalid` if the hash is another than the invite's.
        UnavailableError: `peer-unreachable`.
    """
    answer = _ask(registry, "GET", "/v1/ca.pem", unverified())
    try:
        certificate = x509.load_pem_x509_certificate(answer.content)
    except ValueError as error:
        raise _another_centre(registry) from error
    if hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest() != ca_sha256:
        raise _another_centre(registry)
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def unverified() -> ssl.SSLContext:
    """Return a TLS context that takes anybody for the registry: until its CA is known, there is nothing to verify with."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def reach(registry: Origin, verified: ssl.SSLContext) -> datetime | None:
    """Ask the registry whether it is there.

    Returns:
        The time by its clock, if it says one.

    Raises:
        UnavailableError: `peer-unreachable`.
    """
    said = _ask(registry, "GET", "/v1/health", verified).date
    try:
        theirs = parsedate_to_datetime(said) if said else None
    except ValueError:
        return None
    return theirs.replace(tzinfo=theirs.tzinfo or UTC) if theirs else None


def _post(registry: Origin, request: EnrolRequest, ca_pem: str) -> EnrolReply:
    verified = ssl.create_default_context(cadata=ca_pem)
    answer = _ask(registry, "POST", "/v1/enrolments", verified, content=request.model_dump_json())
    try:
        return EnrolReply.model_validate_json(answer.content)
    except ValidationError as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE, f"{registry} answered with something that is no enrolment. Ask the coordinator."
        ) from error


def _ask(registry: Origin, method: str, path: str, context: ssl.SSLContext, content: str | None = None) -> _Answer:
    """Send one request. httpx honours HTTPS_PROXY, as a hospital needs it.

    Raises:
        FederationError: The one that the registry's problem document names.
        UnavailableError: `peer-unreachable`, also if the answer is larger or slower than any of a registry's.
    """
    headers = {"Content-Type": "application/json"} if content is not None else {}
    try:
        with (
            httpx.Client(verify=context, timeout=_SECONDS) as client,
            client.stream(method, registry + path, content=content, headers=headers) as opened,
        ):
            answer = _Answer(opened.status_code, opened.headers.get("Date"), _content(registry, opened))
    except httpx.HTTPError as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE,
            f"{registry} does not answer ({type(error).__name__}). Check network, proxy and firewall; `doctor` says more.",
        ) from error
    if httpx.codes.is_success(answer.status):
        return answer
    raise _named_error(registry, answer)


def _content(registry: Origin, opened: httpx.Response) -> bytes:
    content, until = bytearray(), time.monotonic() + _SECONDS
    for piece in opened.iter_bytes():
        content += piece
        if len(content) > _BYTES_MAX or time.monotonic() > until:
            raise UnavailableError(
                Code.PEER_UNREACHABLE,
                f"What answers at {registry} does not answer as a registry does: it sends without end. Check network and proxy.",
            )
    return bytes(content)


def _named_error(registry: Origin, answer: _Answer) -> FederationError:
    """Return the registry's own refusal, in our words."""
    try:
        code = Code(json.loads(answer.content)["code"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return UnavailableError(
            Code.PEER_UNREACHABLE,
            f"{registry} answered with status {answer.status}, as a proxy in between may. `doctor` says more; or ask the coordinator.",
        )
    return error_for(code, _SAID.get(code, ""))


_SAID = {
    Code.INVITE_USED: "The invite was used before. If `doctor` says that this node is enrolled, all is well; if not, tell the coordinator and "
    "ask for a new one.",
    Code.INVITE_INVALID: "The invite is unknown, expired or revoked. Ask the coordinator for a new one.",
    Code.ALREADY_EXISTS: "Another site has a key of this node or the name of its gateway, or enrolled in the same moment. The invite is not "
    "used up: try again, then correct [gateway] origin or ask the coordinator.",
}


def _check(reply: EnrolReply, invite: Invite, ca_pem: str, keys: Path) -> None:
    """Refuse an answer that is not for this invite, this network and this node's key.

    Raises:
        RefusedError: `signature-invalid`.
    """
    check_certificate(reply.certificate_pem, ca_pem=ca_pem, site=invite.site, key=public_key(keys))
    try:
        same_network = x509.load_pem_x509_certificate(reply.ca_pem.encode()) == x509.load_pem_x509_certificate(
            ca_pem.encode()
        )
    except ValueError as error:
        raise _wrong_answer() from error
    if not same_network or reply.site != invite.site:
        raise _wrong_answer()
    check_root(reply.release_root)


def _wrong_answer() -> RefusedError:
    return RefusedError(
        Code.SIGNATURE_INVALID, "The centre's answer is not for this invite, network and key. Tell the coordinator."
    )


def _another_centre(registry: Origin) -> RefusedError:
    return RefusedError(
        Code.INVITE_INVALID,
        f"{registry} is not the centre that wrote this invite (its CA certificate is another). Tell the coordinator.",
    )
