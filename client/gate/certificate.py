"""What makes a certificate this node's own: the pinned authority's signature, the site's name, the node's key; and when it is time for the next."""

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.shape import SiteId

_LIFE_BEFORE_RENEWAL = 2 / 3


def check_certificate(pem: str, *, ca_pem: str, site: SiteId, key: ec.EllipticCurvePublicKey) -> x509.Certificate:
    """Return a certificate that the centre sent, once it is sure that it is ours.

    Args:
        pem: What was sent.
        ca_pem: The network's CA certificate, as it is pinned.
        site: Who this node is.
        key: The public half of the node's key.

    Raises:
        RefusedError: `signature-invalid` if another authority signed it, or it is for another site or key.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem.encode()))
        [name] = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        ours = name.value == site and certificate.public_key() == key
    except Exception as error:  # cryptography names no common type for what may be wrong here
        raise _not_ours() from error
    if not ours:
        raise _not_ours()
    return certificate


def renewal_time(certificate: x509.Certificate) -> datetime:
    """Return when a certificate is to be renewed: two thirds of its life are over, one third is left for a centre that is away."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_before_utc + life * _LIFE_BEFORE_RENEWAL


def _not_ours() -> RefusedError:
    return RefusedError(
        Code.SIGNATURE_INVALID,
        "The centre sent a certificate that is not of this network, this site and this node's key. Tell the coordinator.",
    )
