"""The centre's servers get new certificates in time, for the same keys; what is not the network's is left alone."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from protocol.codes import Code
from server.authority import certificate_pem, issue_server, make_authority
from server.home import SERVERS, Plot, make_home
from server.renewal import renew_servers
from tests.fakes.outcomes import code_of

MADE = datetime(2026, 3, 1, 12, tzinfo=UTC)
DUE = MADE + timedelta(days=551)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("centre") / "home"
    make_home(home, Plot(host_name="centre.example"), now=MADE)
    return home / "pki"


@pytest.fixture
def pki(made: Path, tmp_path: Path) -> Path:
    import shutil

    return shutil.copytree(made, tmp_path / "pki")


def leaf(pki: Path, part: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates((pki / f"{part}.pem").read_bytes())[0]


def content(pki: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pki.iterdir()}


def test_young_certificates_are_left_alone(pki: Path) -> None:
    before = content(pki)
    assert renew_servers(pki, MADE + timedelta(days=549)) == []
    assert content(pki) == before


@pytest.mark.parametrize("at", [DUE, MADE + timedelta(days=900)], ids=["due", "long over"])
def test_old_ones_are_made_anew_for_the_same_key_and_names(pki: Path, at: datetime) -> None:
    before, keys = {part: leaf(pki, part) for part in SERVERS}, {p: (pki / f"{p}.key").read_bytes() for p in SERVERS}
    assert renew_servers(pki, at) == list(SERVERS)
    for part in SERVERS:
        new = leaf(pki, part)
        assert new.public_key() == before[part].public_key()
        assert new.serial_number != before[part].serial_number
        assert [one.value for one in new.extensions] == [one.value for one in before[part].extensions]
        assert new.not_valid_after_utc > at + timedelta(days=824)
        assert (pki / f"{part}.key").read_bytes() == keys[part]
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pki / f"{part}.pem", pki / f"{part}.key")
    assert renew_servers(pki, at) == []


def test_who_pins_the_authority_takes_the_new_one(pki: Path) -> None:
    renew_servers(pki, DUE)
    authority = x509.load_pem_x509_certificate((pki / "ca.pem").read_bytes())
    server = PolicyBuilder().store(Store([authority])).time(DUE).build_server_verifier(x509.DNSName("centre.example"))
    server.verify(leaf(pki, "fleet"), [])


def test_no_certificate_outlives_its_authority(pki: Path) -> None:
    at = MADE + timedelta(days=3600)
    renew_servers(pki, at)
    authority = x509.load_pem_x509_certificate((pki / "ca.pem").read_bytes())
    assert leaf(pki, "registry").not_valid_after_utc == authority.not_valid_after_utc


def test_a_certificate_of_another_authority_is_the_coordinators_own(pki: Path) -> None:
    other = make_authority(MADE)
    chain, key = issue_server(other, part="registry", host_name="centre.example", now=MADE)
    (pki / "registry.pem").write_bytes(chain + certificate_pem(other.certificate))
    (pki / "registry.key").write_bytes(key)
    assert renew_servers(pki, DUE) == ["fleet", "superlink"]
    assert (pki / "registry.pem").read_bytes().startswith(chain)


@pytest.mark.parametrize("name", ["ca.key", "ca.pem"])
def test_without_the_authoritys_key_or_certificate_nothing_is_touched(pki: Path, name: str) -> None:
    (pki / name).unlink()
    before = content(pki)
    assert renew_servers(pki, DUE) == []
    assert content(pki) == before


def test_a_damaged_certificate_keeps_no_other_from_being_renewed(pki: Path) -> None:
    (pki / "fleet.pem").write_text("nothing")
    assert renew_servers(pki, DUE) == ["registry", "superlink"]
    assert (pki / "fleet.pem").read_text() == "nothing"


def test_a_full_disk_leaves_the_old_ones(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(pki)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert code_of(lambda: renew_servers(pki, DUE)) is Code.DISK_FULL
    assert content(pki) == before
