"""Log-in at an identity provider: what a group is granted is what its people may do here, no more and no longer."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import ValidationError
from sqlmodel import select

from registry_api.api.access import COOKIE
from registry_api.main import create_app
from registry_api.people import flows
from registry_api.people.service import disable_person
from registry_api.people.tables import LoginFlowRow, PersonRow
from registry_api.runtime import build_runtime
from registry_api.settings import OidcSettings
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.oidc_provider import Provider
from tests.unit.registry_api.conftest import ORIGIN, Clock, Registry

SECRET = "between registry and provider"
CALLBACK = "/login/oidc/callback"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    made = Provider(
        tmp_path_factory.mktemp("provider"), client_id="acinus", client_secret=SECRET, redirect_uri=ORIGIN + CALLBACK
    )
    yield made
    made.stop()


@pytest.fixture
def registry(provider: Provider, home: Path) -> Iterator[Registry]:
    """A registry that knows the provider, whose person is of the ministry's group."""
    provider.person = {"sub": "subject-4711", "name": "Dr Example", "groups": ["moh", "canteen"]}
    clock = Clock()
    provider.clock = clock.now.timestamp
    (home / "oidc.secret").write_text(SECRET)
    with (home / "registry.toml").open("a") as settings:
        settings.write(
            f'\n[oidc]\nissuer = "{provider.issuer}"\nclient_id = "acinus"\nclient_secret_file = "oidc.secret"\nca_file = "{provider.ca}"\n'
            '[[oidc.grants]]\ngroup = "moh"\nrole = "ministry"\nregion = "XA"\n'
            '[[oidc.grants]]\ngroup = "network"\nrole = "coordinator"\n'
        )
    built = Registry(build_runtime(home, clock=clock), clock)
    yield built
    built.close()


@pytest.fixture
def client(registry: Registry) -> Iterator[AsgiClient]:
    with AsgiClient(create_app(registry.runtime), base_url=ORIGIN) as opened:
        yield opened


def log_in(client: AsgiClient, provider: Provider) -> httpx.Response:
    """Go to the provider and come back, as a browser does."""
    away = client.get("/login/oidc").headers["Location"]
    back = urlsplit(httpx.get(away, verify=provider.trust(), trust_env=False).headers["Location"])
    return client.get(f"{back.path}?{back.query}")


def test_a_person_of_a_granted_group_is_let_in_with_what_was_granted(
    registry: Registry, client: AsgiClient, provider: Provider
) -> None:
    assert "/login/oidc" in client.get("/login").text
    answer = log_in(client, provider)
    assert answer.status_code == 200
    assert 'content="0; url=/registry"' in answer.text
    [cookie] = [one for one in answer.headers.get_list("Set-Cookie") if one.startswith(f"{COOKIE}=")]
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=strict"))
    assert "Dr Example" in client.get("/registry").text
    assert client.get("/worklist").status_code == 403
    with registry.runtime.database.reading() as session:
        [row] = session.exec(select(PersonRow)).all()
    assert (row.role, row.region, "subject-4711" in row.model_dump_json()) == ("ministry", "XA", False)


def test_a_log_in_is_ended_once_by_whichever_process_the_browser_comes_back_to(
    registry: Registry, client: AsgiClient, provider: Provider
) -> None:
    other = build_runtime(registry.runtime.settings.home, clock=registry.clock)
    away = client.get("/login/oidc").headers["Location"]
    back = urlsplit(httpx.get(away, verify=provider.trust(), trust_env=False).headers["Location"])
    path = f"{back.path}?{back.query}"
    with AsgiClient(create_app(other), base_url=ORIGIN) as second:
        assert second.get(path).status_code == 401, "another browser"
        for cookie in client.cookies.jar:
            second.cookies.jar.set_cookie(cookie)
        assert second.get(path).status_code == 200
        assert "Dr Example" in second.get("/registry").text
    assert client.get(path).status_code == 401, "used up"
    other.database.close()


def test_so_many_log_ins_are_under_way_and_no_more_and_what_has_ended_is_gone(
    registry: Registry, client: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "OPEN_MOST", 3)

    def open_flows() -> int:
        with registry.runtime.database.reading() as session:
            return len(session.exec(select(LoginFlowRow)).all())

    for begun in range(1, 6):
        registry.clock.pass_(seconds=1)
        client.get("/login/oidc")
        assert open_flows() == min(begun, 3)
    registry.clock.pass_(minutes=11)
    client.get("/login/oidc")
    assert open_flows() == 1


def test_a_person_who_moves_to_another_group_gets_the_other_role_and_stays_one_person(
    registry: Registry, client: AsgiClient, provider: Provider
) -> None:
    log_in(client, provider)
    provider.person = {**provider.person, "groups": "network"}
    assert log_in(client, provider).status_code == 200
    with registry.runtime.database.reading() as session:
        assert [(one.role, one.region) for one in session.exec(select(PersonRow))] == [("coordinator", None)]


def test_a_group_that_is_granted_nothing_is_not_let_in_and_an_open_session_ends(
    client: AsgiClient, provider: Provider
) -> None:
    log_in(client, provider)
    assert client.get("/registry").status_code == 200
    provider.person = {**provider.person, "groups": ["canteen"]}
    assert log_in(client, provider).status_code == 403
    assert client.get("/registry").status_code == 303


def test_whom_the_coordinator_removed_stays_out(registry: Registry, client: AsgiClient, provider: Provider) -> None:
    log_in(client, provider)
    with registry.runtime.database.writing() as session:
        disable_person(session, session.exec(select(PersonRow)).one().id, now=registry.clock())
    assert log_in(client, provider).status_code == 403


def test_an_answer_that_this_browser_did_not_ask_for_is_refused_in_words(
    registry: Registry, client: AsgiClient, provider: Provider
) -> None:
    with AsgiClient(create_app(registry.runtime), base_url=ORIGIN) as other:
        away = other.get("/login/oidc").headers["Location"]
    state = parse_qs(urlsplit(away).query)["state"][0]
    answer = client.get(f"{CALLBACK}?state={state}&code=stolen")
    assert answer.status_code == 401
    assert "was not completed" in answer.text  # and not the log-in without a word
    assert COOKIE not in client.cookies


def test_a_registry_without_a_provider_says_so() -> None:
    assert OidcSettings().issuer == ""


@pytest.mark.parametrize(
    "table",
    [
        {"client_id": ""},
        {"grants": ()},
        {"scopes": ("profile",)},
        {"grants": ({"group": "x", "role": "service"},)},
        {"issuer": "http://plain.example"},
    ],
)
def test_half_a_provider_is_refused(table: dict[str, object]) -> None:
    whole = {"issuer": "https://id.example", "client_id": "a", "grants": ({"group": "x", "role": "auditor"},)}
    assert OidcSettings.model_validate(whole).grants
    with pytest.raises(ValidationError):
        OidcSettings.model_validate({**whole, **table})
