"""Intake and outbox: a verdict after the commit, once per envelope; notices until they are received; the courier between."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import select

from protocol.errors import UnavailableError
from protocol.parcel import Parcel, parse_notice
from protocol.reading import ClaimMade, GrantRevoked, ReadWithdrawn
from protocol.shape import canonical_json
from registry_api.cases.tables import CaseRow
from registry_api.enrolment.sites import revoke_site
from registry_api.link import courier as courier_module
from registry_api.link.courier import Courier, Stream
from registry_api.link.intake import RECEIVERS, Outcome, take
from registry_api.link.outbox import AT_ONCE, mark_received, open_notices, send_notice
from registry_api.link.tables import NoticeRow, ParcelRow
from tests.unit.registry_api.conftest import Registry

ENVELOPE = "e" * 32


@pytest.fixture
def site(registry: Registry) -> str:
    registry.enrol("northport")
    return "northport"


def put(registry: Registry, site: str, body: bytes, envelope_id: str = ENVELOPE) -> Outcome:
    return take(registry.runtime.database, site, envelope_id=envelope_id, body=body, now=registry.clock())


def rows(registry: Registry, table: type) -> list:
    with registry.runtime.database.reading() as session:
        return list(session.exec(select(table).order_by(*table.__table__.primary_key)))


def notify(registry: Registry, site: str, number: int = 1) -> str:
    with registry.runtime.database.writing() as session:
        return send_notice(session, site, GrantRevoked(jti=f"{number:032x}"))


def test_every_kind_of_parcel_has_a_receiver() -> None:
    kinds = {shape.model_fields["kind"].default for shape in Parcel.__origin__.__args__}
    assert kinds == RECEIVERS.keys()


def test_a_parcel_is_stored_and_accepted_as_often_as_it_is_sent(registry: Registry, site: str) -> None:
    body = canonical_json(registry.case())
    assert put(registry, site, body) == put(registry, site, body) == Outcome(accepted=True)
    assert len(rows(registry, CaseRow)) == len(rows(registry, ParcelRow)) == 1


def test_many_tries_at_once_store_it_once(registry: Registry, site: str) -> None:
    body = canonical_json(registry.case())
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: put(registry, site, body), range(16)))
    assert set(outcomes) == {Outcome(accepted=True)}
    assert len(rows(registry, ParcelRow)) == 1


def test_the_same_id_from_two_sites_are_two_parcels(registry: Registry, site: str) -> None:
    registry.enrol("southbay")
    body = canonical_json(registry.case())
    assert put(registry, site, body).accepted
    assert put(registry, "southbay", body).accepted
    assert len(rows(registry, CaseRow)) == 2


@pytest.mark.parametrize(
    ("body", "envelope_id", "code"),
    [
        (b"{}", ENVELOPE, "bad-shape"),
        (b"\xff\xfe", ENVELOPE, "bad-shape"),
        (b'{"kind":"case-record","name":"x"}', ENVELOPE, "bad-shape"),
        (b"{}", "short", "bad-shape"),
        (canonical_json(ReadWithdrawn(request_id="a" * 32)), ENVELOPE, "not-found"),
    ],
)
def test_what_is_refused_has_a_code_and_leaves_nothing(
    registry: Registry, site: str, body: bytes, envelope_id: str, code: str
) -> None:
    assert put(registry, site, body, envelope_id) == Outcome(accepted=False, code=code)
    assert rows(registry, ParcelRow) == []


def test_another_body_under_a_used_id_is_refused(registry: Registry, site: str) -> None:
    put(registry, site, canonical_json(registry.case()))
    assert put(registry, site, canonical_json(registry.case())).code == "already-exists"


def test_a_parcel_that_breaks_a_rule_may_come_again_corrected(registry: Registry, site: str) -> None:
    assert put(registry, site, canonical_json(registry.case(opacity_percent=99))).code == "case-opacity-sum"
    assert put(registry, site, canonical_json(registry.case())).accepted


def test_without_a_database_there_is_no_verdict(registry: Registry, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OperationalError("INSERT", {}, Exception("disk is full"))

    monkeypatch.setitem(RECEIVERS, "case-record", full)
    with pytest.raises(UnavailableError):
        put(registry, site, canonical_json(registry.case()))
    assert rows(registry, ParcelRow) == []


def test_a_notice_stays_open_until_its_own_site_received_it(registry: Registry, site: str) -> None:
    registry.enrol("southbay")
    first, second = notify(registry, site, 1), notify(registry, site, 2)
    with registry.runtime.database.writing() as session:
        mark_received(session, "southbay", first, now=registry.clock())
        assert [one.id for one in open_notices(session, [site])] == [first, second]
        mark_received(session, site, first, now=registry.clock())
        assert [one.id for one in open_notices(session, [site, "southbay"])] == [second]
        assert open_notices(session, []) == []
    assert parse_notice(rows(registry, NoticeRow)[1].body) == GrantRevoked(jti=f"{2:032x}")


def test_a_site_that_takes_nothing_keeps_no_other_waiting(registry: Registry, site: str) -> None:
    """Its node is connected and its disk is full: what it has not received grows, and others' revocations leave all the same."""
    registry.enrol("southbay")
    made = ClaimMade(request_id="a" * 32, claim_id="b" * 32, reader_id="c" * 32, fence=1)
    with registry.runtime.database.writing() as session:
        stuck = [send_notice(session, site, made) for _ in range(1200)]
        other = send_notice(session, "southbay", GrantRevoked(jti="d" * 32))
        voids = send_notice(session, site, GrantRevoked(jti="e" * 32))
    with registry.runtime.database.reading() as session:
        found = open_notices(session, [site, "southbay"])
    by_site = {where: [one.id for one in found if one.site == where] for where in (site, "southbay")}
    assert by_site == {"southbay": [other], site: [voids, *stuck[: AT_ONCE - 1]]}


