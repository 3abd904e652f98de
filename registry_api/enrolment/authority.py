"""The network's certificate authority: signing requests in, client certificates out."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protocol.codes import Code
from protocol.errors import InvalidInputError

_CLOCK_SKEW = timedelta(minutes=5)
_SERIAL_BITS = 160
_CURVES = (ec.SECP256R1, ec.SECP384R1)


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A client certificate; `serial` in hex, as it is compared everywhere."""

    pem: str
    serial: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA's certificate and key. It signs client certificates for nodes and nothing else."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    node_days: int

    @property
    def pem(self) -> str:
        """The CA certificate, PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def sha256(self) -> str:
        """SHA-256 of the CA certificate (DER), as invites pin it."""
        return certificate_sha256(self.certificate)

    def issue(self, csr_pem: str, *, site: str, now: datetime) -> IssuedCertificate:
        """Sign a client certificate for `site`. Whatever name the request carries, the certificate says `site`.

        Raises:
            InvalidInputError: `bad-request` if the request is damaged, does not prove possession of its key, or has another kind of key.
        """
        key = proven_key(csr_pem)
        expires = min(now + timedelta(days=self.node_days), self.certificate.not_valid_after_utc)
        serial = new_serial()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)]))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(expires)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_SIGNATURES_ONLY, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        return IssuedCertificate(pem=pem, serial=serial_hex(serial), not_after=certificate.not_valid_after_utc)


_SIGNATURES_ONLY = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def certificate_sha256(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the certificate's DER form, in hex."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def new_serial() -> int:
    """Return a random serial of 159 bits, the highest set, so that its hex form always has 40 digits (RFC 5280 allows 20 octets, positive)."""
    return secrets.randbits(_SERIAL_BITS - 2) | 1 << (_SERIAL_BITS - 2)


def serial_hex(serial: int) -> str:
    """Return a certificate's serial in lower-case hex, without leading zeros."""
    return format(serial, "x")


def proven_key(csr_pem: str) -> ec.EllipticCurvePublicKey:
    """Return the request's key, once its signature shows that the sender holds the private half."""
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        proven = request.is_signature_valid
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInputError(
            Code.BAD_REQUEST, "The signing request is damaged. Run `acinus-node enrol` again."
        ) from error
    if not proven:
        raise InvalidInputError(Code.BAD_REQUEST, "The signing request is not signed with its own key. Make a new one.")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise InvalidInputError(Code.BAD_REQUEST, "The signing request must carry a key on P-256 or P-384.")
    return key
