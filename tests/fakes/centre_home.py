"""A centre's folder as `acinus-centre init` writes it, for tests of the registry alone: real keys, real certificates, free ports."""

import base64
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from protocol.release import Manifest, MetadataFiles, SignedManifest
from protocol.shape import canonical_json
from server.home import ROOTS, write_root_keys
from server.repository import METADATA, Keys, Repository, make_repository
from server.runtime import load_key

SERVICE_TOKEN = "s" * 43


def make_centre_home(
    home: Path,
    *,
    http_port: int = 8443,
    link_port: int = 8444,
    witness: str = "",
    names: tuple[str, ...] = ("localhost",),
) -> Path:
    """Write keys, certificates and registry.toml into `home`; the server's certificate is for these names."""
    (home / "pki").mkdir(parents=True)
    (home / "secrets").mkdir()
    ca_key, ca = _authority()
    _write_key(home / "pki" / "ca.key", ca_key)
    (home / "pki" / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    _write_server(home, ca_key, ca, names)
    for name in ("release", "online", "grant", "counts"):
        _write_key(home / "secrets" / f"{name}.key", ed25519.Ed25519PrivateKey.generate())
    (home / "catalogue").mkdir()
    (home / "secrets" / ROOTS).mkdir()
    roots = write_root_keys(home / "secrets" / ROOTS)
    make_repository(home / "catalogue" / METADATA, listing_keys(home), roots, lambda: datetime.now(UTC))
    (home / "secrets" / "service.token").write_text(SERVICE_TOKEN + "\n")
    (home / "registry.toml").write_text(
        f'[http]\nport = {http_port}\norigin = "https://localhost:{http_port}"\n'
        f'[link]\nport = {link_port}\naddress = "localhost:{link_port}"\n'
        f'[witness]\ndirectory = "{witness}"\n'
        "[reading]\npeer_review_percent = 0\n"  # tests that want a draw draw
    )
    return home


def make_csr(key: ec.EllipticCurvePrivateKey, *, name: str = "whatever") -> str:
    """A signing request as a node sends it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(name))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def supernode_key() -> str:
    """An OpenSSH public key on P-384."""
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def tunnel_key() -> str:
    """An OpenSSH public key, Ed25519."""
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def key_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def sign_release(home: Path, manifest: Manifest) -> SignedManifest:
    """Sign with the centre's release key, as the catalogue does."""
    signature = listing_keys(home).release.sign(canonical_json(manifest))
    return SignedManifest(manifest=manifest, signature=base64.urlsafe_b64encode(signature).decode().rstrip("="))


def lists_with(home: Path, signed: SignedManifest) -> MetadataFiles:
    """Let a release count and return the lists, as the centre hands them to the registry."""
    repository = Repository(home / "catalogue" / METADATA, lambda: datetime.now(UTC))
    repository.enlist(signed, listing_keys(home))
    return repository.files()


def listing_keys(home: Path) -> Keys:
    """The keys that a running centre holds."""
    return Keys(*(load_key(home / "secrets" / f"{name}.key") for name in ("release", "online")))


def root_keys(home: Path) -> list[ed25519.Ed25519PrivateKey]:
    """The keys that should lie in safes."""
    return [load_key(path) for path in sorted((home / "secrets" / ROOTS).iterdir())]


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
    path.write_bytes(key_pem(key))
    path.chmod(0o600)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("test CA", "test CA", key).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return key, builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False).sign(
        key, hashes.SHA256()
    )


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(secrets.randbits(150))
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
    )


def _write_server(home: Path, ca_key: ec.EllipticCurvePrivateKey, ca: x509.Certificate, names: tuple[str, ...]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    said = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    certificate = _builder("registry", "test CA", key).add_extension(said, critical=False).sign(ca_key, hashes.SHA256())
    (home / "pki" / "registry.pem").write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM) + ca.public_bytes(serialization.Encoding.PEM)
    )
    _write_key(home / "pki" / "registry.key", key)
