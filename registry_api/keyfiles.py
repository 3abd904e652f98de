"""The centre's keys and certificates as files: read here, and nowhere else."""

import base64
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pydantic import ValidationError

from protocol.codes import Code
from protocol.errors import UnavailableError
from registry_api.enrolment.authority import Authority
from registry_api.enrolment.relay import Relay
from registry_api.settings import RegistrySettings


def load_authority(settings: RegistrySettings) -> Authority:
    """Return the network's CA.

    Raises:
        UnavailableError: `missing-certificate` if its certificate or key cannot be read.
    """
    paths = settings.within(settings.authority.certificate), settings.within(settings.authority.key)
    try:
        certificate = x509.load_pem_x509_certificate(read_secret(paths[0]))
    except ValueError as error:
        raise unusable(paths[0], "is no PEM certificate") from error
    key = _load_private(paths[1])
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise unusable(paths[1], "is no elliptic-curve key")
    return Authority(certificate=certificate, key=key, node_days=settings.authority.node_days)


def load_relay(settings: RegistrySettings) -> Relay | None:
    """Return the relay as nodes are told of it; none where the network has none.

    Raises:
        UnavailableError: `missing-certificate` if its host key cannot be read.
    """
    relay = settings.relay
    if not relay.address:
        return None
    path = settings.within(relay.host_key)
    try:
        words = read_secret(path).decode("ascii").split()
        return Relay(
            address=relay.address, login=relay.login, host_key=" ".join(words[:2]), first_port=relay.first_port
        )
    except (UnicodeDecodeError, ValidationError) as error:
        raise unusable(path, "is no OpenSSH public key (Ed25519)") from error


def load_signing_key(path: Path) -> ed25519.Ed25519PrivateKey:
    """Return the Ed25519 private key in a PKCS#8 PEM file.

    Raises:
        UnavailableError: `missing-certificate` if it cannot be read.
    """
    key = _load_private(path)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise unusable(path, "is no Ed25519 key")
    return key


def raw_key(key: ed25519.Ed25519PublicKey) -> str:
    """Return the key's 32 bytes, base64url without padding, as enrolment replies carry it."""
    return base64.urlsafe_b64encode(key.public_bytes_raw()).decode().rstrip("=")


def read_secret(path: Path) -> bytes:
    """Return what a key file holds.

    Raises:
        UnavailableError: `missing-certificate` if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise unusable(path, "cannot be read") from error


def _load_private(path: Path) -> object:
    try:
        return serialization.load_pem_private_key(read_secret(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise unusable(path, "is no unencrypted PEM private key") from error


def unusable(path: Path, what: str) -> UnavailableError:
    """Return the error that a key file is not what it should be, with what to do about it."""
    return UnavailableError(
        Code.MISSING_CERTIFICATE,
        f"{path} {what}. `acinus-centre init` makes it; check that it is there and belongs to this user.",
    )
