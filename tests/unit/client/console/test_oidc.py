"""Log-in at a real OpenID provider over TLS, console and browser included; and every way to cheat that we know of."""

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey

from client.sections import OidcRoles, OidcSettings
from client.staff.roles import Role
from identity.provider import CALLBACK
from tests.fakes.node_home import Home
from tests.fakes.oidc_provider import Claims, Provider, bare
from tests.unit.client.console.conftest import BASE, Staff

SECRET = "shared between console and provider"
GROUPS = OidcRoles(viewer=("ct-readers",), radiologist=("radiology", "chest"), administrator=("it",))


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(
        tmp_path_factory.mktemp("provider"),
        client_id="acinus console",
        client_secret=SECRET,
        redirect_uri=BASE + CALLBACK,
    )
    yield provider
    provider.stop()


@pytest.fixture(autouse=True)
def honest(provider: Provider) -> None:
    """The provider is honest and its person in one group that has a role."""
    provider.sign, provider.says_issuer = provider.signed, None
    provider.person = {"sub": "4711", "preferred_username": "dr.example", "groups": ["ct-readers", "canteen"]}


@pytest.fixture
def staff(provider: Provider, tmp_path: Path) -> Iterator[Staff]:
    """A console that knows the provider."""
    with Staff(home_of(provider, tmp_path)) as staff:
        provider.clock = staff.time
        yield staff


def home_of(provider: Provider, folder: Path, **change: Any) -> Home:
    home = Home(folder / "home")
    (home.settings.home / "oidc.secret").write_text(SECRET + "\n")
    oidc = {
        "issuer": provider.issuer, "client_id": "acinus console", "client_secret_file": "oidc.secret",
        "ca_file": str(provider.ca), "roles": GROUPS,
    }  # fmt: skip
    home.settings = home.settings.model_copy(update={"oidc": OidcSettings.model_validate(oidc | change)})
    return home


def to_provider(provider: Provider, staff: Staff) -> str:
    """Let the browser go to the provider and log in there; return the way back."""
    answer = staff.get("/login/oidc")
    assert answer.status_code == 303
    with httpx.Client(verify=provider.trust(), trust_env=False) as browser:
        back = browser.get(answer.headers["Location"])
    assert back.status_code == 302, back.text
    location = back.headers["Location"]
    assert location.startswith(BASE + CALLBACK)
    return location.removeprefix(BASE)


def log_in(provider: Provider, staff: Staff) -> httpx.Response:
    return staff.get(to_provider(provider, staff))


def is_refused(answer: httpx.Response, staff: Staff) -> bool:
    """401, no session, nobody's account."""
    return answer.status_code == 401 and staff.get("/").status_code == 303 and staff.accounts.all() == []


# The way it should be.


def test_a_person_comes_in_with_the_roles_of_their_groups(provider: Provider, staff: Staff) -> None:
    answer = log_in(provider, staff)
    assert answer.status_code == 200
    assert 'http-equiv="refresh"' in answer.text, "no redirect: the strict cookie would not travel on it"
    (account,) = staff.accounts.all()
    assert (account.name, account.roles, account.local) == ("dr.example", frozenset({Role.VIEWER}), False)
    assert staff.get("/studies").status_code == 200
    assert staff.get("/network").status_code == 403
    rows = [(row.event, row.subject) for row in staff.audit.rows()]
    assert rows == [("staff.entered", account.account_id)]


def test_cookies_of_the_way_there_and_of_the_session(provider: Provider, staff: Staff) -> None:
    there = staff.get("/login/oidc").headers["Set-Cookie"]
    assert there.startswith("__Host-acinus-oidc-9444=")
    for word in ("Secure", "HttpOnly", "SameSite=lax", "Path=/", "Max-Age=600"):
        assert word in there
    session = log_in(provider, staff).headers.get_list("Set-Cookie")
    assert any(one.startswith("__Host-acinus-console-9444=") and "SameSite=strict" in one for one in session)
    assert any(one.startswith('__Host-acinus-oidc-9444=""') for one in session), "it is used up"


