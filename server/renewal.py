"""The certificates of the centre's own servers, made young again when the centre starts: by the network's authority, for the same keys and names."""

import logging
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from server.authority import Authority, certificate_pem, reissue
from server.files import write_durably
from server.home import SERVERS

_LIFE_BEFORE_RENEWAL = 2 / 3

log = logging.getLogger(__name__)


def renew_servers(pki: Path, now: datetime) -> list[str]:
    """Give every server whose certificate is past two thirds of its life, or over it, a new one for its key.

    What the network's authority did not sign is the coordinator's own and is left alone; so is everything if the authority's key is kept
    elsewhere, or a file cannot be read: `doctor` says so.

    Args:
        pki: The folder that `init` made.
        now: Start of the new lives.

    Returns:
        Whose certificates are new.

    Raises:
        UnavailableError: `disk-full`; what was there stays then.
    """
    authority = _authority(pki)
    if authority is None:
        return []
    renewed = []
    for part in SERVERS:
        path = pki / f"{part}.pem"
        leaf = _first(path)
        if leaf is None or now < _renewal_time(leaf) or not _is_signed_by(leaf, authority):
            continue
        chain = certificate_pem(reissue(authority, leaf, now)) + certificate_pem(authority.certificate)
        write_durably(path, chain)
        log.info("certificate.renewed", extra={"part": part})
        renewed.append(part)
    return renewed


def _authority(pki: Path) -> Authority | None:
    certificate = _first(pki / "ca.pem")
    try:
        key = serialization.load_pem_private_key((pki / "ca.key").read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return None
    return Authority(certificate, key) if certificate and isinstance(key, ec.EllipticCurvePrivateKey) else None


def _first(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError):
        return None


def _renewal_time(leaf: x509.Certificate) -> datetime:
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return leaf.not_valid_before_utc + life * _LIFE_BEFORE_RENEWAL


def _is_signed_by(leaf: x509.Certificate, authority: Authority) -> bool:
    try:
        leaf.verify_directly_issued_by(authority.certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
