"""The invented network that `bench.reading` matches in: hospitals in four time zones, readers with a few agreements each, requests."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from protocol.reading import Priority, Subspecialty
from registry_api.reading.lifecycle import TIMERS
from registry_api.reading.matching import Licence, ReaderProfile, Training, Wanted
from registry_api.reading.shifts import Shift
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
