"""Keys are whole and private; what enrolment brought replaces what was there as a whole."""

import shutil
import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from client.gate import keys as making
from client.gate.policy_file import load_policy
from client.gate.trust import (
    Centre,
    client_context,
    finish_enrolment,
    is_enrolled,
    keep_reply,
    load_centre,
    load_identity,
    pinned_by,
)
from protocol.codes import Code
from protocol.enrolment import EnrolReply
from protocol.errors import ConflictError, InvalidInputError, UnavailableError
from tests.fakes.outcomes import code_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    making.make_keys(tmp_path / "keys", site_name="Northport", gateway="https://ct.northport.example:9443", now=NOW)
    return tmp_path / "keys"


def a_reply(site: str = "northport") -> EnrolReply:
    return EnrolReply(
        site=site, region="XA-N", certificate_pem=PEM, ca_pem=PEM, release_root="{}", grant_key="g" * 43,
        link_address="localhost:8444", fleet_address="localhost:8445",
    )  # fmt: skip


def test_every_key_is_there_and_closed_to_others(keys: Path) -> None:
    names = {path.name for path in keys.iterdir()}
    assert names == {
        "node.key", "supernode", "supernode.pub", "gateway.pem", "gateway.key", "gateway-ca.pem", "gateway-ca.key", "inside.pem", "inside.key",
        "pseudonym.key", "superexec.secret", "console.token", "tunnel", "tunnel.pub",
    }  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {0o600}
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700


def test_the_supernode_key_is_what_flower_reads(keys: Path) -> None:
    private = serialization.load_ssh_private_key((keys / "supernode").read_bytes(), password=None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert isinstance(private.curve, ec.SECP384R1)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert making.supernode_public(keys) == public.decode()


def test_the_gateway_certificate_is_good_for_its_names_only(keys: Path) -> None:
    leaf = making.load_certificate(keys / "gateway.pem")
    authority = making.load_certificate(keys / "gateway-ca.pem")
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ct.northport.example", "localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert leaf.not_valid_after_utc - NOW <= timedelta(days=825)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_signing_request_proves_the_key_and_says_no_name(keys: Path) -> None:
    request = x509.load_pem_x509_csr(making.signing_request(keys).encode())
    assert request.is_signature_valid
    assert "Northport" not in request.subject.rfc4514_string()


def test_keys_are_never_made_twice(keys: Path) -> None:
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    with pytest.raises(ConflictError):
        making.make_keys(keys, site_name="Northport", gateway="https://localhost:9443", now=NOW)
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == before


@pytest.mark.parametrize("name", ["node.key", "supernode.pub"])
def test_a_missing_key_is_named(keys: Path, name: str) -> None:
    (keys / name).unlink()
    act = making.signing_request if name == "node.key" else making.supernode_public
    assert code_of(lambda: act(keys)) is Code.MISSING_CERTIFICATE


def test_enrolment_is_kept_and_read_back(tmp_path: Path) -> None:
    trust = tmp_path / "trust"
    assert not is_enrolled(trust)
    assert code_of(lambda: load_centre(trust)) is Code.MISSING_CERTIFICATE
    kept = keep_reply(a_reply(), registry="https://localhost:8443", trust=trust)
    assert is_enrolled(trust)
    assert load_centre(trust) == kept
    assert isinstance(kept, Centre)
    assert {path.name for path in trust.iterdir()} == {"node.pem", "ca.pem", "root.json", "centre.json"}
    assert b"BEGIN" not in (trust / "centre.json").read_bytes()


def test_a_second_enrolment_replaces_the_first_as_a_whole(tmp_path: Path) -> None:
    trust = tmp_path / "trust"
    keep_reply(a_reply(), registry="https://localhost:8443", trust=trust)
    (trust / "left-over").write_text("x")
    keep_reply(a_reply("highfell"), registry="https://localhost:8443", trust=trust)
    assert load_centre(trust).site == "highfell"
    assert not (trust / "left-over").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"trust", ".trust.lock"}


