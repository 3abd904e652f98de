"""Two processes that serve one registry on one PostgreSQL: who speaks to one may go on with the other, and of two at once one is first."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import pytest

from protocol.reading import ReadPost
from registry_api.database import Database, open_engine
from registry_api.enrolment.tables import SiteRow
from registry_api.people.roles import Role
from registry_api.people.service import add_person
from registry_api.reading.service import accept_post
from registry_api.releases.turn import turn
from registry_api.units.service import ensure_unit
from tests.fakes import postgresql
from tests.fakes.centre_home import make_centre_home
from tests.fakes.oidc_provider import Provider
from tests.fakes.ports import free_port
from tests.fakes.readers import ready_reader
from tests.integration.registry.conftest import Program
from tests.integration.registry.test_postgresql import needs_postgresql

pytestmark = [needs_postgresql, pytest.mark.slow]

SECRET = "between registry and provider"
READS = 12


@dataclass
class Network:
    """Both programs, and the database behind them."""

    programs: tuple[Program, Program]
    database: Database
    provider: Provider


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("two")
    first, second = (Program(folder / f"home-{name}", free_port(), free_port()) for name in "ab")
    redirect = f"{first.origin}/login/oidc/callback"
    (folder / "provider").mkdir()
    provider = Provider(folder / "provider", client_id="acinus", client_secret=SECRET, redirect_uri=redirect)
    provider.person = {"sub": "subject-4711", "name": "Dr Example", "groups": ["moh"]}
    with postgresql.running(tmp_path_factory.mktemp("postgresql")) as url:
        prepare(first, second, url=url, provider=provider)
        with ThreadPoolExecutor(2) as pool:  # together, on a database without a table
            list(pool.map(Program.start, (first, second)))
        database = Database(open_engine(url))
        try:
            yield Network((first, second), database, provider)
        finally:
            database.close()
            for program in (first, second):
                program.stop()
            provider.stop()


def prepare(first: Program, second: Program, *, url: str, provider: Provider) -> None:
    """Make the homes of one registry behind one address: they differ in their ports."""
    make_centre_home(first.home, http_port=first.http_port, link_port=first.link_port)
    (first.home / "oidc.secret").write_text(SECRET)
    settings = first.home / "registry.toml"
    settings.write_text(
        f'{settings.read_text()}[database]\nurl = "{url}"\n'
        f'[oidc]\nissuer = "{provider.issuer}"\nclient_id = "acinus"\nclient_secret_file = "oidc.secret"\nca_file = "{provider.ca}"\n'
        '[[oidc.grants]]\ngroup = "moh"\nrole = "ministry"\nregion = "XA"\n'
    )
    shutil.copytree(first.home, second.home)
    told = settings.read_text()
    for mine, other in ((first.http_port, second.http_port), (first.link_port, second.link_port)):
        told = told.replace(f"\nport = {mine}\n", f"\nport = {other}\n")
    (second.home / "registry.toml").write_text(told)
    assert first.origin in told


def test_a_browser_logs_in_across_both_and_is_known_to_both(network: Network) -> None:
    first, second = network.programs
    with network.database.writing() as session:
        ensure_unit(session, "XA")
    with first.client(None) as at_first, second.client(None) as at_second:
        away = at_first.get("/login/oidc")
        answer = httpx.get(away.headers["Location"], verify=network.provider.trust(), trust_env=False)
        back = urlsplit(answer.headers["Location"])
        at_second.cookies.update(at_first.cookies)  # to a browser both are one address
        entered = at_second.get(f"{back.path}?{back.query}")
        assert entered.status_code == 200, entered.text
        at_first.cookies.update(at_second.cookies)
        for client in (at_first, at_second):
            assert "Dr Example" in client.get("/registry").text
        assert at_first.get(f"{back.path}?{back.query}").status_code == 401, "once is enough"


def test_of_two_readers_who_claim_at_both_at_once_one_gets_the_read(network: Network) -> None:
    now = datetime.now(UTC)
    with network.database.writing() as session:
        ensure_unit(session, "XA-N")
        session.add(SiteRow(site="northport", region="XA-N", gateway_origin="https://gateway.example", enrolled_at=now))
        session.flush()
        readers = [ready_reader(session, f"Reader {number}", now=now) for number in range(2)]
        for number in range(READS):
            accept_post(session, "northport", a_post(number), now)

    def claim(who: int, number: int) -> int:
        with network.programs[who].client(readers[who].api_key) as client:
            return client.post(f"/v1/reads/{number:032x}/claims").status_code

    won = [0, 0]
    with ThreadPoolExecutor(2) as pool:
        for number in range(READS // 3):  # within what one reader may have in hand
            statuses = list(pool.map(claim, (0, 1), (number, number)))
            assert sorted(statuses) == [201, 409], statuses
            won[statuses.index(201)] += 1
    assert sum(won) == READS // 3


def a_post(number: int) -> ReadPost:
    return ReadPost.model_validate(
        {
            "request_id": f"{number:032x}", "age_band": "60-69", "sex": "female", "slices": 120, "megabytes": 60,
            "ggo_percent": 12, "jurisdiction": "XA-N", "language": "en",
        }
    )  # fmt: skip


def test_of_two_that_build_one_has_the_turn_and_both_serve_what_it_built(network: Network) -> None:
    first, second = network.programs
    with network.database.writing() as session:
        key = add_person(session, "auditor", role=Role.AUDITOR, region=None, now=datetime.now(UTC)).api_key
    with turn(network.database):
        refused = subprocess.run(
            second.command("release", "build", "--json"), capture_output=True, text=True, timeout=60, check=False
        )
    assert refused.returncode == 3
    assert "run-in-progress" in refused.stdout + refused.stderr
    built = first.json("release", "build")
    again = second.json("release", "build")
    assert (built["new"], again["new"], again["sha256"]) == (True, False, built["sha256"])
    for program in network.programs:
        with program.client(key) as client:
            [release] = json.loads(client.get("/v1/registry/releases").text)
            assert release["sha256"] == built["sha256"]
