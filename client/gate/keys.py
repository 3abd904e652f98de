"""Makes a node's keys, and the hospital's own authority for its gateway. Private keys are written here and never leave."""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from client.deidentify.pseudonyms import KEY_FILE, make_key
from client.gate.trust import NODE_KEY
from client.store.files import write_durably
from protocol.codes import Code
from protocol.enrolment import KeyPin
from protocol.errors import UnavailableError
from protocol.reading import Origin

GATEWAY_CERTIFICATE, GATEWAY_KEY, GATEWAY_CA, GATEWAY_CA_KEY = (
    "gateway.pem", "gateway.key", "gateway-ca.pem", "gateway-ca.key",
)  # fmt: skip
INSIDE_CERTIFICATE, INSIDE_KEY = "inside.pem", "inside.key"
SUPERNODE_KEY, SUPERNODE_PUBLIC = "supernode", "supernode.pub"
TUNNEL_KEY, TUNNEL_PUBLIC = "tunnel", "tunnel.pub"
SUPEREXEC_SECRET = "superexec.secret"  # noqa: S105 - the name of a file
CONSOLE_TOKEN = "console.token"  # noqa: S105 - the name of a file

_CA_DAYS, _LEAF_DAYS = 3650, 825
"""825 days is the most that browsers accept of a server's certificate under a private authority."""
_SKEW = timedelta(hours=1)
_INSIDE: Origin = "https://localhost"


@dataclass(frozen=True, slots=True)
class SshPair:
    """Both halves of a key in OpenSSH's own format, as files hold them."""

    private: bytes
    public: bytes

    @property
    def line(self) -> str:
        """The public half without a comment."""
        return self.public.decode("ascii").strip()


@dataclass(frozen=True, slots=True)
class Pair:
    """A key and a certificate for it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def make_keys(folder: Path, *, site_name: str, gateway: Origin, now: datetime) -> None:
    """Write every key of a new node into `folder`, which must not hold any.

    Raises:
        ConflictError: `already-exists` if there is a pseudonym key.
        UnavailableError: `disk-full`.
    """
    make_key(folder / KEY_FILE)
    write_durably(folder / NODE_KEY, _key_pem(ec.generate_private_key(ec.SECP256R1())))
    keep_supernode_key(folder, new_supernode_key())
    make_tunnel_key(folder)
    make_gateway_certificate(folder, site_name=site_name, gateway=gateway, now=now)
    write_durably(folder / SUPEREXEC_SECRET, secrets.token_hex(32).encode())
    write_durably(folder / CONSOLE_TOKEN, secrets.token_urlsafe(24).encode() + b"\n")


def make_gateway_certificate(folder: Path, *, site_name: str, gateway: Origin, now: datetime) -> None:
    """Write the hospital's own authority and two certificates: one for gateway and console, one for the forwarder inside.

    The names in the first are the gateway's host and the loopback's: nobody but the hospital can make another for them. The
    hospital may put a public certificate in its place; the forwarder keeps its own, which the SuperNode goes on trusting.
    """
    authority = _authority(site_name, now)
    write_durably(folder / GATEWAY_CA_KEY, _key_pem(authority.key))
    write_durably(folder / GATEWAY_CA, _pem(authority.certificate))
    for origin, key, certificate in (
        (gateway, GATEWAY_KEY, GATEWAY_CERTIFICATE), (_INSIDE, INSIDE_KEY, INSIDE_CERTIFICATE),
    ):  # fmt: skip
        leaf = _leaf(authority, origin, now)
        write_durably(folder / key, _key_pem(leaf.key))
        write_durably(folder / certificate, _pem(leaf.certificate) + _pem(authority.certificate))


def make_tunnel_key(folder: Path) -> None:
    """Write the key with which the node opens its tunnel at a relay, if there is none yet.

    Raises:
        UnavailableError: `disk-full`.
    """
    if not (folder / TUNNEL_KEY).exists():
        pair = _ssh_pair(ed25519.Ed25519PrivateKey.generate())
        _write_ssh_pair(folder / TUNNEL_KEY, folder / TUNNEL_PUBLIC, pair)


def new_supernode_key() -> SshPair:
    """Return a fresh key for the SuperNode: P-384, as `ssh-keygen -t ecdsa -b 384` makes it and Flower reads it."""
    return _ssh_pair(ec.generate_private_key(ec.SECP384R1()))


def keep_supernode_key(folder: Path, pair: SshPair) -> None:
    """Write the SuperNode's key, in place of an earlier one.

    Raises:
        UnavailableError: `disk-full`.
    """
    _write_ssh_pair(folder / SUPERNODE_KEY, folder / SUPERNODE_PUBLIC, pair)


def signing_request(keys: Path) -> str:
    """Return a signing request (PEM) for the node's key. It carries no name: the centre knows whose it is.

    Raises:
        UnavailableError: `missing-certificate` if the key cannot be read.
    """
    request = x509.CertificateSigningRequestBuilder().subject_name(_named("acinus node"))
    return request.sign(_node_key(keys), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def public_key(keys: Path) -> ec.EllipticCurvePublicKey:
    """Return the public half of the node's key.

    Raises:
        UnavailableError: `missing-certificate` if the key cannot be read.
    """
    return _node_key(keys).public_key()


def supernode_public(keys: Path) -> str:
    """Return the SuperNode's public key in OpenSSH form, without a comment.

    Raises:
        UnavailableError: `missing-certificate` if it cannot be read.
    """
    return _ssh_public(keys / SUPERNODE_PUBLIC)


def tunnel_public(keys: Path) -> str:
    """Return the tunnel's public key in OpenSSH form, without a comment.

    Raises:
        UnavailableError: `missing-certificate` if it cannot be read.
    """
    return _ssh_public(keys / TUNNEL_PUBLIC)


def gateway_pin(keys: Path) -> KeyPin:
    """Return the pin of the gateway's certificate, whoever signed that: it changes with the key only.

    Raises:
        UnavailableError: `missing-certificate` if the certificate cannot be read.
    """
    return key_pin(load_certificate(keys / GATEWAY_CERTIFICATE))


def key_pin(certificate: x509.Certificate) -> KeyPin:
    """Return the pin of a certificate's key: SHA-256 of its SubjectPublicKeyInfo (RFC 7469, section 2.4)."""
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.urlsafe_b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _ssh_public(path: Path) -> str:
    try:
        return " ".join(path.read_text(encoding="ascii").split()[:2])
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path) from error


