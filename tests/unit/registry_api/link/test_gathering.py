"""Parcels taken together: the verdicts and the rows are those of one after the other, and nobody waits for ever."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from protocol.case import LegalBasis
from protocol.codes import Code
from protocol.errors import UnavailableError
from protocol.reading import ReaderPrivilege
from protocol.shape import canonical_json
from registry_api.cases import service
from registry_api.cases.bases import withdraw_basis
from registry_api.cases.tables import CaseRow
from registry_api.database import Database
from registry_api.enrolment.tables import SiteRow
from registry_api.link import gathering, intake
from registry_api.link.gathering import Gathering, Sent, take_many
from registry_api.link.intake import Outcome, take
from registry_api.link.tables import ParcelRow
from registry_api.units.service import ensure_unit
from tests.unit.registry_api.conftest import Clock, Registry, copied, database_of

SITES = ("north-a", "north-b")
NOW = Clock().now
NOBODY = Registry(None, Clock())  # type: ignore[arg-type] — only makes records


def record(number: int, **fields: object) -> bytes:
    return canonical_json(NOBODY.case(case_id=f"{number:032x}", **fields))


BODIES = (
    record(1), record(1, version=2, ggo_percent=11, opacity_percent=13), record(1, version=2, withdrawn=True), record(2),
    record(3, legal_basis="consent"), record(4, epi_week="2024-W53"), b"{}", b"no JSON",
)  # fmt: skip
PARCELS = st.builds(
    Sent,
    site=st.sampled_from(SITES),
    envelope_id=st.sampled_from([f"{number:032x}" for number in range(6)] + ["short"]),
    body=st.sampled_from(BODIES),
)


def make(home: Path) -> Database:
    database = database_of(home)
    with database.writing() as session:
        ensure_unit(session, "XA-N")
        session.add_all([SiteRow(site=name, region="XA-N", enrolled_at=NOW) for name in SITES])
        session.flush()
        withdraw_basis(session, "north-a", LegalBasis.CONSENT, now=NOW)
    return database


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, centre_files: Path):
    folder = tmp_path_factory.mktemp("gathering")
    both = make(copied(centre_files, folder / "one")), make(copied(centre_files, folder / "many"))
    yield both
    for database in both:
        database.close()


def emptied(database: Database) -> None:
    with database.writing() as session:
        for table in (ParcelRow, CaseRow):
            session.connection().execute(table.__table__.delete())


def rows(database: Database) -> list[dict]:
    with database.reading() as session:
        found = [*session.exec(select(CaseRow).order_by(CaseRow.site, CaseRow.case_id))]
        found += [*session.exec(select(ParcelRow).order_by(ParcelRow.site, ParcelRow.envelope_id))]
        return [row.model_dump() for row in found]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(PARCELS, min_size=1, max_size=8), min_size=1, max_size=3))
def test_together_is_the_same_as_one_after_the_other(pair, batches: list[list[Sent]]) -> None:
    one, many = pair
    for database in pair:
        emptied(database)
    for batch in batches:
        single = [take(one, sent.site, envelope_id=sent.envelope_id, body=sent.body, now=NOW) for sent in batch]
        assert take_many(many, batch, now=NOW) == single
    assert rows(many) == rows(one)


def test_two_versions_of_a_case_in_one_batch_leave_the_higher_one(pair) -> None:
    _, many = pair
    emptied(many)
    bodies = record(1, version=2, ggo_percent=11, opacity_percent=13), record(1), record(1, version=2)
    sent = [Sent(SITES[0], f"{number:032x}", body) for number, body in enumerate(bodies)]
    assert take_many(many, sent, now=NOW) == [Outcome(accepted=True)] * 3
    case, *parcels = rows(many)
    assert (case["version"], case["ggo_percent"], len(parcels)) == (2, 11, 3)


def test_a_batch_of_new_records_is_one_transaction(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    _, many = pair
    emptied(many)
    monkeypatch.setattr(gathering, "take", lambda *_, **__: pytest.fail("taken one by one"))
    sent = [Sent(SITES[number % 2], f"{number:032x}", record(number)) for number in range(50)]
    assert take_many(many, sent, now=NOW) == [Outcome(accepted=True)] * 50
    assert len(rows(many)) == 100


def test_what_waits_while_one_batch_is_stored_goes_together_into_the_next(
    pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, many = pair
    emptied(many)
    sizes = []

    def counting(database: Database, parcels: list[Sent], *, now) -> list[Outcome]:
        sizes.append(len(parcels))
        return take_many(database, parcels, now=now)

    monkeypatch.setattr(gathering, "take_many", counting)

    async def send() -> list[Outcome]:
        place = Gathering(many, lambda: NOW)
        return await asyncio.gather(
            *(place.put(Sent(SITES[0], f"{number:032x}", record(number))) for number in range(700))
        )

    assert set(asyncio.run(send())) == {Outcome(accepted=True)}
    assert sizes == [512, 188]


def test_when_nothing_can_be_stored_everybody_is_told_and_the_next_may_try(
    pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, many = pair
    emptied(many)

    async def send() -> list[object]:
        place = Gathering(many, lambda: NOW)
        with monkeypatch.context() as broken:
            broken.setattr(
                gathering, "take_many", lambda *_, **__: (_ for _ in ()).throw(UnavailableError(Code.DISK_FULL))
            )
            told = await asyncio.gather(
                *(place.put(Sent(SITES[0], f"{number:032x}", record(number))) for number in range(3)),
                return_exceptions=True,
            )
        return [*(type(one) for one in told), await place.put(Sent(SITES[0], f"{9:032x}", record(9)))]

    assert asyncio.run(send()) == [UnavailableError] * 3 + [Outcome(accepted=True)]


@pytest.mark.parametrize("culprit", ["parcel", "record"])
def test_a_fault_that_one_parcel_brings_is_told_to_its_node_alone(
    pair, monkeypatch: pytest.MonkeyPatch, culprit: str
) -> None:
    """Its node sends it again at every connection; the others must not lose theirs each time."""
    _, many = pair
    emptied(many)

    def stumbling(session: object, *_: object) -> None:
        raise RuntimeError

    if culprit == "parcel":
        monkeypatch.setitem(intake.RECEIVERS, "reader-privilege", stumbling)
        bad = canonical_json(ReaderPrivilege(reader_id="f" * 32, granted=True, version=1))
    else:
        bad = record(8, quality=["contrast"])
        inner = service._content_of
        monkeypatch.setattr(service, "_content_of", lambda one: inner(one) if not one.quality else stumbling(one))
    sent = [
        Sent(SITES[0], f"{1:032x}", record(1)),
        Sent(SITES[1], f"{2:032x}", bad),
        Sent(SITES[0], f"{3:032x}", record(3)),
    ]

    async def send() -> list[object]:
        place = Gathering(many, lambda: NOW)
        return await asyncio.gather(*(place.put(one) for one in sent), return_exceptions=True)

    first, fault, last = asyncio.run(send())
    assert (first, last) == (Outcome(accepted=True), Outcome(accepted=True))
    assert isinstance(fault, RuntimeError)


def test_a_node_that_has_gone_does_not_hold_up_the_others(pair) -> None:
    _, many = pair
    emptied(many)

    async def send() -> Outcome:
        place = Gathering(many, lambda: NOW)
        gone = place.put(Sent(SITES[0], f"{1:032x}", record(1)))
        await asyncio.sleep(0)
        gone.cancel()
        return await place.put(Sent(SITES[1], f"{2:032x}", record(2)))

    assert asyncio.run(send()) == Outcome(accepted=True)
