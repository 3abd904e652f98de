"""How a hospital joins: an invite, a signing request, a certificate and the keys to pin."""

import base64
import binascii
import ipaddress
import json
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, ValidationError

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.reading import Origin
from protocol.release import METADATA_CHARACTERS_MAX
from protocol.shape import RegionCode, Sha256, Shape, SiteId, canonical_json

Pem = Annotated[str, StringConstraints(pattern=r"^-----BEGIN [A-Z ]+-----[A-Za-z0-9+/=\s-]+$", max_length=20_000)]
"""A certificate (or a chain) or a signing request: base64 between its marks, and nothing else."""

SshPublicKey = Annotated[str, StringConstraints(pattern=r"^ecdsa-sha2-nistp384 [A-Za-z0-9+/=]+$", max_length=400)]
"""An OpenSSH public key on P-384, without its comment."""

TunnelKey = Annotated[str, StringConstraints(pattern=r"^ssh-ed25519 AAAA[A-Za-z0-9+/]{64}$")]
"""An OpenSSH public key, Ed25519, without its comment: of a node's tunnel, or of the relay."""

KeyPin = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
"""SHA-256 of a TLS server's public key (its SubjectPublicKeyInfo, as in RFC 7469), base64url without padding."""

TunnelPort = Annotated[int, Field(ge=1024, le=65_535)]
"""A port on the relay's loopback that is one site's own: where its tunnel ends."""

RawKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
"""An Ed25519 public key, 32 bytes, base64url without padding."""

Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,253}:[0-9]{1,5}$")]


class RelayPin(Shape):
    """How a node reaches the relay, and by what it knows it. `login` is the account that the tunnel server runs under."""

    address: Address
    login: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,30}$")]
    host_key: TunnelKey
    port: TunnelPort


class Invite(Shape):
    """What the coordinator hands to a hospital out of band. One use, short life.

    `ca_sha256` pins the network's CA certificate (DER), so that the first contact cannot be intercepted.
    """

    registry: Origin
    ca_sha256: Sha256
    site: SiteId
    token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]


class EnrolRequest(Shape):
    """What a node sends to be enrolled: public keys only.

    `tunnel_key` opens its tunnel at the relay. `gateway_pin` is of its gateway's certificate, for all who talk to the gateway.
    """

    token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
    csr_pem: Pem
    supernode_key: SshPublicKey
    gateway_origin: Origin
    tunnel_key: TunnelKey | None = None
    gateway_pin: KeyPin | None = None


class EnrolReply(Shape):
    """What the centre answers: the node's certificate, and the keys and addresses to pin. `relay` is absent where the network has none."""

    site: SiteId
    region: RegionCode
    certificate_pem: Pem
    ca_pem: Pem
    release_root: Annotated[str, StringConstraints(max_length=METADATA_CHARACTERS_MAX)]
    """Who may say which releases count: the newest root of The Update Framework's lists."""
    grant_key: RawKey
    link_address: Address
    fleet_address: Address
    relay: RelayPin | None = None


class SiteEntry(Shape):
    """A site as the federation side of the centre and the relay need it.

    `certificate_serials` are those that hold; the first is the one that its node should be using.
    """

    site: SiteId
    region: RegionCode
    supernode_key: SshPublicKey | None
    active: bool
    certificate_serials: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,40}$")], ...] = Field(default=())
    gateway_origin: Origin | None = None
    gateway_pin: KeyPin | None = None
    tunnel_key: TunnelKey | None = None
    tunnel_port: TunnelPort | None = None


def server_name(origin: Origin | None) -> str | None:
    """Return the name that a browser sends in its TLS hello for `origin`; none where it sends none (RFC 6066, section 3), or this machine's."""
    host = (urlsplit(origin).hostname or "").lower() if origin else ""
    if not host or host == "localhost" or host.endswith(".localhost"):
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return None


def encode_invite(invite: Invite) -> str:
    """Return the invite as one word that survives an e-mail."""
    return base64.urlsafe_b64encode(canonical_json(invite)).decode().rstrip("=")


def decode_invite(word: str) -> Invite:
    """Return the invite that `encode_invite` wrote.

    Raises:
        RefusedError: `invite-invalid` if the word is damaged.
    """
    try:
        raw = base64.urlsafe_b64decode(word.strip() + "=" * (-len(word.strip()) % 4))
        return Invite.model_validate(json.loads(raw))
    except (binascii.Error, UnicodeError, ValueError, ValidationError) as error:
        raise RefusedError(
            Code.INVITE_INVALID, "The invite is damaged. Copy it again in full, as one word, or ask for a new one."
        ) from error
