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
from protocol.shape import canonical_json
from registry_api.cases.bases import withdraw_basis
from registry_api.cases.tables import CaseRow
from registry_api.database import Database, open_engine
from registry_api.enrolment.tables import SiteRow
from registry_api.link import gathering
from registry_api.link.gathering import Gathering, Sent, take_many
from registry_api.link.intake import Outcome, take
from registry_api.link.tables import ParcelRow
from registry_api.schema import migrate
from registry_api.units.service import ensure_unit
from tests.unit.registry_api.conftest import Clock, Registry

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


def make(path: Path) -> Database:
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    database = Database(engine)
    with database.writing() as session:
        ensure_unit(session, "XA-N")
        session.add_all([SiteRow(site=name, region="XA-N", enrolled_at=NOW) for name in SITES])
        session.flush()
        withdraw_basis(session, "north-a", LegalBasis.CONSENT, now=NOW)
    return database


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("gathering")
    both = make(folder / "one.db"), make(folder / "many.db")
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


def is_settled(parcels: list[Sent]) -> bool:
    """Whether the order within the batch cannot matter: a stream has one parcel under way, so a site sends a case once in a batch."""
    return (
        len({(one.site, one.envelope_id) for one in parcels})
        == len(parcels)
        == len({(one.site, one.body) for one in parcels})
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(PARCELS, min_size=1, max_size=8), min_size=1, max_size=3))
def test_together_is_the_same_as_one_after_the_other(pair, batches: list[list[Sent]]) -> None:
    one, many = pair
    for database in pair:
        emptied(database)
    for batch in batches:
        single = [take(one, sent.site, envelope_id=sent.envelope_id, body=sent.body, now=NOW) for sent in batch]
        together = take_many(many, batch, now=NOW)
        if is_settled(batch):
            assert together == single
        assert len(together) == len(batch)
    if all(is_settled(batch) for batch in batches):
        assert {row["case_id"] for row in rows(one) if "case_id" in row} == {
            row["case_id"] for row in rows(many) if "case_id" in row
        }


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
            *(place.take(Sent(SITES[0], f"{number:032x}", record(number))) for number in range(700))
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
                *(place.take(Sent(SITES[0], f"{number:032x}", record(number))) for number in range(3)),
                return_exceptions=True,
            )
        return [*(type(one) for one in told), await place.take(Sent(SITES[0], f"{9:032x}", record(9)))]

    assert asyncio.run(send()) == [UnavailableError] * 3 + [Outcome(accepted=True)]


def test_a_node_that_has_gone_does_not_hold_up_the_others(pair) -> None:
    _, many = pair
    emptied(many)

    async def send() -> Outcome:
        place = Gathering(many, lambda: NOW)
        gone = asyncio.create_task(place.take(Sent(SITES[0], f"{1:032x}", record(1))))
        await asyncio.sleep(0)
        gone.cancel()
        return await place.take(Sent(SITES[1], f"{2:032x}", record(2)))

    assert asyncio.run(send()) == Outcome(accepted=True)
