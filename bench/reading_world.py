"""The invented network that `bench.reading` matches in: hospitals in four time zones, readers with a few agreements each, requests."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product

from sqlalchemy import insert
from sqlmodel import Session, SQLModel

from protocol.reading import Priority, Subspecialty
from registry_api.enrolment.tables import SiteRow
from registry_api.people.tables import CredentialRow, PersonRow
from registry_api.reading.lifecycle import TIMERS
from registry_api.reading.matching import Licence, ReaderProfile, Training, Wanted
from registry_api.reading.shifts import Shift
from registry_api.reading.tables import (
    AgreementRow,
    CredentialTermRow,
    PrivilegeRow,
    ReaderRow,
    ReadRequestRow,
    ShiftRow,
    SlotRow,
    TrainingRow,
)
from registry_api.reading.worth import Batch

NOW = datetime(2026, 3, 4, 9, tzinfo=UTC)
ZONES = ("America/Sao_Paulo", "Europe/Lisbon", "Asia/Kolkata", "Asia/Manila")
COUNTRIES = ("XA", "XB", "XC", "XD")
LANGUAGES = ("en", "pt")
AGREEMENTS = 20
"""Hospitals that one reader reads for."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large the network is."""

    requests: int
    readers: int
    hospitals: int


def invent(size: Size, *, seed: int = 7) -> Batch:
    """Return a batch: everything drawn from `seed`, every reader on a shift with room for one to five reads."""
    draw = random.Random(seed)  # noqa: S311 - an invented world, not a secret
    places = {f"hospital-{number}": draw.choice(COUNTRIES) for number in range(size.hospitals)}
    readers = [_reader(draw, number, list(places)) for number in range(size.readers)]
    requests = [_request(draw, number, places) for number in range(size.requests)]
    in_hand = {site: draw.randrange(4) for site in places}
    recent = {reader.reader_id: draw.randrange(200) for reader in readers}
    return Batch(requests, readers, in_hand, recent)


def _reader(draw: random.Random, number: int, hospitals: Sequence[str]) -> ReaderProfile:
    sites = frozenset(draw.sample(hospitals, min(AGREEMENTS, len(hospitals))))
    held = draw.randrange(5)
    year = timedelta(days=365)
    zone = draw.choice(ZONES)
    trained = draw.random() < 0.5
    return ReaderProfile(
        reader_id=f"{number:032x}",
        licences=tuple(Licence(country, NOW - year, NOW + year) for country in draw.sample(COUNTRIES, 3)),
        languages=frozenset(LANGUAGES if draw.random() < 0.5 else LANGUAGES[:1]),
        agreements=sites,
        privileges=sites,
        trainings=(Training(Subspecialty.THORACIC, NOW - year, NOW + year),) if trained else (),
        shifts=(Shift(NOW - timedelta(hours=draw.randrange(1, 8)), NOW + timedelta(hours=draw.randrange(1, 8)), zone),),
        time_zone=zone,
        held=held,
        capacity=5,
    )


def _request(draw: random.Random, number: int, places: dict[str, str]) -> Wanted:
    site = draw.choice(list(places))
    priority = draw.choices((Priority.STAT, Priority.URGENT, Priority.ROUTINE), (1, 3, 6))[0]
    posted = NOW - draw.random() * TIMERS[priority].due
    return Wanted(
        request_id=f"{number:032x}",
        site=site,
        jurisdiction=places[site],
        language=draw.choices(LANGUAGES, (4, 1))[0],
        priority=priority,
        posted_at=posted,
        due_at=posted + TIMERS[priority].due,
        subspecialty=Subspecialty.THORACIC if draw.random() < 0.2 else None,
        ggo_percent=draw.randrange(60),
        uncertainty_percent=draw.randrange(40),
    )


def store(session: Session, batch: Batch) -> None:
    """Write an invented network into an empty database, as what `match` would make the same batch of."""
    site_rows = [{"site": site, "region": "XA", "enrolled_at": NOW} for site in sorted(batch.in_hand)]
    readers, requests = batch.readers, batch.waiting
    rows: dict[type[SQLModel], list[dict[str, object]]] = {
        SiteRow: site_rows,
        PersonRow: [
            {"id": one.reader_id, "name": "R", "role": "reader", "key_sha256": one.reader_id, "created_at": NOW} for one in readers
        ],
        ReaderRow: [
            {"reader_id": one.reader_id, "capacity": one.capacity - one.held, "time_zone": one.time_zone} for one in readers
        ],
        CredentialRow: [
            {"id": 10 * place + number, "reader_id": one.reader_id, "jurisdiction": licence.jurisdiction, "language": language}
            for place, one in enumerate(readers)
            for number, (licence, language) in enumerate(product(one.licences, sorted(one.languages)))
        ],
        CredentialTermRow: [
            {"credential_id": 10 * place + number, **_term(licence)}
            for place, one in enumerate(readers)
            for number, (licence, _) in enumerate(product(one.licences, sorted(one.languages)))
        ],
        TrainingRow: [
            {"reader_id": one.reader_id, "subspecialty": two.subspecialty.value, **_term(two)}
            for one in readers
            for two in one.trainings
        ],
        ShiftRow: [
            {"reader_id": one.reader_id, "starts_at": two.starts_at, "ends_at": two.ends_at, "time_zone": two.time_zone}
            for one in readers
            for two in one.shifts
        ],
        AgreementRow: [
            {"site": site, "reader_id": one.reader_id, "created_at": NOW} for one in readers for site in sorted(one.agreements)
        ],
        PrivilegeRow: [
            {"site": site, "reader_id": one.reader_id, "granted": True, "version": 1, "changed_at": NOW}
            for one in readers
            for site in sorted(one.privileges)
        ],
        ReadRequestRow: [_request_row(one) for one in requests],
        SlotRow: [
            {"request_id": one.request_id, "number": 1, "site": one.site, "opened_at": one.posted_at, "due_at": one.due_at, "expires_at": one.due_at + timedelta(days=1)}
            for one in requests
        ],
    }  # fmt: skip
    for table, values in rows.items():
        session.connection().execute(insert(table), values)


def _term(one: Licence | Training) -> dict[str, object]:
    seen = {"verified_by": "c" * 32, "verified_at": NOW, "evidence": "register:1"}
    return {"valid_from": one.valid_from, "valid_until": one.valid_until, **seen}


def _request_row(one: Wanted) -> dict[str, object]:
    return {
        "request_id": one.request_id,
        "site": one.site,
        "priority": one.priority.value,
        "age_band": "60-69",
        "sex": "female",
        "slices": 300,
        "megabytes": 150,
        "ggo_percent": one.ggo_percent,
        "uncertainty_percent": one.uncertainty_percent,
        "jurisdiction": one.jurisdiction,
        "language": one.language,
        "subspecialty": one.subspecialty.value if one.subspecialty else None,
        "reads_required": 1,
        "posted_at": one.posted_at,
        "due_at": one.due_at,
        "expires_at": one.due_at + timedelta(days=1),
    }
