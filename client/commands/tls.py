"""What `acinus-node doctor` says of the files that TLS needs: there, readable, a pair, not expired."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from client.gate.keys import GATEWAY_CERTIFICATE, GATEWAY_KEY
from client.settings import NodeSettings
from protocol.codes import Code
from protocol.errors import UnavailableError


def receiver_days(settings: NodeSettings) -> int | None:
    """Return for how many days the files of `[dicom] tls_…` are still good; `None` where the receiver speaks no TLS.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    dicom, home = settings.dicom, settings.home
    if dicom.tls_certificate is None or dicom.tls_key is None:
        return None
    days = pair_days(home / dicom.tls_certificate, home / dicom.tls_key, "[dicom] tls_certificate and tls_key")
    if dicom.tls_callers_ca is not None:
        days = min(days, authority_days(home / dicom.tls_callers_ca, "[dicom] tls_callers_ca"))
    return days


def gateway_days(settings: NodeSettings) -> int:
    """Return for how many days the certificate of gateway, console, STOW-RS and FHIR is still good.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    return pair_days(settings.keys / GATEWAY_CERTIFICATE, settings.keys / GATEWAY_KEY, "the gateway")


def pacs_days(settings: NodeSettings) -> int | None:
    """Return for how many days the files of `[pacs]` are still good; `None` where none is named.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    pacs, home = settings.pacs, settings.home
    days = []
    if pacs.ca:
        days.append(authority_days(home / pacs.ca, "[pacs] ca"))
    if pacs.certificate:
        key = home / (pacs.key or pacs.certificate)  # one file may hold both
        days.append(pair_days(home / pacs.certificate, key, "[pacs] certificate and key"))
    return min(days, default=None)


def pair_days(certificate: Path, key: Path, where: str) -> int:
    """Return for how many days a certificate is still valid, once it is sure that it and its key are a pair.

    Args:
        certificate: PEM; its first certificate counts.
        key: PEM, without a passphrase.
        where: What they are for, as a message begins.

    Raises:
        UnavailableError: `missing-certificate` if one is missing, damaged or closed to the node, they are no pair, or it has expired.
    """
    leaf = _certificates(certificate, where)[0]
    try:
        private = load_pem_private_key(_content(key, where), password=None)
    except (ValueError, TypeError) as error:
        raise _unusable(
            where, f"{key} is no private key in PEM, or has a passphrase. Restore it without one."
        ) from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise _unusable(where, f"{key} is not the key of {certificate}. Put the two together that belong together.")
    return _days(leaf, certificate, where)


def authority_days(path: Path, where: str) -> int:
    """Return for how many days the first of the authority's certificates to expire is still valid.

    Raises:
        UnavailableError: `missing-certificate` if the file is missing, damaged or closed to the node, or all of it has expired.
    """
    found = sorted(_certificates(path, where), key=lambda one: one.not_valid_after_utc)
    _days(found[-1], path, where)
    alive = [one for one in found if one.not_valid_after_utc > datetime.now(UTC)]
    return _days(alive[0], path, where)


def _days(certificate: x509.Certificate, path: Path, where: str) -> int:
    now = datetime.now(UTC)
    if certificate.not_valid_before_utc > now:
        raise _unusable(
            where, f"{path} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}. Look at the clock."
        )
    left = certificate.not_valid_after_utc - now
    if left.total_seconds() <= 0:
        raise _unusable(where, f"{path} expired {abs(left).days} days ago. Put a new one in its place.")
    return left.days


def _certificates(path: Path, where: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_content(path, where))
    except ValueError as error:
        raise _unusable(where, f"{path} holds no certificate in PEM. Restore it.") from error


def _content(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise _unusable(where, f"{path} is missing. Restore it, or correct the setting.") from error
    except OSError as error:
        raise _unusable(where, f"{path} cannot be read by this user. Correct its owner or its mode.") from error


def _unusable(where: str, what: str) -> UnavailableError:
    return UnavailableError(Code.MISSING_CERTIFICATE, f"{where}: {what}")
