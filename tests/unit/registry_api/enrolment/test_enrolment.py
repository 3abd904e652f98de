"""Joining and leaving: an invite works once, a certificate says who and for how long, a revoked site is out."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sqlmodel import select

from protocol.codes import Code
from protocol.enrolment import SiteEntry
from protocol.errors import ConflictError, FederationError, InvalidInputError, RefusedError
from registry_api.enrolment.authority import certificate_sha256, new_serial, serial_hex
from registry_api.enrolment.invites import create_invite, revoke_invites, use_invite
from registry_api.enrolment.sites import active_sites, admitted, enrol, list_sites, revoke_site
from registry_api.enrolment.tables import InviteRow
from tests.fakes.centre_home import make_csr, supernode_key
from tests.unit.registry_api.conftest import Registry


def invite(registry: Registry, site: str = "northport", *, region: str = "XA-N", hours: float = 1) -> str:
    with registry.runtime.database.writing() as session:
        return create_invite(session, site=site, region=region, hours=hours, now=registry.clock())


def join(registry: Registry, token: str, **changes: str) -> str:
    with registry.runtime.database.writing() as session:
        _, issued = enrol(
            session, registry.request(token, **changes), authority=registry.runtime.authority, now=registry.clock()
        )
    return issued.serial


def entry(registry: Registry, site: str = "northport") -> SiteEntry:
    with registry.runtime.database.reading() as session:
        return next(one for one in list_sites(session, now=registry.clock()) if one.site == site)


def is_admitted(registry: Registry, site: str, serial: str) -> bool:
    with registry.runtime.database.reading() as session:
        return admitted(session, site, serial, now=registry.clock())


def code_of(registry: Registry, token: str) -> Code:
    with pytest.raises(FederationError) as raised:
        join(registry, token)
    return raised.value.code


def test_a_certificate_is_the_sites_and_nothing_else(registry: Registry) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = registry.runtime.authority.issue(
        make_csr(key, name="somebody else"), site="northport", now=registry.clock()
    )
    certificate = x509.load_pem_x509_certificate(issued.pem.encode())
    assert [one.value for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["northport"]
    assert certificate.public_key() == key.public_key()
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert certificate.not_valid_after_utc == issued.not_after == registry.clock() + timedelta(days=30)
    assert issued.serial == serial_hex(certificate.serial_number)
    certificate.verify_directly_issued_by(registry.runtime.authority.certificate)


def test_a_certificate_never_outlives_the_authority(registry: Registry) -> None:
    authority = registry.runtime.authority
    near_the_end = authority.certificate.not_valid_after_utc - timedelta(days=3)
    issued = authority.issue(make_csr(ec.generate_private_key(ec.SECP256R1())), site="n1", now=near_the_end)
    assert issued.not_after == authority.certificate.not_valid_after_utc


def test_serials_read_the_same_with_or_without_padding() -> None:
    for _ in range(200):
        serial = new_serial()
        assert serial_hex(serial) == format(serial, "040x")
        assert serial < 2**159


def forged_csr() -> str:
    """A signing request whose last byte was changed: it no longer proves possession."""
    request = x509.load_pem_x509_csr(make_csr(ec.generate_private_key(ec.SECP256R1())).encode())
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()


def rsa_csr() -> str:
    key = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    "csr",
    [
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        forged_csr(),
        rsa_csr(),
        make_csr(ec.generate_private_key(ec.SECP521R1())),
    ],
    ids=["damaged", "forged", "rsa", "p521"],
)
def test_a_bad_signing_request_is_refused_and_does_not_use_the_invite_up(registry: Registry, csr: str) -> None:
    token = invite(registry)
    with pytest.raises(InvalidInputError) as raised:
        join(registry, token, csr_pem=csr)
    assert raised.value.code is Code.BAD_REQUEST
    assert join(registry, token)


def test_an_invite_works_once(registry: Registry) -> None:
    token = invite(registry)
    join(registry, token)
    assert code_of(registry, token) is Code.INVITE_USED


def test_of_many_at_once_exactly_one_gets_in(registry: Registry) -> None:
    token = invite(registry)

    def attempt(_: int) -> str:
        try:
            with registry.runtime.database.writing() as session:
                use_invite(session, token, now=registry.clock())
        except ConflictError as error:
            return error.code
        return "in"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, range(24)))
    assert sorted(set(outcomes)) == ["in", "invite-used"]
    assert outcomes.count("in") == 1


def test_an_unknown_an_expired_and_a_revoked_invite_are_invalid(registry: Registry) -> None:
    assert code_of(registry, "x" * 43) is Code.INVITE_INVALID
    expired = invite(registry, "late", hours=2)
    registry.clock.pass_(hours=2)
    assert code_of(registry, expired) is Code.INVITE_INVALID
    revoked = invite(registry, "gone")
    with registry.runtime.database.writing() as session:
        assert revoke_invites(session, "gone", now=registry.clock()) == 1
    assert code_of(registry, revoked) is Code.INVITE_INVALID


def test_a_used_invite_stays_used_even_after_its_time(registry: Registry) -> None:
    token = invite(registry)
    join(registry, token)
    registry.clock.pass_(hours=100)
    assert code_of(registry, token) is Code.INVITE_USED


def test_a_second_invite_ends_the_first(registry: Registry) -> None:
    first, second = invite(registry), invite(registry)
    assert code_of(registry, first) is Code.INVITE_INVALID
    join(registry, second)


def test_revoking_needs_an_open_invite(registry: Registry) -> None:
    with pytest.raises(InvalidInputError), registry.runtime.database.writing() as session:
        revoke_invites(session, "nobody", now=registry.clock())


def test_a_site_keeps_its_region(registry: Registry) -> None:
    invite(registry)
    with pytest.raises(ConflictError, match="XA-N"):
        invite(registry, region="XA-S")


def test_tokens_are_not_kept(registry: Registry) -> None:
    token = invite(registry)
    with registry.runtime.database.reading() as session:
        row = session.exec(select(InviteRow)).one()
    assert token not in row.model_dump_json()


def test_an_invited_site_is_listed_but_not_active(registry: Registry) -> None:
    invite(registry)
    assert entry(registry) == SiteEntry(site="northport", region="XA-N", supernode_key=None, active=False)


def test_an_enrolled_site_is_active_with_its_key_and_serial(registry: Registry) -> None:
    key = supernode_key()
    serial = join(registry, invite(registry), supernode_key=key)
    assert entry(registry) == SiteEntry(
        site="northport", region="XA-N", supernode_key=key, active=True, certificate_serials=(serial,),
        gateway_origin="https://gateway.example:9443",
    )  # fmt: skip
    assert is_admitted(registry, "northport", serial)
    assert not is_admitted(registry, "southbay", serial)


def test_enrolling_again_ends_the_old_certificate(registry: Registry) -> None:
    old = join(registry, invite(registry))
    new = join(registry, invite(registry))
    assert not is_admitted(registry, "northport", old)
    assert is_admitted(registry, "northport", new)


def test_two_active_sites_do_not_share_a_supernode_key(registry: Registry) -> None:
    key = supernode_key()
    join(registry, invite(registry, "one-site"), supernode_key=key)
    with pytest.raises(ConflictError) as raised:
        join(registry, invite(registry, "two-site"), supernode_key=key)
    assert raised.value.code is Code.ALREADY_EXISTS


def test_an_expired_certificate_admits_nobody(registry: Registry) -> None:
    serial = join(registry, invite(registry))
    registry.clock.pass_(days=30)
    assert not is_admitted(registry, "northport", serial)
    assert entry(registry).certificate_serials == ()


def test_a_revoked_site_is_out_until_it_is_invited_again(registry: Registry) -> None:
    serial = join(registry, invite(registry))
    with registry.runtime.database.writing() as session:
        revoke_site(session, "northport", now=registry.clock())
        assert active_sites(session) == []
    assert not is_admitted(registry, "northport", serial)
    assert not entry(registry).active
    again = join(registry, invite(registry))
    assert is_admitted(registry, "northport", again)
    assert not is_admitted(registry, "northport", serial)


@pytest.mark.parametrize("enrolled", [True, False])
def test_an_invite_that_a_revoked_site_still_holds_does_not_let_it_back_in(
    registry: Registry, *, enrolled: bool
) -> None:
    if enrolled:
        join(registry, invite(registry))
    held = invite(registry)
    with registry.runtime.database.writing() as session:
        revoke_site(session, "northport", now=registry.clock())
    assert code_of(registry, held) is Code.INVITE_INVALID
    assert not entry(registry).active


def test_only_a_known_site_can_be_revoked(registry: Registry) -> None:
    with pytest.raises(InvalidInputError) as raised, registry.runtime.database.writing() as session:
        revoke_site(session, "nobody", now=registry.clock())
    assert raised.value.code is Code.NOT_FOUND


def test_the_fingerprint_is_of_the_der_form(registry: Registry) -> None:
    fingerprint = registry.runtime.authority.certificate.fingerprint(hashes.SHA256()).hex()
    assert certificate_sha256(registry.runtime.authority.certificate) == fingerprint


def test_refusals_belong_to_the_right_family(registry: Registry) -> None:
    with pytest.raises(RefusedError):
        join(registry, "y" * 43)
