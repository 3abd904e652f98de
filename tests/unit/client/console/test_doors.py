"""Logging in with an account, choosing a password, and what an administrator may do to others' accounts."""

import re

import pytest

from client.staff.accounts import BY_COMMAND
from client.staff.roles import Role
from tests.unit.client.console.conftest import FIRST, PASSWORD, Staff

ADMINISTRATOR, VIEWER = Role.ADMINISTRATOR, Role.VIEWER


def rows(staff: Staff) -> list[tuple[str, str, str]]:
    return [(row.event, row.subject, row.verdict) for row in staff.audit.rows()]


def test_name_and_password_open_the_door(stranger: Staff) -> None:
    maria = stranger.hire("maria", VIEWER)
    assert stranger.enter("maria").headers["Location"] == "/"
    assert "maria" in stranger.get("/").text
    assert rows(stranger) == [("staff.entered", maria, "clear")]


@pytest.mark.parametrize(("name", "password"), [("maria", "wrong words here"), ("nobody", PASSWORD), ("", "")])
def test_anything_else_does_not_and_the_answers_are_alike(stranger: Staff, name: str, password: str) -> None:
    stranger.hire("maria", VIEWER)
    answer = stranger.enter(name, password)
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    assert "do not belong to an open account" in answer.text
    assert rows(stranger) == [("staff.refused", "-", "unauthenticated")]


def test_a_password_from_somebody_else_must_be_changed_first(stranger: Staff) -> None:
    stranger.accounts.add("maria", FIRST, frozenset({VIEWER}), by=BY_COMMAND)
    stranger.enter("maria", FIRST)
    for path in ("/", "/studies", "/labels"):
        assert stranger.get(path).headers["Location"] == "/password"
    page = stranger.get("/password").text
    assert "Somebody else gave you your password" in page
    word = re.search(r'name="csrf" value="([^"]+)"', page)
    assert word is not None
    fields = {"csrf": word[1], "present": FIRST, "password": PASSWORD, "again": PASSWORD}
    for change, status in (
        ({"again": "other words here"}, 422),
        ({"present": "wrong"}, 401),
        ({"password": "short", "again": "short"}, 422),
    ):
        assert stranger.post("/password", **(fields | change)).status_code == status
        assert stranger.get("/").headers["Location"] == "/password"
    assert stranger.post("/password", **fields).headers["Location"] == "/"
    assert stranger.get("/studies").status_code == 200
    assert stranger.another().enter("maria", FIRST).status_code == 401


def test_changing_the_password_logs_the_other_browsers_out(stranger: Staff) -> None:
    stranger.hire("maria", VIEWER)
    other = stranger.another()
    stranger.enter("maria")
    other.enter("maria")
    stranger.send("/password", present=PASSWORD, password="quite another one", again="quite another one")
    assert stranger.get("/").status_code == 200
    assert other.get("/").status_code == 303


def test_the_first_account_is_made_with_the_token(staff: Staff) -> None:
    answer = staff.send("/staff", name="maria", password=FIRST, role=["administrator", "viewer"])
    assert answer.headers["Location"] == "/staff"
    maria = staff.accounts.named("maria")
    assert maria.roles == {ADMINISTRATOR, VIEWER}
    assert rows(staff)[-1] == ("staff.added", f"setup:{maria.account_id}", "viewer.administrator")
    assert staff.another().enter("maria", FIRST).headers["Location"] == "/"


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "maria", "password": FIRST}, {"name": "maria", "password": FIRST, "role": ["setup"]},
        {"name": "maria", "password": "short", "role": ["viewer"]}, {"name": "Maria!", "password": FIRST, "role": ["viewer"]},
    ],
)  # fmt: skip
def test_a_bad_account_is_not_made(staff: Staff, fields: dict[str, object]) -> None:
    assert staff.send("/staff", **fields).status_code == 422
    assert staff.accounts.all() == []


def test_closing_an_account_ends_its_sessions_now(stranger: Staff) -> None:
    stranger.hire("admin", ADMINISTRATOR)
    maria, hers = stranger.hire("maria", VIEWER), stranger.another()
    hers.enter("maria")
    stranger.enter("admin")
    stranger.send(f"/staff/{maria}/disable")
    assert hers.get("/").status_code == 303
    assert hers.enter("maria").status_code == 401
    stranger.send(f"/staff/{maria}/enable")
    assert hers.enter("maria").status_code == 303
    assert [event for event, _, _ in rows(stranger)][-4:] == [
        "staff.disabled",
        "staff.refused",
        "staff.enabled",
        "staff.entered",
    ]


def test_roles_and_passwords_of_others_can_be_set(stranger: Staff) -> None:
    admin = stranger.hire("admin", ADMINISTRATOR)
    maria = stranger.hire("maria", VIEWER)
    stranger.enter("admin")
    stranger.send(f"/staff/{maria}/roles", role=["technician"])
    stranger.send(f"/staff/{maria}/password", password="another for one day")
    account = stranger.accounts.get(maria)
    assert account.roles == {Role.TECHNICIAN}
    assert account.must_change
    assert account.granted_by == admin
    assert rows(stranger)[-2:] == [
        ("staff.roles", f"{admin}:{maria}", "technician"),
        ("staff.password", f"{admin}:{maria}", "clear"),
    ]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("roles", {"role": ["radiologist"]}),
        ("password", {"password": "words for myself"}),
        ("disable", {}),
        ("enable", {}),
    ],
)
def test_nobody_changes_their_own_account(stranger: Staff, path: str, fields: dict[str, object]) -> None:
    admin = stranger.hire("admin", ADMINISTRATOR)
    stranger.enter("admin")
    before = stranger.accounts.get(admin)
    assert stranger.send(f"/staff/{admin}/{path}", **fields).status_code == 403
    assert stranger.accounts.get(admin) == before


def test_a_token_that_is_turned_off_opens_nothing(stranger: Staff) -> None:
    stranger.ward.entrance._token = None
    assert stranger.log_in().status_code == 401
    assert 'name="token"' not in stranger.get("/login").text
    assert "acinus-node staff add" in stranger.get("/login").text


def test_no_name_of_staff_is_in_the_audit(stranger: Staff) -> None:
    stranger.hire("maria-canary", VIEWER)
    stranger.enter("maria-canary")
    stranger.enter("maria-canary", "wrong words here")
    stranger.send("/logout")
    kept = " ".join(str(row) for row in stranger.audit.rows())
    assert "staff.left" in kept
    assert "canary" not in kept
