"""Renewal between a node's renewer and the registry's own link, over real mutual TLS: in time, never half, and only what is ours."""

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import select

from client.gate import contact, gate, inbox
from client.gate import renew as renewing
from client.gate.backoff import Backoff
from client.gate.keys import load_certificate
from client.gate.link import LinkClient, Pace
from client.gate.policy import ReadingPolicy, SharingPolicy, SitePolicy
from client.gate.renew import Renewer
from client.gate.trust import CERTIFICATE, NEXT, client_context, keep_reply, load_identity
from client.store.database import connect
from protocol.codes import Code
from protocol.errors import FederationError, UnavailableError
from registry_api.cases.tables import CaseRow
from registry_api.enrolment.authority import Authority, IssuedCertificate
from registry_api.enrolment.renewal import OVERLAP
from registry_api.link import servicer
from server.authority import make_authority
from tests.fakes.centre_home import make_csr
from tests.fakes.enrolled import QUICK, SITE, EnrolledNode, RealLink
from tests.fakes.outcomes import code_of
from tests.fakes.parcels import a_case


@pytest.fixture
def node(tmp_path: Path, centre: RealLink) -> EnrolledNode:
    """Enrolled 21 of 30 days ago."""
    made = EnrolledNode(tmp_path / "node", centre)
    made.enrol(days_ago=21)
    return made


def is_whole(node: EnrolledNode) -> bool:
    """Say whether certificate and key are a pair that TLS takes."""
    client_context(node.trust, node.keys)
    return load_certificate(node.trust / CERTIFICATE).public_key() == node.key.public_key()


def finish(node: EnrolledNode) -> None:
    """Take as many looks as a node that runs would take in half a minute."""
    for _ in range(3):
        node.step()


def test_nothing_is_asked_before_two_thirds_of_its_life(node: EnrolledNode) -> None:
    node.clock.by = -timedelta(days=1, minutes=10)
    before = node.certificate()
    finish(node)
    assert node.certificate() == before
    assert node.book().last() is None


def test_then_a_further_one_lies_beside_it_until_it_is_proven(node: EnrolledNode) -> None:
    before, old = node.certificate(), node.serial()
    node.step()
    assert node.certificate() == before
    assert (node.trust / NEXT).exists()
    node.step()
    assert node.certificate() != before
    assert not (node.trust / NEXT).exists()
    assert is_whole(node)
    assert node.renewed == 1
    assert node.centre.admits(old)  # what runs under it comes to its end
    node.centre.clock.by = OVERLAP
    assert not node.centre.admits(old)
    assert node.centre.admits(node.serial())


def test_a_renewed_certificate_is_left_alone(node: EnrolledNode) -> None:
    finish(node)
    before = node.certificate()
    finish(node)
    assert (node.certificate(), node.renewed) == (before, 1)


def test_it_is_renewed_again_and_again(node: EnrolledNode) -> None:
    """The present one must be a certificate that renews, not only one that was enrolled."""
    finish(node)
    first = node.serial()
    node.clock.by = timedelta(days=21)
    finish(node)
    assert node.serial() != first
    assert node.renewed == 2


def test_a_centre_that_is_away_is_asked_until_it_is_there(node: EnrolledNode) -> None:
    before = node.certificate()
    node.centre.stop()

    async def renewed() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(node.renewer().run(stop))
        while (last := node.book().last()) is None or last.code is not Code.PEER_UNREACHABLE:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert node.certificate() == before
        await asyncio.to_thread(node.centre.start)
        while not node.renewed:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        stop.set()
        await running

    asyncio.run(asyncio.wait_for(renewed(), 40))
    last = node.book().last()
    assert last is not None
    assert last.code is None
    assert is_whole(node)


def test_a_certificate_that_has_expired_is_not_sent_to_ask(node: EnrolledNode) -> None:
    node.clock.by = timedelta(days=9, minutes=1)
    node.centre.stop()  # asking would be another error
    assert code_of(node.step) is Code.MISSING_CERTIFICATE


