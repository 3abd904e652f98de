"""Whom a node takes for another site: the holder of that site's certificate, and nobody else."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from client.gate.trust import Identity
from client.train.peers import Signer, fingerprint, signer_of
from protocol.codes import Code
from protocol.errors import FederationError, UnavailableError
from protocol.secure_sum import RoundKeys, SignedKeys, View
from registry_api.enrolment.authority import Authority
from server.authority import Authority as CentreAuthority
from server.authority import issue_server, make_authority, private_pem
from strategies.securesum.agreement import public_half
from tests.fakes.circle import NOW, certificate, network, peers, signer

KEYS = RoundKeys(
    order_sha256="a" * 64, site="northport", box_key=public_half(b"b" * 32), pad_key=public_half(b"p" * 32),
    seed_sha256="c" * 64,
)  # fmt: skip


def signed(by: Signer, keys: RoundKeys = KEYS) -> SignedKeys:
    return SignedKeys(keys=keys, certificate_pem=by.certificate_pem, signature=by.sign(keys))


def refusal(of: SignedKeys, **who: object) -> Code:
    with pytest.raises(FederationError) as refused:
        peers(**who).check_keys(of)  # type: ignore[arg-type]
    return refused.value.code


def test_what_a_site_signed_is_accepted() -> None:
    peers().check_keys(signed(signer("northport")))


def test_keys_that_were_swapped_on_the_way_are_refused() -> None:
    honest = signed(signer("northport"))
    swapped = honest.keys.model_copy(update={"pad_key": public_half(b"m" * 32)})
    assert refusal(honest.model_copy(update={"keys": swapped})) is Code.SIGNATURE_INVALID


def test_one_site_cannot_sign_for_another() -> None:
    assert refusal(signed(signer("southbay"))) is Code.PEER_UNTRUSTED


def test_another_network_vouches_for_nobody() -> None:
    made = make_authority(NOW)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = certificate(key, "northport", Authority(made.certificate, made.key, node_days=365))
    assert refusal(signed(Signer("northport", pem, key))) is Code.PEER_UNTRUSTED


def test_a_certificate_of_a_server_is_no_sites() -> None:
    authority = CentreAuthority(network().certificate, network().key)
    key = ec.generate_private_key(ec.SECP256R1())
    pem, _ = issue_server(authority, part="fleet", host_name="localhost", now=NOW)
    leaf = pem.decode().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    assert refusal(signed(Signer("northport", leaf, key))) is Code.PEER_UNTRUSTED


def test_a_certificate_that_has_run_out_is_refused() -> None:
    assert refusal(signed(signer("northport")), now=NOW + timedelta(days=366)) is Code.PEER_UNTRUSTED
    assert refusal(signed(signer("northport")), now=NOW - timedelta(hours=1)) is Code.PEER_UNTRUSTED


def test_a_damaged_certificate_is_refused() -> None:
    honest = signed(signer("northport"))
    pem = honest.certificate_pem.replace("MII", "MIX", 1)
    assert refusal(honest.model_copy(update={"certificate_pem": pem})) is Code.PEER_UNTRUSTED


def test_a_site_may_name_the_keys_that_it_takes_for_other_hospitals() -> None:
    """The authority is the centre's: it could make a second northport."""
    pinned = frozenset({fingerprint(signer("northport").key.public_key())})
    peers(pinned=pinned).check_keys(signed(signer("northport")))
    assert refusal(signed(signer("northport", 2)), pinned=pinned) is Code.PEER_UNTRUSTED


def test_a_signature_under_a_view_is_none_under_keys() -> None:
    view = View(circle_sha256="d" * 64, sharers=("northport",), survivors=("northport",))
    honest = signed(signer("northport"))
    assert refusal(honest.model_copy(update={"signature": signer("northport").sign(view)})) is Code.SIGNATURE_INVALID


def test_a_signature_that_is_no_signature_is_refused() -> None:
    honest = signed(signer("northport"))
    assert refusal(honest.model_copy(update={"signature": "A" * 96})) is Code.SIGNATURE_INVALID


def test_the_nodes_own_files_make_its_signer() -> None:
    one = signer("northport")
    identity = Identity(ca=b"", certificate=one.certificate_pem.encode(), key=private_pem(one.key))
    peers().check_keys(signed(signer_of("northport", identity)))


def test_a_damaged_key_is_named() -> None:
    with pytest.raises(UnavailableError) as refused:
        signer_of("northport", Identity(ca=b"", certificate=b"", key=b"damaged"))
    assert refused.value.code is Code.MISSING_CERTIFICATE
