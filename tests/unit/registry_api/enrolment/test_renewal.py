"""Renewal: a further certificate for the same key, under the present one; that one ends when the node has shown the further one."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.codes import Code
from protocol.errors import FederationError
from registry_api.enrolment.invites import create_invite
from registry_api.enrolment.renewal import OVERLAP, Shown, renew, take_up
from registry_api.enrolment.sites import admitted, enrol, list_sites, revoke_site
from tests.fakes.centre_home import make_csr
from tests.unit.registry_api.conftest import Registry

SITE = "northport"


class Node:
    """A site's key and the certificates that it got."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.key = ec.generate_private_key(ec.SECP256R1())

    def enrol(self, site: str = SITE) -> Shown:
        registry = self.registry
        with registry.runtime.database.writing() as session:
            token = create_invite(session, site=site, region="XA-N", hours=1, now=registry.clock())
            request = registry.request(token, csr_pem=make_csr(self.key))
            _, issued = enrol(session, request, authority=registry.runtime.authority, now=registry.clock())
        return shown(issued.pem, site)

    def renew(self, present: Shown, csr_pem: str | None = None) -> Shown:
        runtime = self.registry.runtime
        with runtime.database.writing() as session:
            issued = renew(
                session, csr_pem or make_csr(self.key), shown=present, authority=runtime.authority, now=runtime.clock()
            )
        return shown(issued.pem, present.site)

    def take_up(self, further: Shown) -> None:
        with self.registry.runtime.database.writing() as session:
            take_up(session, shown=further, now=self.registry.clock())

    def counts(self, certificate: Shown) -> bool:
        with self.registry.runtime.database.reading() as session:
            return admitted(session, certificate.site, certificate.serial, now=self.registry.clock())

    def serials(self) -> tuple[str, ...]:
        with self.registry.runtime.database.reading() as session:
            [entry] = list_sites(session, now=self.registry.clock())
        return entry.certificate_serials

    def revoke(self) -> None:
        with self.registry.runtime.database.writing() as session:
            revoke_site(session, SITE, now=self.registry.clock())

    def refusal(self, present: Shown, csr_pem: str | None = None) -> Code:
        with pytest.raises(FederationError) as raised:
            self.renew(present, csr_pem)
        return raised.value.code


def shown(pem: str, site: str = SITE) -> Shown:
    return Shown(site, x509.load_pem_x509_certificate(pem.encode()))


@pytest.fixture
def node(registry: Registry) -> Node:
    return Node(registry)


def test_a_further_certificate_is_for_the_same_site_and_key_and_lives_from_now(node: Node) -> None:
    present = node.enrol()
    node.registry.clock.pass_(days=20)
    further = node.renew(present)
    assert further.certificate.public_key() == node.key.public_key()
    assert further.certificate.subject == present.certificate.subject
    assert further.certificate.not_valid_after_utc == node.registry.clock() + timedelta(days=30)
    assert node.counts(present)
    assert node.counts(further)


def test_another_key_needs_another_invite(node: Node) -> None:
    present = node.enrol()
    assert node.refusal(present, make_csr(ec.generate_private_key(ec.SECP256R1()))) is Code.BAD_REQUEST
    assert node.serials() == (present.serial,)


@pytest.mark.parametrize(
    "csr_pem", ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"]
)
def test_a_damaged_request_is_refused(node: Node, csr_pem: str) -> None:
    present = node.enrol()
    assert node.refusal(present, csr_pem or "nothing") is Code.BAD_REQUEST


def test_the_earlier_certificate_ends_a_while_after_the_further_one_was_shown(node: Node) -> None:
    present = node.enrol()
    further = node.renew(present)
    node.registry.clock.pass_(days=1)
    assert node.counts(present)  # not shown yet: nothing ends
    node.take_up(further)
    node.registry.clock.pass_(seconds=OVERLAP.total_seconds() - 1)
    assert node.counts(present)
    node.registry.clock.pass_(seconds=1)
    assert not node.counts(present)
    assert node.counts(further)


def test_an_earlier_certificate_never_lives_longer_for_having_been_renewed(node: Node) -> None:
    present = node.enrol()
    node.registry.clock.pass_(days=29, hours=23, minutes=55)
    node.take_up(node.renew(present))
    node.registry.clock.pass_(minutes=6)
    assert not node.counts(present)


def test_showing_it_again_changes_nothing(node: Node) -> None:
    present = node.enrol()
    further = node.renew(present)
    node.take_up(further)
    node.registry.clock.pass_(minutes=9)
    node.take_up(further)
    node.registry.clock.pass_(minutes=1)
    assert node.serials() == (further.serial,)


def test_the_certificate_to_be_used_comes_first(node: Node) -> None:
    present = node.enrol()
    further = node.renew(present)
    assert node.serials() == (present.serial, further.serial)
    node.take_up(further)
    assert node.serials() == (further.serial, present.serial)


def test_what_no_node_took_up_is_gone_when_another_is_asked_for(node: Node) -> None:
    """A reply that was lost on its way leaves nothing that counts."""
    present = node.enrol()
    lost, further = node.renew(present), node.renew(present)
    assert not node.counts(lost)
    assert node.serials() == (present.serial, further.serial)


def test_a_certificate_that_was_never_taken_up_renews_nothing(node: Node) -> None:
    further = node.renew(node.enrol())
    assert node.refusal(further) is Code.FORBIDDEN
    assert node.counts(further)


def test_a_revoked_site_gets_nothing(node: Node) -> None:
    present = node.enrol()
    node.revoke()
    assert node.refusal(present) is Code.FORBIDDEN


def test_a_site_that_was_revoked_in_between_takes_nothing_up(node: Node) -> None:
    further = node.renew(node.enrol())
    node.revoke()
    with pytest.raises(FederationError) as raised:
        node.take_up(further)
    assert raised.value.code is Code.FORBIDDEN
    assert node.serials() == ()


def test_an_expired_certificate_renews_nothing(node: Node) -> None:
    present = node.enrol()
    node.registry.clock.pass_(days=30)
    assert node.refusal(present) is Code.FORBIDDEN


def test_a_certificate_of_another_site_renews_nothing(node: Node) -> None:
    present = node.enrol()
    Node(node.registry).enrol("highfell")
    assert node.refusal(Shown("highfell", present.certificate)) is Code.FORBIDDEN


def test_a_copy_that_renews_first_shuts_the_other_out(node: Node) -> None:
    """Whoever holds a copy of the key cannot stay beside the node unseen: one of the two is refused, and says so."""
    present = node.enrol()
    copied = node.renew(present)
    node.take_up(copied)
    node.registry.clock.pass_(minutes=10)
    assert node.refusal(present) is Code.FORBIDDEN


def test_an_enrolment_ends_what_was_pending(node: Node) -> None:
    further = node.renew(node.enrol())
    again = node.enrol()
    assert node.serials() == (again.serial,)
    assert not node.counts(further)
