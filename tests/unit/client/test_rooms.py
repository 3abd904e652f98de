"""What a node opens for secure summations knows itself and the others by what enrolment brought, and by the policy as it is now.

And what its link makes up for when it starts.
"""

import hashlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from safetensors.numpy import save

from client.gate.trust import CA, CERTIFICATE, NODE_KEY, Centre
from client.rooms.border import open_gate
from client.rooms.reading import open_privileges
from client.rooms.training import open_secure_trainer, open_trainer
from client.settings import NodeSettings, load_settings
from client.train.peers import fingerprint
from client.train.secure import SecureTrainer
from client.wiring import centre as wiring
from client.wiring.notices import notice_receivers
from protocol.codes import Code
from protocol.errors import FederationError, RefusedError, UnavailableError
from protocol.release import ReleaseAnnounced
from protocol.secure_sum import RoundKeys, SignedKeys
from protocol.shape import canonical_json
from registry_api.enrolment.authority import Authority
from server.authority import certificate_pem, make_authority, private_pem
from strategies.securesum.agreement import public_half
from tests.fakes.circle import certificate
from tests.fakes.evaluations import an_evaluation_order
from tests.fakes.outcomes import code_of
from tests.fakes.releases import a_release
from tests.fakes.rounds import an_order, weights

SITE = "northport"


@pytest.fixture
def home(tmp_path: Path) -> NodeSettings:
    """A node that has been enrolled a moment ago."""
    now = datetime.now(UTC)
    made, key = make_authority(now), ec.generate_private_key(ec.SECP256R1())
    authority = Authority(made.certificate, made.key, node_days=30)
    for folder in ("keys", "trust"):
        (tmp_path / folder).mkdir()
    (tmp_path / "node.toml").write_text("", encoding="utf-8")
    (tmp_path / "policy.toml").write_text("", encoding="utf-8")
    (tmp_path / "keys" / NODE_KEY).write_bytes(private_pem(key))
    (tmp_path / "trust" / CA).write_bytes(certificate_pem(made.certificate))
    (tmp_path / "trust" / CERTIFICATE).write_text(certificate(key, SITE, authority, now), encoding="utf-8")
    centre = Centre(
        site=SITE, region="XA-N", registry="https://centre.example", grant_key="A" * 43,
        link_address="centre.example:1", fleet_address="centre.example:2",
    )  # fmt: skip
    (tmp_path / "trust" / "centre.json").write_bytes(canonical_json(centre))
    return load_settings(tmp_path)


def opened(settings: NodeSettings) -> SecureTrainer:
    return open_secure_trainer(settings, open_trainer(settings, open_gate(settings)))


def own_keys(secure: SecureTrainer) -> SignedKeys:
    signer = secure.signer()
    keys = RoundKeys(
        order_sha256="a" * 64, site=SITE, box_key=public_half(b"b" * 32), pad_key=public_half(b"p" * 32),
        seed_sha256="c" * 64,
    )  # fmt: skip
    return SignedKeys(keys=keys, certificate_pem=signer.certificate_pem, signature=signer.sign(keys))


def test_a_node_signs_with_its_enrolled_key_and_verifies_with_the_pinned_authority(home: NodeSettings) -> None:
    secure = opened(home)
    secure.peers().check_keys(own_keys(secure))


def test_keys_that_the_policy_names_hold_from_the_next_round_on(home: NodeSettings) -> None:
    secure = opened(home)
    mine = fingerprint(secure.signer().key.public_key())
    for pinned, trusted in (("0" * 64, False), (mine, True)):
        home.policy.write_text(f'[training]\nsecure_sum_peers = ["{pinned}"]\n', encoding="utf-8")
        if trusted:
            secure.peers().check_keys(own_keys(secure))
        else:
            with pytest.raises(RefusedError) as refused:
                secure.peers().check_keys(own_keys(secure))
            assert refused.value.code is Code.PEER_UNTRUSTED


def test_the_name_of_a_key_is_what_openssl_prints(home: NodeSettings) -> None:
    """The command of `docs/explanation/secure-sum.md`, step by step."""
    pem = subprocess.run(
        ["openssl", "x509", "-in", home.trust / CERTIFICATE, "-noout", "-pubkey"], capture_output=True, check=True
    ).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem, capture_output=True, check=True)
    assert fingerprint(opened(home).signer().key.public_key()) == hashlib.sha256(der.stdout).hexdigest()


def test_the_link_sends_what_was_said_of_a_reader_and_not_sent(home: NodeSettings) -> None:
    """The policy could not be read when the hospital granted the privilege, so nothing left."""
    home.policy.write_text("[broken", encoding="utf-8")
    with pytest.raises(FederationError):
        open_privileges(home).grant("3" * 32, name="Dr Elsewhere")
    wiring._catch_up(home)
    assert open_gate(home).outbox.waiting() == [], "it may not leave yet, and the link runs all the same"
    home.policy.write_text("", encoding="utf-8")
    for _ in range(2):
        wiring._catch_up(home)
    assert [queued.kind for queued in open_gate(home).outbox.waiting()] == ["reader-privilege"]


def test_a_release_whose_run_showed_this_site_other_weights_is_not_even_fetched(
    home: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise UnavailableError(Code.PEER_UNREACHABLE)

    monkeypatch.setattr("client.gate.listing.fetch_lists", unreachable)
    order = an_order()
    open_trainer(home, open_gate(home)).shown.note(order)
    announced = a_release()
    take = notice_receivers(home)["release-announced"]
    for run, outcome in ((None, Code.PEER_UNREACHABLE), (order.run_id, Code.VIEWS_DIFFER)):
        manifest = announced.manifest.model_copy(update={"run_id": run})
        notice = ReleaseAnnounced(signed=announced.model_copy(update={"manifest": manifest}))
        assert code_of(lambda notice=notice: take(notice)) is outcome  # type: ignore[misc]


def test_a_release_of_other_weights_than_this_site_compared_is_not_kept(
    home: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = an_evaluation_order()
    monkeypatch.setattr("client.gate.listing.fetch_lists", lambda *_: None)
    monkeypatch.setattr("client.gate.fetch.fetch_weights", lambda *_, **__: save(weights(3.5)))
    open_trainer(home, open_gate(home)).shown.note_candidate(order)
    announced = a_release()
    take = notice_receivers(home)["release-announced"]
    for run, outcome in (
        (None, Code.SIGNATURE_INVALID),
        (order.run_id, Code.VIEWS_DIFFER),
    ):  # on no list, at the latest
        manifest = announced.manifest.model_copy(update={"run_id": run})
        notice = ReleaseAnnounced(signed=announced.model_copy(update={"manifest": manifest}))
        assert code_of(lambda notice=notice: take(notice)) is outcome  # type: ignore[misc]