def test_what_the_console_asks_for(provider: Provider, staff: Staff) -> None:
    asked = parse_qs(urlsplit(staff.get("/login/oidc").headers["Location"]).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert len(asked["state"][0]) == len(asked["nonce"][0]) == len(asked["code_challenge"][0]) == 43
    assert asked["redirect_uri"] == [BASE + CALLBACK]
    again = parse_qs(urlsplit(staff.get("/login/oidc").headers["Location"]).query)
    assert all(again[name] != asked[name] for name in ("state", "nonce", "code_challenge"))


def test_the_same_person_is_the_same_account_with_todays_roles(provider: Provider, staff: Staff) -> None:
    log_in(provider, staff)
    other = staff.another()
    provider.person |= {"groups": ["chest", "it"], "preferred_username": "dr.renamed"}
    assert log_in(provider, other).status_code == 200
    (account,) = staff.accounts.all()
    assert account.roles == {Role.RADIOLOGIST, Role.ADMINISTRATOR}
    assert account.name == "dr.renamed"
    assert staff.get("/").status_code == 303, "a session with the old roles has ended"
    assert other.get("/policy").status_code == 200


def test_the_page_of_the_log_in_offers_it(staff: Staff) -> None:
    assert 'href="/login/oidc"' in staff.get("/login").text


def test_new_keys_of_the_provider_are_found(provider: Provider, staff: Staff) -> None:
    log_in(provider, staff)
    old, provider.key = provider.key, RSAKey.generate_key(2048, parameters={"kid": "next"})
    try:
        provider.sign = lambda claims: provider.signed(claims, kid="next")
        oidc = staff.ward.oidc
        assert oidc is not None
        oidc._provider._keys_at -= 60  # half a minute must pass between two fetches
        assert log_in(provider, staff.another()).status_code == 200
    finally:
        provider.key = old


# Who may not come in.


@pytest.mark.parametrize("groups", [[], ["canteen"], None, {"it": True}, [["it"]], 7], ids=str)
def test_whoever_has_no_role_is_known_and_not_let_in(provider: Provider, staff: Staff, groups: object) -> None:
    provider.person["groups"] = groups
    answer = log_in(provider, staff)
    assert answer.status_code == 403
    assert staff.accounts.all() == []
    assert staff.get("/").status_code == 303


def test_a_closed_account_stays_closed(provider: Provider, staff: Staff) -> None:
    log_in(provider, staff)
    staff.accounts.set_disabled(staff.accounts.all()[0].account_id, disabled=True)
    assert staff.get("/").status_code == 303
    assert log_in(provider, staff).status_code == 401
    assert staff.get("/").status_code == 303


# Hostile tokens, as a real provider gave them out.

OTHER = RSAKey.generate_key(2048, parameters={"kid": "one"})


def with_public_key(provider: Provider, claims: Claims) -> str:
    header = {"alg": "HS256", "kid": "one"}
    unsigned = bare(header, claims).rpartition(".")[0]
    return bare(
        header, claims, hmac.new(provider.key.as_pem(private=False), unsigned.encode(), hashlib.sha256).digest()
    )


TWISTS = {
    "wrong issuer": lambda p, c: p.signed(c | {"iss": "https://evil.example"}),
    "wrong audience": lambda p, c: p.signed(c | {"aud": "another console"}),
    "alg none": lambda _, c: bare({"alg": "none"}, c),
    "HS256 with the public key": with_public_key,
    "expired": lambda p, c: p.signed(c | {"exp": c["iat"] - 3600, "iat": c["iat"] - 7200}),
    "wrong nonce": lambda p, c: p.signed(c | {"nonce": "x" * 43}),
    "no nonce": lambda p, c: p.signed({name: value for name, value in c.items() if name != "nonce"}),
    "another key": lambda p, c: p.signed(c, key=OTHER),
    "no subject": lambda p, c: p.signed({name: value for name, value in c.items() if name != "sub"}),
    "changed after signing": lambda p, c: p.signed(c)[:-8] + "AAAAAAAA",
    "no token": lambda _p, _c: "",
}


@pytest.mark.parametrize("twist", TWISTS)
def test_a_hostile_token_is_refused(provider: Provider, staff: Staff, twist: str) -> None:
    provider.sign = lambda claims: TWISTS[twist](provider, claims)
    assert is_refused(log_in(provider, staff), staff)
    assert [(row.event, row.verdict) for row in staff.audit.rows()] == [("staff.refused", "unauthenticated")]


def test_the_same_token_untwisted_is_taken(provider: Provider, staff: Staff) -> None:
    """So the refusals above are for what was twisted."""
    assert log_in(provider, staff).status_code == 200


# Hostile ways back.


def test_a_state_is_used_once(provider: Provider, staff: Staff) -> None:
    back, jar = to_provider(provider, staff), dict(staff.browser.cookies)
    assert staff.get(back).status_code == 200
    replay = staff.another()
    replay.browser.cookies.update(jar)
    assert replay.get(back).status_code == 401
    assert replay.get("/").status_code == 303


def test_a_way_back_that_another_browser_began_is_refused_and_left_to_it(provider: Provider, staff: Staff) -> None:
    """Log-in by cross-site request: a victim is sent an attacker's way back."""
    back, victim = to_provider(provider, staff), staff.another()
    assert is_refused(victim.get(back), victim)
    victim.get("/login/oidc")
    assert is_refused(victim.get(back), victim), "nor with a cookie of a log-in of its own"
    assert staff.get(back).status_code == 200


def test_a_code_of_another_log_in_is_refused_by_its_proof(provider: Provider, staff: Staff) -> None:
    """A stolen code in the thief's own log-in: the provider holds it against the challenge (PKCE)."""
    thief = staff.another()
    stolen = parse_qs(urlsplit(to_provider(provider, staff)).query)["code"][0]
    own = parse_qs(urlsplit(to_provider(provider, thief)).query)
    answer = thief.get(f"{CALLBACK}?code={stolen}&state={own['state'][0]}")
    assert is_refused(answer, thief)
    assert provider.token_requests[-1]["code"] == stolen, "the provider was asked and said no"


def test_a_token_of_another_log_in_is_refused_by_its_nonce(provider: Provider, staff: Staff) -> None:
    """Should the provider mix two log-ins up, the nonce notices."""
    kept: list[str] = []
    provider.sign = lambda claims: kept.append(provider.signed(claims)) or kept[0]
    first = staff.another()
    assert log_in(provider, first).status_code == 200
    assert log_in(provider, staff).status_code == 401
    assert staff.get("/").status_code == 303


def test_an_answer_of_another_issuer_is_refused(provider: Provider, staff: Staff) -> None:
    own = parse_qs(urlsplit(to_provider(provider, staff)).query)
    answer = staff.get(f"{CALLBACK}?code={own['code'][0]}&state={own['state'][0]}&iss=https://evil.example")
    assert is_refused(answer, staff)


def test_a_way_back_that_took_too_long_is_refused(provider: Provider, staff: Staff) -> None:
    back = to_provider(provider, staff)
    staff.wait(minutes=10)
    assert is_refused(staff.get(back), staff)


@pytest.mark.parametrize("query", ["", "?code=x", "?state=x", "?error=access_denied", "?code=x&state=x&state=y"])
def test_a_way_back_that_lacks_something_is_refused(staff: Staff, query: str) -> None:
    assert is_refused(staff.get(CALLBACK + query), staff)


def test_the_providers_own_no_is_said(provider: Provider, staff: Staff) -> None:
    own = parse_qs(urlsplit(to_provider(provider, staff)).query)
    answer = staff.get(f"{CALLBACK}?error=access_denied&state={own['state'][0]}")
    assert is_refused(answer, staff)
    assert "did not let you in" in answer.text


# A provider that is not the one.


def test_a_provider_under_another_authority_is_not_believed(provider: Provider, tmp_path: Path) -> None:
    with Staff(home_of(provider, tmp_path, ca_file="")) as staff:
        answer = staff.get("/login/oidc")
    assert answer.status_code == 503
    assert "peer-unreachable" in answer.text


def test_a_provider_that_calls_itself_another_is_not_believed(provider: Provider, staff: Staff) -> None:
    provider.says_issuer = "https://evil.example"
    assert staff.get("/login/oidc").status_code == 503


def test_a_provider_that_is_away_is_said(provider: Provider, tmp_path: Path) -> None:
    with Staff(home_of(provider, tmp_path, issuer="https://localhost:1/realm")) as staff:
        assert staff.get("/login/oidc").status_code == 503
        assert staff.log_in().status_code == 303, "the other doors stay open"


def test_a_wrong_secret_lets_nobody_in(provider: Provider, tmp_path: Path) -> None:
    home = home_of(provider, tmp_path)
    (home.settings.home / "oidc.secret").write_text("another")
    with Staff(home) as staff:
        provider.sign, provider.clock = provider.signed, staff.time
        assert is_refused(log_in(provider, staff), staff)


def test_without_a_provider_there_is_no_such_door(tmp_path: Path) -> None:
    with Staff(Home(tmp_path / "home")) as staff:
        assert staff.get("/login/oidc").status_code == 404
        assert staff.get(CALLBACK).status_code == 404
        assert "/login/oidc" not in staff.get("/login").text
