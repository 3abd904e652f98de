"""The node's own servers get new certificates in time under the hospital's authority; a certificate that the hospital put there stays."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from client.gate.keys import load_certificate, make_gateway_certificate
from client.gate.own_tls import renew_own_servers
from protocol.codes import Code
from tests.fakes.outcomes import code_of

MADE = datetime(2026, 3, 1, 12, tzinfo=UTC)
DUE = MADE + timedelta(days=551)
BOTH = ["gateway.pem", "inside.pem"]
ORIGIN = "https://ct.northport.example:9443"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    made = tmp_path / "keys"
    make_gateway_certificate(made, site_name="Northport", gateway=ORIGIN, now=MADE)
    return made


def content(keys: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in keys.iterdir()}


def test_young_certificates_are_left_alone(keys: Path) -> None:
    before = content(keys)
    assert renew_own_servers(keys, MADE + timedelta(days=549), gateway=ORIGIN) == []
    assert content(keys) == before


@pytest.mark.parametrize("at", [DUE, MADE + timedelta(days=900)], ids=["due", "long over"])
def test_old_ones_are_made_anew_for_the_same_keys_and_names(keys: Path, at: datetime) -> None:
    before = content(keys)
    old = {name: load_certificate(keys / name) for name in BOTH}
    assert renew_own_servers(keys, at, gateway=ORIGIN) == BOTH
    authority = load_certificate(keys / "gateway-ca.pem")
    for name in BOTH:
        new = load_certificate(keys / name)
        new.verify_directly_issued_by(authority)
        assert new.public_key() == old[name].public_key()
        assert [one.value for one in new.extensions] == [one.value for one in old[name].extensions]
        assert new.not_valid_after_utc > at + timedelta(days=824)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keys / name, (keys / name).with_suffix(".key"))
    changed = {name for name, now in content(keys).items() if now != before[name]}
    assert changed == set(BOTH)
    assert renew_own_servers(keys, at, gateway=ORIGIN) == []


def test_a_public_certificate_that_the_hospital_put_there_is_left_alone(keys: Path, tmp_path: Path) -> None:
    make_gateway_certificate(tmp_path / "other", site_name="Elsewhere", gateway="https://localhost:9443", now=MADE)
    public = (tmp_path / "other" / "gateway.pem").read_bytes()
    (keys / "gateway.pem").write_bytes(public)
    assert renew_own_servers(keys, DUE, gateway=ORIGIN) == ["inside.pem"]
    assert (keys / "gateway.pem").read_bytes() == public


def test_a_gateway_with_another_name_gets_a_certificate_for_it_and_keeps_its_key(keys: Path) -> None:
    old = load_certificate(keys / "gateway.pem")
    assert renew_own_servers(keys, MADE, gateway="https://ct.harbour.example") == ["gateway.pem"]
    new = load_certificate(keys / "gateway.pem")
    new.verify_directly_issued_by(load_certificate(keys / "gateway-ca.pem"))
    assert new.public_key() == old.public_key()
    names = new.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ct.harbour.example", "localhost"]
    assert renew_own_servers(keys, MADE, gateway="https://ct.harbour.example") == []


def test_a_certificate_that_has_the_name_among_others_is_left_alone(keys: Path) -> None:
    assert renew_own_servers(keys, MADE, gateway="https://localhost:9443") == []


@pytest.mark.parametrize("name", ["gateway-ca.key", "gateway-ca.pem"])
def test_an_authority_that_is_kept_elsewhere_renews_nothing(keys: Path, name: str) -> None:
    (keys / name).unlink()
    before = content(keys)
    assert renew_own_servers(keys, DUE, gateway=ORIGIN) == []
    assert content(keys) == before


def test_a_damaged_certificate_keeps_no_other_from_being_renewed(keys: Path) -> None:
    (keys / "gateway.pem").write_text("nothing")
    assert renew_own_servers(keys, DUE, gateway=ORIGIN) == ["inside.pem"]


def test_a_full_disk_leaves_the_old_ones(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(keys)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert code_of(lambda: renew_own_servers(keys, DUE, gateway=ORIGIN)) is Code.DISK_FULL
    assert {name: content(keys)[name] for name in before} == before