def test_a_revoked_site_gets_nothing(node: EnrolledNode) -> None:
    before = node.certificate()
    node.centre.revoke()
    assert code_of(node.step) is Code.FORBIDDEN
    assert not (node.trust / NEXT).exists()
    assert node.certificate() == before


def test_a_site_revoked_between_getting_and_showing_it_uses_nothing(node: EnrolledNode) -> None:
    before = node.certificate()
    node.step()
    node.centre.revoke()
    assert code_of(node.step) is Code.FORBIDDEN
    assert not (node.trust / NEXT).exists()
    assert node.certificate() == before
    assert node.renewed == 0


def _foreign(node: EnrolledNode) -> str:
    made = make_authority(datetime.now(UTC))
    return _issued(Authority(made.certificate, made.key, node_days=30), node.key, SITE)


def _named_alike(node: EnrolledNode) -> str:
    """Another authority under the very name of ours."""
    made = make_authority(datetime.now(UTC))
    ours = node.centre.runtime.authority
    other = Authority(ours.certificate, made.key, node_days=30)
    return _issued(other, node.key, SITE)


def _of_another_site(node: EnrolledNode) -> str:
    return _issued(node.centre.runtime.authority, node.key, "highfell")


def _of_another_key(node: EnrolledNode) -> str:
    return _issued(node.centre.runtime.authority, ec.generate_private_key(ec.SECP256R1()), SITE)


def _ends_earlier(node: EnrolledNode) -> str:
    authority = node.centre.runtime.authority
    return _issued(Authority(authority.certificate, authority.key, node_days=3), node.key, SITE)


def _issued(authority: Authority, key: ec.EllipticCurvePrivateKey, site: str) -> str:
    return authority.issue(make_csr(key), site=site, now=datetime.now(UTC)).pem


