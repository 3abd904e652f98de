"""The doctor's look at the files of TLS: what is missing, closed, damaged, no pair or expired is said in one sentence."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from client.commands.checkup import _pacs_tls, _receiver_tls
from client.commands.tls import authority_days, gateway_days, pacs_days, pair_days, receiver_days
from client.gate.keys import GATEWAY_CA, GATEWAY_CERTIFICATE, GATEWAY_KEY, make_gateway_certificate
from client.rooms.border import utc_now
from client.sections import DicomSettings, PacsSettings
from client.settings import NodeSettings
from protocol.codes import Code
from protocol.errors import UnavailableError
from tests.fakes.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca", "Hospital")


def said_of(look: Callable[[], object]) -> str:
    with pytest.raises(UnavailableError) as caught:
        look()
    assert caught.value.code is Code.MISSING_CERTIFICATE
    return str(caught.value)


def test_a_pair_that_is_good_says_for_how_long(authority: Authority) -> None:
    own = authority.issue("node", days=20.5)
    assert pair_days(own.certificate, own.key, "x") == 20


def test_what_is_missing_is_named(authority: Authority, tmp_path: Path) -> None:
    own = authority.issue("node")
    nowhere = tmp_path / "nowhere.pem"
    for certificate, key in ((nowhere, own.key), (own.certificate, nowhere)):
        assert f"the receiver: {nowhere} is missing" in said_of(
            lambda c=certificate, k=key: pair_days(c, k, "the receiver")
        )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_is_closed_to_the_node_is_no_puzzle(authority: Authority) -> None:
    own = authority.issue("node")
    own.key.chmod(0)
    assert "cannot be read by this user" in said_of(lambda: pair_days(own.certificate, own.key, "x"))


def test_a_folder_in_the_place_of_a_file_is_said(authority: Authority, tmp_path: Path) -> None:
    own = authority.issue("node")
    assert "cannot be read" in said_of(lambda: pair_days(own.certificate, tmp_path, "x"))


def test_damage_is_told_from_absence(authority: Authority) -> None:
    own = authority.issue("node")
    own.certificate.write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    assert "holds no certificate" in said_of(lambda: pair_days(own.certificate, own.key, "x"))
    other = authority.issue("other")
    other.key.write_text("")
    assert "no private key" in said_of(lambda: pair_days(other.certificate, other.key, "x"))


def test_a_key_with_a_passphrase_cannot_be_used(authority: Authority) -> None:
    own = authority.issue("node")
    key = load_pem_private_key(own.key.read_bytes(), password=None)
    own.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")))
    assert "passphrase" in said_of(lambda: pair_days(own.certificate, own.key, "x"))


def test_a_key_of_another_certificate_is_no_pair(authority: Authority) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    assert f"{other.key} is not the key of {one.certificate}" in said_of(
        lambda: pair_days(one.certificate, other.key, "x")
    )


def test_what_has_expired_says_since_when(authority: Authority) -> None:
    own = authority.issue("node", days=-2.5)
    assert "expired 2 days ago" in said_of(lambda: pair_days(own.certificate, own.key, "x"))


def test_of_several_authorities_those_that_are_over_do_not_count(authority: Authority, tmp_path: Path) -> None:
    old, new = authority.issue("old", days=-3), authority.issue("new", days=9.5)
    both = tmp_path / "both.pem"
    both.write_bytes(old.certificate.read_bytes() + new.certificate.read_bytes())
    assert authority_days(both, "x") == 9
    both.write_bytes(old.certificate.read_bytes())
    assert "expired" in said_of(lambda: authority_days(both, "[pacs] ca"))


def test_the_receiver_is_as_good_as_the_worst_of_its_files(authority: Authority, tmp_path: Path) -> None:
    own = authority.issue("node", days=40.5)
    assert receiver_days(NodeSettings(home=tmp_path)) is None
    plain = DicomSettings(tls_certificate=own.certificate, tls_key=own.key)
    assert receiver_days(NodeSettings(home=tmp_path, dicom=plain)) == 40
    callers = plain.model_copy(update={"tls_callers_ca": authority.path})
    assert receiver_days(NodeSettings(home=tmp_path, dicom=callers)) == 0
    gone = plain.model_copy(update={"tls_callers_ca": tmp_path / "gone.pem"})
    assert "[dicom] tls_callers_ca" in said_of(lambda: receiver_days(NodeSettings(home=tmp_path, dicom=gone)))


def test_the_gateways_key_must_be_its_own(tmp_path: Path) -> None:
    settings = NodeSettings(home=tmp_path)
    make_gateway_certificate(settings.keys, site_name="test", gateway="https://localhost", now=utc_now())
    assert gateway_days(settings) > 800
    make_gateway_certificate(tmp_path / "other", site_name="test", gateway="https://localhost", now=utc_now())
    (settings.keys / GATEWAY_KEY).write_bytes((tmp_path / "other" / GATEWAY_KEY).read_bytes())
    assert GATEWAY_CERTIFICATE in said_of(lambda: gateway_days(settings))


def test_files_of_the_pacs_are_counted_from_the_home(authority: Authority, tmp_path: Path) -> None:
    own = authority.issue("node", days=40.5)
    (tmp_path / "keys").mkdir()
    both = tmp_path / "keys" / "pacs.pem"
    both.write_bytes(own.certificate.read_bytes() + own.key.read_bytes())
    assert pacs_days(NodeSettings(home=tmp_path)) is None
    assert pacs_days(NodeSettings(home=tmp_path, pacs=PacsSettings(certificate="keys/pacs.pem"))) == 40
    missing = PacsSettings(ca=f"keys/{GATEWAY_CA}")
    assert "[pacs] ca" in said_of(lambda: pacs_days(NodeSettings(home=tmp_path, pacs=missing)))


def test_the_doctor_advises_where_dicom_goes_in_the_open(authority: Authority, tmp_path: Path) -> None:
    assert not _receiver_tls(NodeSettings(home=tmp_path)).advice
    assert _receiver_tls(NodeSettings(home=tmp_path, dicom=DicomSettings(host="0.0.0.0"))).advice
    pacs = PacsSettings(send="c-store", host="pacs")
    assert _pacs_tls(NodeSettings(home=tmp_path, pacs=pacs)).advice
    own = authority.issue("node", days=3)
    soon = DicomSettings(tls_certificate=own.certificate, tls_key=own.key)
    check = _receiver_tls(NodeSettings(home=tmp_path, dicom=soon))
    assert (check.holds, check.advice) == (True, True)
