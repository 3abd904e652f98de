"""On PostgreSQL: a site that enrols while a release is published hears of it, whichever of the two begins."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest

from protocol.release import TIMESTAMP, Manifest, SignedManifest
from registry_api.database import Database, open_engine
from registry_api.enrolment.tables import SiteRow
from registry_api.link.outbox import open_notices
from registry_api.promoted import service
from registry_api.promoted.service import greet, publish
from registry_api.promoted.shelf import Shelf
from registry_api.promoted.tables import ListRow
from registry_api.schema import migrate
from tests.fakes import postgresql

pytestmark = pytest.mark.skipif(
    not postgresql.installed(), reason="no PostgreSQL server on this machine (initdb, pg_ctl)"
)
pytest.importorskip("pg8000", reason="the driver pg8000 is not installed")

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
WEIGHTS = b"weights, not looked into"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with postgresql.running(tmp_path_factory.mktemp("postgresql")) as address:
        engine = open_engine(address)
        migrate(engine)
        made = Database(engine)
        with made.writing() as session:
            session.add(ListRow(name=TIMESTAMP, body="what the lists say is looked at elsewhere"))
        yield made
        engine.dispose()


def a_release(version: int) -> SignedManifest:
    manifest = Manifest(
        name=f"ggo@{version}", lineage="ggo", version=version, parent="ggo@0", architecture="lite-2p5d",
        weights_sha256=hashlib.sha256(WEIGHTS).hexdigest(), weights_bytes=len(WEIGHTS), created="2026-03-04T12:00:00Z",
        run_id=None, rounds=0, sites=0, epsilon_max=None, scores=None,
    )  # fmt: skip
    return SignedManifest(manifest=manifest, signature="A" * 86)


@pytest.mark.parametrize("first", ["release", "site"])
def test_a_site_that_enrols_while_a_release_is_published_hears_of_it(
    database: Database, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, release = f"beside-{first}", a_release(1 if first == "release" else 2)
    begun, go_on = Event(), Event()
    monkeypatch.setattr(service, "require_listed", lambda *_: None)

    def halfway() -> None:
        begun.set()
        assert go_on.wait(30)

    def release_it() -> None:
        with database.writing() as session:
            publish(session, release, [WEIGHTS], shelf=Shelf(tmp_path), now=NOW)
            if first == "release":
                halfway()

    def enrol() -> None:
        with database.writing() as session:
            session.add(SiteRow(site=site, region="XA-N", enrolled_at=NOW))
            session.flush()
            greet(session, site)
            if first == "site":
                halfway()

    with ThreadPoolExecutor(2) as pool:
        leading = pool.submit(release_it if first == "release" else enrol)
        assert begun.wait(30)
        following = pool.submit(enrol if first == "release" else release_it)
        with pytest.raises(TimeoutError):
            following.result(timeout=0.5)
        go_on.set()
        leading.result(30)
        following.result(30)
    with database.reading() as session:
        told = [row.body for row in open_notices(session, [site])]
    assert any(release.manifest.name.encode() in body for body in told)