@pytest.mark.parametrize(
    "answer",
    [
        _foreign,
        _named_alike,
        _of_another_site,
        _of_another_key,
        _ends_earlier,
        lambda _: "no certificate",
        lambda _: "",
    ],
    ids=["another CA", "a CA of the same name", "another site", "another key", "an earlier end", "no PEM", "nothing"],
)
def test_an_answer_that_is_not_ours_is_refused_and_not_kept(
    node: EnrolledNode, answer: Callable[[EnrolledNode], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = answer(node)
    before = node.certificate()
    monkeypatch.setattr(servicer, "renew", lambda *_, **__: IssuedCertificate(pem, "0", datetime.now(UTC)))
    assert code_of(node.step) is Code.SIGNATURE_INVALID
    assert not (node.trust / NEXT).exists()
    assert node.certificate() == before


def test_what_lies_beside_it_is_checked_again_before_it_is_shown(node: EnrolledNode) -> None:
    (node.trust / NEXT).write_text(_foreign(node))
    before = node.certificate()
    assert code_of(node.step) is Code.SIGNATURE_INVALID
    assert not (node.trust / NEXT).exists()
    finish(node)
    assert node.certificate() != before


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_killed_at_any_moment_there_is_a_whole_certificate_and_the_next_start_goes_on(
    node: EnrolledNode, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = getattr(os, call)
    for moment in range(1, 20):
        left = moment

        def dies(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return plain(*arguments, **named)

        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(os, call, dies)
            node.step()
            node.step()
        assert is_whole(node)
        finish(node)
        assert is_whole(node)
        assert node.centre.admits(node.serial())
        if left > 0:
            assert moment > 2, "it was hardly killed at all"
            return
        node.enrol(days_ago=21)
    raise AssertionError(f"{call} is called surprisingly often")


def test_killed_between_the_centres_answer_and_the_rename_it_goes_on_even_when_the_old_one_has_ended(
    node: EnrolledNode,
) -> None:
    node.step()
    kept = node.folder.with_name("kept")
    shutil.copytree(node.trust, kept)
    node.step()
    taken = node.certificate()
    shutil.rmtree(node.trust)
    kept.rename(node.trust)  # the disk as it was in between
    node.centre.clock.by = OVERLAP
    assert not node.centre.admits(node.serial())
    node.step()
    assert node.certificate() == taken
    assert node.centre.admits(node.serial())


def test_an_answer_that_was_lost_leaves_nothing_at_the_centre(node: EnrolledNode) -> None:
    node.step()
    lost = load_certificate(node.trust / NEXT).serial_number
    (node.trust / NEXT).unlink()
    finish(node)
    assert not node.centre.admits(format(lost, "x"))
    assert node.centre.admits(node.serial())


def test_an_enrolment_while_the_centre_is_shown_it_wins(node: EnrolledNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node.step()
    answer = renewing._answer

    async def enrolled_meanwhile(call):
        said = await answer(call)
        keep_reply(node.centre.enrol(make_csr(node.key)), registry="https://localhost:8443", trust=node.trust)
        return said

    monkeypatch.setattr(renewing, "_answer", enrolled_meanwhile)
    node.step()
    assert node.centre.admits(node.serial())
    assert node.renewed == 0


def test_a_full_disk_keeps_the_old_certificate_and_says_so(node: EnrolledNode, monkeypatch: pytest.MonkeyPatch) -> None:
    before = node.certificate()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(UnavailableError) as raised:
            node.step()
    assert raised.value.code is Code.DISK_FULL
    assert node.certificate() == before
    finish(node)
    assert node.certificate() != before


def test_a_key_that_cannot_be_read_is_said(node: EnrolledNode) -> None:
    (node.keys / "node.key").unlink()
    with pytest.raises(FederationError) as raised:
        node.step()
    assert raised.value.code is Code.MISSING_CERTIFICATE


def test_the_renewed_one_is_of_the_same_key_and_lives_as_long_as_a_new_one(node: EnrolledNode) -> None:
    finish(node)
    renewed = x509.load_pem_x509_certificate(node.certificate())
    assert renewed.public_key() == node.key.public_key()
    assert renewed.not_valid_after_utc - datetime.now(UTC) > timedelta(days=29, hours=23)


def test_the_link_changes_over_and_every_parcel_arrives_once(node: EnrolledNode, tmp_path: Path) -> None:
    """Renewing in the middle of a queue: a new stream under the new certificate, nothing lost, nothing twice."""
    old, connection = node.serial(), connect(tmp_path / "link.db", gate.SCHEMA, inbox.SCHEMA, contact.SCHEMA)
    policy = SitePolicy(sharing=SharingPolicy(cases=True), reading=ReadingPolicy(posts=True))
    gate_ = gate.Gate(connection, lambda: policy, node.clock, tmp_path / "audit.head")
    link = LinkClient(
        gate_.outbox, inbox.Inbox(connection, node.clock), contact.ContactBook(connection, node.clock),
        woken=lambda: None, pace=Pace(look=0.02, heartbeat=0.2, backoff=Backoff(first=0.02, ceiling=0.1)),
    )  # fmt: skip
    renewer = Renewer(node.trust, node.keys, node.book(), clock=node.clock, renewed=link.connect_anew, pace=QUICK)

    async def story() -> set[str]:
        stop, serials, number = asyncio.Event(), set[str](), 0
        running = asyncio.create_task(
            link.run(f"localhost:{node.centre.port}", lambda: load_identity(node.trust, node.keys), stop)
        )
        while number < 60 or len(serials) < 2 or gate_.outbox.counts()["waiting"]:
            number += 1
            if number <= 60:
                gate_.submit(a_case(number))
            if number == 20:
                renewing = asyncio.create_task(renewer.run(stop))
            serials |= {stream.serial for stream in list(node.centre.courier._streams.values())}
            await asyncio.sleep(0.02)
        stop.set()
        await asyncio.gather(running, renewing)
        return serials

    assert asyncio.run(asyncio.wait_for(story(), 60)) == {old, node.serial()}
    assert gate_.outbox.counts()["accepted"] == 60
    with node.centre.runtime.database.reading() as session:
        assert len(session.exec(select(CaseRow)).all()) == 60
