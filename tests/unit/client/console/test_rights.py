"""Who may do what: every route against every role, by asking the application, not the table."""

import re

import pytest

from client.console.app import create_app, routes
from client.console.rights import MATRIX, OPEN
from client.staff.roles import GRANTED, Role
from tests.unit.client.console.conftest import TOKEN, Staff

NOBODY = "0" * 32

ALLOWED = {
    "GET /": "viewer technician radiologist administrator setup",
    "POST /logout": "viewer technician radiologist administrator setup",
    "GET /password": "viewer technician radiologist administrator",
    "POST /password": "viewer technician radiologist administrator",
    "GET /studies": "viewer technician radiologist setup",
    "GET /studies/{study_key}": "viewer technician radiologist setup",
    "GET /studies/{study_key}/picture.png": "viewer technician radiologist setup",
    "POST /studies/{study_key}/remeasure": "technician radiologist setup",
    "POST /studies/{study_key}/context": "technician radiologist setup",
    "POST /studies/{study_key}/delete": "radiologist",
    "GET /quarantine": "technician radiologist administrator setup",
    "POST /quarantine/retry": "technician administrator setup",
    "POST /quarantine/discard": "technician administrator setup",
    "GET /labels": "viewer technician radiologist setup",
    "POST /labels/drafts/{sha256}/approve": "radiologist",
    "POST /labels/drafts/{sha256}/discard": "radiologist",
    "POST /labels/{study_key}/hold-out": "radiologist",
    "POST /labels/{study_key}/take-in": "radiologist",
    "POST /labels/{study_key}/withdraw": "radiologist",
    "GET /ledger": "viewer technician radiologist administrator setup",
    "GET /reads": "radiologist setup",
    "GET /reads/{request_id}": "radiologist setup",
    "POST /studies/{study_key}/read": "radiologist setup",
    "POST /reads/{request_id}/answer": "radiologist",
    "POST /reads/{request_id}/note": "radiologist",
    "POST /reads/{request_id}/acknowledge": "radiologist",
    "POST /reads/{request_id}/withdraw": "radiologist setup",
    "POST /reads/{request_id}/repost": "radiologist setup",
    "POST /reads/{request_id}/send": "radiologist setup",
    "POST /privileges": "radiologist setup",
    "POST /privileges/withdraw": "radiologist setup",
    "POST /readers": "radiologist setup",
    "POST /readers/revoke": "radiologist setup",
    "GET /network": "administrator setup",
    "POST /network/send": "administrator setup",
    "POST /network/pull": "administrator setup",
    "GET /policy": "radiologist administrator setup",
    "GET /policy/edit": "administrator",
    "POST /policy": "administrator",
    "POST /policy/{proposal_id}/confirm": "radiologist administrator",
    "POST /policy/{proposal_id}/reject": "radiologist administrator",
    "GET /staff": "administrator setup",
    "POST /staff": "administrator setup",
    "POST /staff/{account_id}/roles": "administrator setup",
    "POST /staff/{account_id}/password": "administrator setup",
    "POST /staff/{account_id}/disable": "administrator setup",
    "POST /staff/{account_id}/enable": "administrator setup",
}
"""Written down a second time, from what a hospital expects, so that a slip in the table shows."""


def address(route: str) -> tuple[str, str]:
    method, path = route.split(" ")
    for name in ("study_key", "proposal_id", "account_id", "request_id"):
        path = path.replace("{" + name + "}", NOBODY)
    path = path.replace("{sha256}", 2 * NOBODY)
    return method, path


def test_every_route_has_one_line_and_every_line_a_route() -> None:
    found = routes()
    assert len(found) == len(set(found)) > 30
    assert set(found) == set(MATRIX) | OPEN
    assert {tuple(route.split(" ")) for route in ALLOWED} == set(MATRIX)


def test_a_route_without_a_line_keeps_the_page_from_starting(stranger: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(MATRIX, ("GET", "/labels"))
    with pytest.raises(LookupError, match="/labels"):
        create_app(stranger.ward)


@pytest.mark.parametrize("role", list(Role))
def test_each_role_is_served_what_is_its_own_and_refused_the_rest(stranger: Staff, role: Role) -> None:
    """A refusal is 403 with its sentence; whatever else comes (a missing field, nothing of that key) was let through."""
    if role is Role.SETUP:
        stranger.log_in(TOKEN)
    else:
        stranger.hire("maria", role)
        stranger.enter("maria")
    csrf = stranger.csrf()
    for route, roles in sorted(ALLOWED.items(), key=lambda pair: pair[0] == "POST /logout"):
        method, path = address(route)
        answer = stranger.get(path) if method == "GET" else stranger.post(path, csrf=csrf)
        refused = answer.status_code == 403 and "Your role does not allow this" in answer.text
        assert refused == (role.value not in roles.split()), (route, role, answer.status_code)


@pytest.mark.parametrize("route", ALLOWED)
def test_a_stranger_is_served_nothing(stranger: Staff, route: str) -> None:
    method, path = address(route)
    answer = stranger.get(path) if method == "GET" else stranger.post(path, csrf="guess")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")


@pytest.mark.parametrize("route", [route for route in ALLOWED if route.startswith("POST")])
def test_no_form_is_taken_without_the_sessions_word(stranger: Staff, route: str) -> None:
    stranger.hire("maria", *GRANTED)
    stranger.enter("maria")
    _, path = address(route)
    for word in ("", "guess"):
        answer = stranger.post(path, csrf=word)
        assert answer.status_code == 403
        assert "not from this page" in answer.text
    assert stranger.get("/").status_code == 200


def test_several_roles_add_up(stranger: Staff) -> None:
    stranger.hire("maria", Role.VIEWER, Role.ADMINISTRATOR)
    stranger.enter("maria")
    assert stranger.get("/studies").status_code == stranger.get("/network").status_code == 200


@pytest.mark.parametrize("role", list(GRANTED))
def test_pages_offer_only_what_they_serve(stranger: Staff, role: Role) -> None:
    """Every link and every form on a page that a role sees leads somewhere for that role."""
    stranger.receive("odd", Modality="MR")
    key = stranger.receive("good")
    stranger.measure(key)
    stranger.hire("maria", role)
    stranger.enter("maria")
    for page in (
        "/",
        "/studies",
        f"/studies/{key}",
        "/quarantine",
        "/labels",
        "/ledger",
        "/reads",
        "/policy",
        "/staff",
    ):
        answer = stranger.get(page)
        if answer.status_code == 403:
            continue
        for link in re.findall(r'href="(/[a-z]*)"', answer.text):
            assert stranger.get(link).status_code == 200, (page, link)
        for target in re.findall(r'action="(/[^"]*)"', answer.text):
            pattern = re.sub(
                r"[0-9a-f]{32}", lambda found: "{study_key}" if found[0] == key else "{account_id}", target
            )
            method = "GET" if pattern == "/studies" else "POST"
            assert role in MATRIX[method, pattern], (page, target)