def test_a_certificate_alone_changes_nothing_that_is_pinned(tmp_path: Path) -> None:
    trust = tmp_path / "trust"
    assert not pinned_by(trust)
    keep_reply(a_reply(), registry="https://localhost:8443", trust=trust)
    before = pinned_by(trust)
    keep_reply(
        a_reply().model_copy(update={"certificate_pem": PEM + "\n"}), registry="https://localhost:8443", trust=trust
    )
    assert pinned_by(trust) == before
    keep_reply(a_reply().model_copy(update={"grant_key": "h" * 43}), registry="https://localhost:8443", trust=trust)
    assert pinned_by(trust) not in {before, b""}


class Killed(BaseException):
    """Ends a process at once, as SIGKILL does: nothing tidies up."""


def test_an_enrolment_that_was_killed_half_way_is_brought_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each rename, write and removal in turn. The centre has ended the old certificate, and the invite is used up."""
    finished = []
    for moment in range(40):
        trust = tmp_path / str(moment) / "trust"
        keep_reply(a_reply(), registry="https://localhost:8443", trust=trust)
        if not killed_at(moment, trust, monkeypatch):
            break
        finished.append(finish_enrolment(trust) and load_centre(trust).site)
        assert finish_enrolment(trust)
    assert len(finished) > 8
    assert finished == sorted(finished, reverse=True), "once it is written whole it is not lost any more"
    assert finished.count("highfell") >= 3


def killed_at(moment: int, trust: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Enrol anew and be killed before so many steps on the disk; say whether there were so many."""
    left = moment

    def counting(step: Callable[..., object]) -> Callable[..., object]:
        def take(*words: object, **named: object) -> object:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return step(*words, **named)

        return take

    with monkeypatch.context() as patched:
        for owner, name in ((Path, "rename"), (Path, "replace"), (Path, "mkdir"), (shutil, "rmtree")):
            patched.setattr(owner, name, counting(getattr(owner, name)))
        try:
            keep_reply(a_reply("highfell"), registry="https://localhost:8443", trust=trust)
        except Killed:
            return True
    return False


def test_a_disk_that_fails_leaves_the_old_enrolment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust = tmp_path / "trust"
    keep_reply(a_reply(), registry="https://localhost:8443", trust=trust)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UnavailableError):
        keep_reply(a_reply("highfell"), registry="https://localhost:8443", trust=trust)
    assert load_centre(trust).site == "northport"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"site": "x"}'])
def test_a_damaged_enrolment_is_named(tmp_path: Path, content: bytes) -> None:
    trust = tmp_path / "trust"
    keep_reply(a_reply(), registry="https://localhost:8443", trust=trust)
    (trust / "centre.json").write_bytes(content)
    assert code_of(lambda: load_centre(trust)) is Code.MISSING_CERTIFICATE


def test_identity_and_context_need_every_file(tmp_path: Path, keys: Path) -> None:
    trust = tmp_path / "trust"
    keep_reply(a_reply(), registry="https://localhost:8443", trust=trust)
    assert load_identity(trust, keys).key.startswith(b"-----BEGIN PRIVATE KEY")
    assert code_of(lambda: client_context(trust, keys)) is Code.MISSING_CERTIFICATE
    (trust / "ca.pem").write_bytes((keys / "gateway-ca.pem").read_bytes())
    (trust / "node.pem").write_bytes((keys / "gateway.pem").read_bytes())
    (keys / "node.key").write_bytes((keys / "gateway.key").read_bytes())
    assert client_context(trust, keys).verify_mode is ssl.CERT_REQUIRED
    (trust / "node.pem").unlink()
    assert code_of(lambda: load_identity(trust, keys)) is Code.MISSING_CERTIFICATE


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[training]\nepsilon_totall = 3\n", "training.epsilon_totall"),
        ("[training]\nepsilon_total = -1\n", "training.epsilon_total"),
        ("[training]\nhours = '8-12'\n", "training.hours"),
        ("[training]\nbundles = ['abc']\n", "training.bundles"),
        ("[trainning]\nallowed = true\n", "trainning"),
        ("[training\n", "not TOML"),
    ],
)
def test_a_policy_that_cannot_be_read_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=named) as caught:
        load_policy(path)
    assert caught.value.code is Code.BAD_SETTING


def test_a_missing_policy_lets_nothing_out(tmp_path: Path) -> None:
    assert code_of(lambda: load_policy(tmp_path / "policy.toml")) is Code.BAD_SETTING