def test_a_notice_of_an_undone_transaction_is_never_sent(registry: Registry, site: str) -> None:
    def send_and_fail() -> None:
        with registry.runtime.database.writing() as session:
            send_notice(session, site, GrantRevoked(jti="a" * 32))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        send_and_fail()
    assert rows(registry, NoticeRow) == []


def sent(stream: Stream) -> list[str]:
    """Empty the stream's queue; "end" stands for its end."""
    frames = []
    while not stream._frames.empty():
        frame = stream._frames.get_nowait()
        frames.append("end" if frame is None else frame.notice.id)
    return frames


def test_the_courier_brings_each_notice_to_its_site_once(registry: Registry, site: str) -> None:
    courier = Courier(registry.runtime.database, registry.clock)
    other = courier.join("southbay", registry.enrol("southbay"))
    stream = courier.join(site, registry.enrol(site))
    first = notify(registry, site)
    asyncio.run(courier.tick())
    second = notify(registry, site, 2)
    asyncio.run(courier.tick())
    assert sent(stream) == [first, second]
    assert sent(other) == []


def test_what_is_not_received_is_brought_again(registry: Registry, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    courier = Courier(registry.runtime.database, registry.clock)
    stream = courier.join(site, registry.enrol(site))
    notice = notify(registry, site)
    asyncio.run(courier.tick())
    monkeypatch.setattr(courier_module, "_RESEND_SECONDS", 0.0)
    asyncio.run(courier.tick())
    assert sent(stream) == [notice, notice]


def test_a_revoked_site_and_a_replaced_stream_are_cut(
    registry: Registry, site: str, caplog: pytest.LogCaptureFixture
) -> None:
    courier = Courier(registry.runtime.database, registry.clock)
    serial = registry.enrol(site)
    older = courier.join(site, serial)
    newer = courier.join(site, serial)
    assert sent(older) == ["end"]
    assert [record.site for record in caplog.records if record.msg == "link.replaced"] == [site], (
        "or a copied key is at work"
    )  # type: ignore[attr-defined]
    courier.leave(older)
    with registry.runtime.database.writing() as session:
        revoke_site(session, site, now=registry.clock())
    notify(registry, site)
    asyncio.run(courier.tick())
    assert sent(newer) == ["end"]


def test_an_expired_certificate_is_cut_too(registry: Registry, site: str) -> None:
    courier = Courier(registry.runtime.database, registry.clock)
    stream = courier.join(site, registry.enrol(site))
    registry.clock.pass_(days=31)
    asyncio.run(courier.tick())
    assert sent(stream) == ["end"]


def test_a_node_that_does_not_read_gets_no_more_than_the_queue_holds() -> None:
    async def fill() -> int:
        stream = Stream("northport", "1")
        for number in range(1500):
            stream.carry(NoticeRow(id=str(number), site="northport", kind="k", body=b""))
        size = stream._frames.qsize()
        stream.cut()
        stream.carry(NoticeRow(id="late", site="northport", kind="k", body=b""))
        return size

    assert asyncio.run(fill()) == 1000


def test_the_courier_outlives_a_database_that_is_away(registry: Registry, site: str) -> None:
    courier = Courier(registry.runtime.database, registry.clock)
    stream = courier.join(site, registry.enrol(site))
    looks = []

    def look(streams: list[Stream]) -> tuple[list[Stream], list[NoticeRow]]:
        looks.append(len(streams))
        if len(looks) == 1:
            raise OperationalError("SELECT", {}, Exception("gone"))
        return streams, []

    courier._look = look  # type: ignore[method-assign]

    async def run_a_while() -> None:
        running = asyncio.create_task(courier.run())
        async for _ in stream.frames():
            pass  # the second look cuts it, which ends the frames
        running.cancel()

    asyncio.run(asyncio.wait_for(run_a_while(), 10))
    assert looks == [1, 1]
