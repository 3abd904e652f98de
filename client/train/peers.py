"""Who the other sites of a secure summation are: certificates of the network's authority, and what their holders signed.

The centre carries every word between sites, so nothing that it says of a site is believed without that site's signature.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from client.gate.trust import Identity
from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError
from protocol.secure_sum import RoundKeys, SignedKeys, View
from protocol.shape import Shape, canonical_json
from strategies.securesum.agreement import to_bytes, to_text

_PURPOSES: dict[type[Shape], bytes] = {RoundKeys: b"acinus round keys\0", View: b"acinus view\0"}
"""What is signed begins with what it is, so that no signature serves as one under something else."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The node's enrolled identity, as other sites verify it."""

    site: str
    certificate_pem: str
    key: ec.EllipticCurvePrivateKey

    def sign(self, said: RoundKeys | View) -> str:
        """Return a signature under `said`."""
        return to_text(self.key.sign(_signed_bytes(said), ec.ECDSA(hashes.SHA256())))


@dataclass(frozen=True, slots=True)
class Peers:
    """How a node recognises the other sites.

    Attributes:
        authority: The network's certificate authority, pinned at enrolment.
        now: The time, with its zone.
        pinned: SHA-256 of the public keys that the site takes for other sites', learnt from them and not from the centre; empty takes all
            that the authority vouches for. The authority is the centre's: whoever holds its key can make hospitals that are none.
    """

    authority: x509.Certificate
    now: Callable[[], datetime]
    pinned: frozenset[str] = frozenset()

    def check_keys(self, signed: SignedKeys) -> None:
        """Accept keys that the site named in them signed.

        Raises:
            RefusedError: `peer-untrusted` for a certificate that is not this site's, `signature-invalid`.
        """
        self.check(signed.keys, signed.signature, site=signed.keys.site, certificate_pem=signed.certificate_pem)

    def check(self, said: RoundKeys | View, signature: str, *, site: str, certificate_pem: str) -> None:
        """Accept what `site` signed.

        Raises:
            RefusedError: `peer-untrusted`, `signature-invalid`.
        """
        key = self._key_of(site, certificate_pem)
        try:
            key.verify(to_bytes(signature), _signed_bytes(said), ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError) as error:
            raise RefusedError(
                Code.SIGNATURE_INVALID, f"What the centre passed on as signed by {site} is not. Tell the coordinator."
            ) from error

    def _key_of(self, site: str, certificate_pem: str) -> ec.EllipticCurvePublicKey:
        """Return the key in a site's certificate: issued by the network, to this site, for nodes, valid now, and pinned if any is."""
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
            certificate.verify_directly_issued_by(self.authority)
            key, fits = certificate.public_key(), self._fits(certificate, site)
        except Exception as error:  # cryptography names no common type for what may be wrong here
            raise _untrusted(site) from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not fits:
            raise _untrusted(site)
        if self.pinned and fingerprint(key) not in self.pinned:
            raise _untrusted(site)
        return key

    def _fits(self, certificate: x509.Certificate, site: str) -> bool:
        names = [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        valid = certificate.not_valid_before_utc <= self.now() <= certificate.not_valid_after_utc
        return names == [site] and ExtendedKeyUsageOID.CLIENT_AUTH in uses and valid


def signer_of(site: str, identity: Identity) -> Signer:
    """Return what signs for this node.

    Raises:
        UnavailableError: `missing-certificate` if its key is damaged.
    """
    try:
        key = serialization.load_pem_private_key(identity.key, password=None)
        pem = identity.certificate.decode("ascii")
    except (ValueError, TypeError) as error:
        raise _damaged() from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _damaged()
    return Signer(site, pem, key)


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of a public key (SubjectPublicKeyInfo, DER), by which sites tell one another who they are."""
    form = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(form).hexdigest()


def _signed_bytes(said: RoundKeys | View) -> bytes:
    return _PURPOSES[type(said)] + canonical_json(said)


def _untrusted(site: str) -> RefusedError:
    return RefusedError(
        Code.PEER_UNTRUSTED,
        f"The certificate that the centre showed for {site} is not one of that site that this node trusts. Ask {site}, not the centre.",
    )


def _damaged() -> UnavailableError:
    return UnavailableError(
        Code.MISSING_CERTIFICATE, "The node's key is missing or damaged. Restore it, or enrol the node anew."
    )
