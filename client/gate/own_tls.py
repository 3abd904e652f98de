"""The certificates of the node's own servers, made anew when the node starts: when they are old, or when the gateway has another name now."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from client.gate.certificate import renewal_time
from client.gate.keys import GATEWAY_CA, GATEWAY_CA_KEY, GATEWAY_CERTIFICATE, INSIDE_CERTIFICATE, server_names
from client.store.files import write_durably
from protocol.reading import Origin

_SKEW = timedelta(hours=1)

log = logging.getLogger(__name__)


def renew_own_servers(keys: Path, now: datetime, *, gateway: Origin) -> list[str]:
    """Give gateway and forwarder a new certificate for their keys, where two thirds of the present one's life are over.

    The gateway gets one too where readers are to reach it by a name, `gateway`, that its certificate lacks. The key stays, and with it the
    pin by which the network knows the gateway.

    A certificate of another authority is one that the hospital has put there, and is left alone; so is everything if the authority's key
    is kept elsewhere, or a file cannot be read: `doctor` says so.

    Returns:
        The names of the files that are new.

    Raises:
        UnavailableError: `disk-full`; what was there stays then.
    """
    authority, key = _first(keys / GATEWAY_CA), _key(keys / GATEWAY_CA_KEY)
    if authority is None or key is None:
        return []
    renewed = []
    for name, origin in ((GATEWAY_CERTIFICATE, gateway), (INSIDE_CERTIFICATE, None)):
        leaf = _first(keys / name)
        if leaf is None or not _is_signed_by(leaf, authority):
            continue
        names = _missing_names(leaf, origin)
        if now < renewal_time(leaf) and names is None:
            continue
        write_durably(keys / name, _pem(_reissued(leaf, authority, key, now, names)) + _pem(authority))
        log.info("certificate.renewed", extra={"file": name})
        renewed.append(name)
    return renewed


def _missing_names(leaf: x509.Certificate, origin: Origin | None) -> x509.SubjectAlternativeName | None:
    """Return the names that a server at `origin` needs, or `None` if its certificate has that host among its own."""
    if origin is None:
        return None
    wanted = server_names(origin)
    known = [one.value for one in leaf.extensions if isinstance(one.value, x509.SubjectAlternativeName)]
    return wanted if known and next(iter(wanted)) not in known[0] else None


def _reissued(
    leaf: x509.Certificate,
    authority: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    names: x509.SubjectAlternativeName | None,
) -> x509.Certificate:
    """Return the same certificate with a life that begins now and is as long, within its authority's, and with other names if there are any."""
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    builder = (
        x509.CertificateBuilder()
        .subject_name(leaf.subject)
        .issuer_name(leaf.issuer)
        .public_key(leaf.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(min(now - _SKEW + life, authority.not_valid_after_utc))
    )
    for extension in leaf.extensions:
        value = names if names and isinstance(extension.value, x509.SubjectAlternativeName) else extension.value
        builder = builder.add_extension(value, critical=extension.critical)
    return builder.sign(key, hashes.SHA256())


def _first(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError):
        return None


def _key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _is_signed_by(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
