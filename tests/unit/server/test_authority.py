"""Certificates as a TLS library and a careful reader want them."""

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from server.authority import Authority, certificate_pem, issue_server, make_authority, private_pem, public_pem

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority(NOW)


def chain_of(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem)


def verified(authority: Authority, pem: bytes, name: str, at: datetime) -> None:
    leaf, *others = chain_of(pem)
    builder = PolicyBuilder().store(Store([authority.certificate])).time(at)
    builder.build_server_verifier(x509.DNSName(name)).verify(leaf, others)


def test_an_authority_signs_leaves_and_nothing_else(authority: Authority) -> None:
    certificate = authority.certificate
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)
    assert isinstance(authority.key.curve, ec.SECP256R1)
    certificate.verify_directly_issued_by(certificate)


def test_two_networks_have_two_names() -> None:
    assert make_authority(NOW).certificate.subject != make_authority(NOW).certificate.subject


def test_a_server_certificate_is_verified_under_each_of_its_names(authority: Authority) -> None:
    chain, _ = issue_server(authority, part="fleet", host_name="centre.example", now=NOW)
    for name in ("centre.example", "localhost"):
        verified(authority, chain, name, NOW)
    with pytest.raises(VerificationError):
        verified(authority, chain, "evil.example", NOW)
    assert chain_of(chain)[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "Acinus fleet"


@pytest.mark.parametrize(
    ("at", "good"),
    [
        (timedelta(minutes=-4), True),
        (timedelta(minutes=-6), False),
        (timedelta(days=824), True),
        (timedelta(days=826), False),
    ],
)
def test_a_certificate_lives_its_time_with_some_minutes_for_slow_clocks(
    authority: Authority, at: timedelta, good: bool
) -> None:
    chain, _ = issue_server(authority, part="fleet", host_name="centre.example", now=NOW)
    if good:
        verified(authority, chain, "localhost", NOW + at)
        return
    with pytest.raises(VerificationError):
        verified(authority, chain, "localhost", NOW + at)


def test_a_server_of_another_network_is_not_verified(authority: Authority) -> None:
    chain, _ = issue_server(make_authority(NOW), part="fleet", host_name="localhost", now=NOW)
    with pytest.raises(VerificationError):
        verified(authority, chain, "localhost", NOW)


def test_a_server_cannot_pass_for_a_node(authority: Authority) -> None:
    leaf = chain_of(issue_server(authority, part="fleet", host_name="localhost", now=NOW)[0])[0]
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize(
    ("host_name", "names", "addresses"),
    [
        ("localhost", ["localhost"], ["127.0.0.1"]),
        ("127.0.0.1", ["localhost"], ["127.0.0.1"]),
        ("10.2.3.4", ["localhost"], ["127.0.0.1", "10.2.3.4"]),
        ("centre.example", ["localhost", "centre.example"], ["127.0.0.1"]),
    ],
)
def test_the_names_of_a_server(authority: Authority, host_name: str, names: list[str], addresses: list[str]) -> None:
    leaf = chain_of(issue_server(authority, part="fleet", host_name=host_name, now=NOW)[0])[0]
    held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert held.get_values_for_type(x509.DNSName) == names
    assert held.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(one) for one in addresses]


def test_the_key_fits_the_certificate(authority: Authority) -> None:
    chain, key = issue_server(authority, part="fleet", host_name="localhost", now=NOW)
    loaded = serialization.load_pem_private_key(key, password=None)
    assert loaded.public_key() == chain_of(chain)[0].public_key()


def test_keys_and_certificates_come_back_from_their_pem(authority: Authority) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    again = serialization.load_pem_private_key(private_pem(key), password=None)
    assert isinstance(again, ed25519.Ed25519PrivateKey)
    assert again.private_bytes_raw() == key.private_bytes_raw()
    assert serialization.load_pem_public_key(public_pem(key)) == key.public_key()
    assert chain_of(certificate_pem(authority.certificate)) == [authority.certificate]
