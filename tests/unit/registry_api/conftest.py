"""A registry on a database of its own for every test, with a clock that tests set."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.case import CaseRecord
from protocol.enrolment import EnrolRequest
from registry_api.api import events
from registry_api.cases.service import accept_case
from registry_api.database import Database, open_engine
from registry_api.enrolment.invites import create_invite
from registry_api.enrolment.sites import enrol
from registry_api.main import create_app
from registry_api.people.roles import Role
from registry_api.people.service import NewPerson, add_person
from registry_api.releases.build import build_release
from registry_api.runtime import Runtime, build_runtime, disclosure_rule
from registry_api.settings import load_settings
from tests.fakes import postgresql
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.centre_home import make_centre_home, make_csr, supernode_key
from tests.fakes.databases import ON_POSTGRESQL, copy_database, drop_database, make_database, use_database

ORIGIN = "https://localhost:8443"


@dataclass
class Clock:
    """Stands still until a test moves it."""

    now: datetime = field(default_factory=lambda: datetime(2026, 3, 4, 12, 0, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **span: float) -> None:
        self.now += timedelta(**span)


@dataclass
class Registry:
    """The registry under test and the shortest ways to fill it."""

    runtime: Runtime
    clock: Clock
    _cases: int = 0

    def close(self) -> None:
        """Give every connection back."""
        self.runtime.read_log.close()
        self.runtime.database.close()

    def enrol(self, site: str, region: str = "XA-N") -> str:
        """Invite and enrol a site; return its certificate's serial."""
        with self.runtime.database.writing() as session:
            token = create_invite(session, site=site, region=region, hours=1, now=self.clock())
            _, issued = enrol(session, self.request(token), authority=self.runtime.authority, now=self.clock())
        return issued.serial

    def request(self, token: str, **changes: str) -> EnrolRequest:
        content = {
            "token": token,
            "csr_pem": make_csr(ec.generate_private_key(ec.SECP256R1())),
            "supernode_key": supernode_key(),
            "gateway_origin": "https://gateway.example:9443",
        }
        return EnrolRequest(**{**content, **changes})

    def add(self, role: Role, *, region: str | None = None, site: str | None = None) -> NewPerson:
        """Add a person; somebody of a hospital gets one that was invited."""
        with self.runtime.database.writing() as session:
            if role is Role.HOSPITAL and site is None:
                site = "somewhere"
                create_invite(session, site=site, region="XA", hours=1, now=self.clock())
            return add_person(session, f"a {role}", role=role, region=region, site=site, now=self.clock())

    def cases(self, site: str, count: int, *, week: str = "2026-W08", **fields: object) -> list[CaseRecord]:
        """Store `count` case records of one site that agree in everything."""
        records = [self.case(week=week, **fields) for _ in range(count)]
        with self.runtime.database.writing() as session:
            for record in records:
                accept_case(session, site, record, self.clock())
        return records

    def build(self) -> None:
        """Build a release."""
        key, rule = self.runtime.counts_key, disclosure_rule(self.runtime.settings)
        build_release(self.runtime.database, rule, key=key, now=self.clock())

    def key_of(self, role: Role, *, region: str | None = None) -> dict[str, str]:
        """Return headers of a new person of a role."""
        region = region or ("XA" if role is Role.MINISTRY else None)
        return {"Authorization": f"Bearer {self.add(role, region=region).api_key}"}

    def case(self, *, week: str = "2026-W08", **fields: object) -> CaseRecord:
        self._cases += 1
        content: dict[str, object] = {
            "case_id": f"{self._cases:032x}",
            "epi_week": week,
            "ggo_percent": 10,
            "consolidation_percent": 2,
            "opacity_percent": 12,
            "severity_score": 5,
            "severity_band": "mild",
            "model_release": "ggo@0",
        }
        return CaseRecord.model_validate({**content, **fields})


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str | None]:
    """The URL of a PostgreSQL server of this run, None if the tests store on SQLite.

    Its folder is no one of pytest's: a second run of the same user closes those to the account that the server runs as.
    """
    if not ON_POSTGRESQL:
        yield None
        return
    with (
        TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"), ignore_cleanup_errors=True) as folder,
        postgresql.running(Path(folder), durable=False) as url,
    ):
        yield url


@pytest.fixture(scope="session")
def centre_files(tmp_path_factory: pytest.TempPathFactory, postgresql_server: str | None) -> Path:
    """Keys, certificates and an empty migrated database, made once."""
    folder = make_centre_home(tmp_path_factory.mktemp("centre") / "home")
    if postgresql_server is not None:
        use_database(folder, make_database(postgresql_server))
    build_runtime(folder).database.close()
    return folder


@pytest.fixture
def home(tmp_path: Path, centre_files: Path) -> Iterator[Path]:
    """A centre's folder of this test's own, with shared keys."""
    folder = copied(centre_files, tmp_path / "home")
    yield folder
    drop_database(folder)


def copied(centre_files: Path, folder: Path) -> Path:
    """Make a centre's folder with the keys of another one and a database of its own."""
    folder.mkdir()
    for name in ("pki", "secrets"):
        (folder / name).symlink_to(centre_files / name)
    shutil.copytree(centre_files / "catalogue", folder / "catalogue")
    for path in (centre_files / "registry.toml", *centre_files.glob("registry.db")):
        shutil.copy(path, folder / path.name)
    copy_database(folder)
    return folder


def database_of(home: Path) -> Database:
    """Open the database of a centre's folder."""
    return Database(open_engine(load_settings(home).database_url))


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    clock = Clock()
    built = Registry(build_runtime(home, clock=clock), clock)
    yield built
    built.close()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, centre_files: Path) -> "Iterator[tuple[Registry, AsgiClient]]":
    """One release of two weeks, two regions and four hospitals, and a client, for tests that only look."""
    clock = Clock()
    built = Registry(
        build_runtime(copied(centre_files, tmp_path_factory.mktemp("published") / "home"), clock=clock), clock
    )
    for site, region in {"north-a": "XA-N", "north-b": "XA-N", "south-a": "XA-S", "south-b": "XA-S"}.items():
        built.enrol(site, region)
        built.cases(site, 15, week="2026-W07")
        built.cases(site, 20)
    built.build()
    with AsgiClient(create_app(built.runtime), base_url=ORIGIN) as opened:
        yield built, opened
    built.close()


@pytest.fixture(scope="session", autouse=True)
def _short_streams() -> Iterator[None]:
    """Streams of events end where they would wait, so that whoever asks for every route gets every answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "STREAM_SECONDS", 0.0)
        yield


@pytest.fixture
def client(registry: Registry) -> Iterator[AsgiClient]:
    with AsgiClient(create_app(registry.runtime), base_url=ORIGIN) as opened:
        yield opened


@pytest.fixture
def bearer(registry: Registry) -> Callable[..., dict[str, str]]:
    """Return headers of a new person of a role."""

    return registry.key_of