def load_certificate(path: Path) -> x509.Certificate:
    """Return the first certificate in a PEM file.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError, IndexError) as error:
        raise _unusable(path) from error


def _node_key(keys: Path) -> ec.EllipticCurvePrivateKey:
    path = keys / NODE_KEY
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(path) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _unusable(path)
    return key


def _ssh_pair(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> SshPair:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return SshPair(private, public + b"\n")


def _write_ssh_pair(private: Path, public: Path, pair: SshPair) -> None:
    """Write both halves of a key; the public one first, so that a whole private one has its other half."""
    write_durably(public, pair.public)
    write_durably(private, pair.private)


def _authority(site_name: str, now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "Acinus gateway authority"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, site_name[:64]),
        ]
    )
    builder = (
        _builder(name, name, key, now, days=_CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Pair(key, builder.sign(key, hashes.SHA256()))


def _leaf(authority: Pair, gateway: Origin, now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.subject
    builder = (
        _builder(_named("Acinus gateway"), issuer, key, now, days=_LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(server_names(gateway), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    return Pair(key, builder.sign(authority.key, hashes.SHA256()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, *, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - _SKEW)
        .not_valid_after(now.astimezone(UTC) + timedelta(days=days))
    )


def server_names(gateway: Origin) -> x509.SubjectAlternativeName:
    """Return the names of a gateway's certificate: its host, by name or address, and the loopback under both of its names."""
    host = urlsplit(gateway).hostname or "localhost"
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    try:
        own: x509.GeneralName = x509.IPAddress(ip_address(host))
    except ValueError:
        own = x509.DNSName(host)
    return x509.SubjectAlternativeName([own, *(name for name in names if name != own)])


def _usage(**granted: bool) -> x509.KeyUsage:
    none = dict.fromkeys(
        (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
            "crl_sign", "encipher_only", "decipher_only",
        ),
        False,
    )  # fmt: skip
    return x509.KeyUsage(**(none | granted))


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _unusable(path: Path) -> UnavailableError:
    return UnavailableError(
        Code.MISSING_CERTIFICATE, f"{path} is missing or damaged. Restore it from the backup of the node's keys."
    )
