"""A registry database with two hospitals and readers."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from protocol.reading import ReadPost
from registry_api.database import Database
from registry_api.enrolment.tables import SiteRow
from tests.fakes.readers import ready_reader
from tests.unit.registry_api.conftest import database_of
from tests.unit.registry_api.reading.story import Story

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REQUEST = "1" * 32


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    database = database_of(home)
    with database.writing() as session:
        for site in ("northport", "southbay"):
            origin = f"https://{site}.example:9443"
            session.add(SiteRow(site=site, region="XA-N", gateway_origin=origin, enrolled_at=NOW))
    yield database
    database.close()


@pytest.fixture
def add_reader(database: Database) -> Callable[..., str]:
    """Add a reader with a licence for XA who may read for northport, and return the id."""

    def add(name: str = "Reader", *, sites: tuple[str, ...] = ("northport",)) -> str:
        with database.writing() as session:
            return ready_reader(session, name, sites=sites, now=NOW).person_id

    return add


@pytest.fixture
def post() -> Callable[..., ReadPost]:
    def make(request_id: str = REQUEST, **changes: object) -> ReadPost:
        content = {
            "request_id": request_id, "age_band": "60-69", "sex": "female", "slices": 120, "megabytes": 60,
            "ggo_percent": 12, "jurisdiction": "XA-N", "language": "en",
        }  # fmt: skip
        return ReadPost.model_validate(content | changes)

    return make


@pytest.fixture
def story(database: Database) -> Story:
    return Story(database, NOW)
