"""The staff page: who gets in, what it shows, what a form may do; of a patient nothing."""

import re
from datetime import timedelta

import pytest

from client.gate.inbox import DONE
from client.gate.outbox import envelope_id
from client.rooms.border import open_gate, open_inbox
from protocol.codes import MEANINGS, Code
from tests.fakes.gateway import REQUEST
from tests.unit.client.console.conftest import BASE, TOKEN, Staff

PAGES = ["/", "/studies", "/quarantine", "/labels", "/ledger", "/reads", "/policy", "/staff", "/network"]
THUMBPRINT = "A" * 43
CANARIES = ("CANARY", "PAT-1", "19600102", "1960", "ACC-77", "066Y", "20260112", "2.25.")
"""What `CtSeries` plants in headers: name, number, birth date, accession, age, study date, the root of its UIDs."""


def fill(staff: Staff) -> dict[str, str]:
    """Let the node have lived: studies in every state, quarantine, a charge, a read, an approved reader."""
    keys = {state: staff.receive(state) for state in ("received", "measured", "refused")}
    staff.receive("odd", Modality="MR")
    staff.measure(keys["measured"])
    staff.refuse(keys["refused"])
    staff.spend()
    staff.post_read(keys["measured"])
    staff.post("/readers", csrf=staff.csrf(), thumbprint=THUMBPRINT, name="Dr <b>Example</b>")
    return keys


# Who gets in.


@pytest.mark.parametrize("path", [*PAGES, "/studies/" + "0" * 32, "/studies/" + "0" * 32 + "/picture.png"])
def test_a_stranger_is_shown_the_way_in(stranger: Staff, path: str) -> None:
    answer = stranger.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")


@pytest.mark.parametrize("path", ["/readers", "/readers/revoke", "/logout"])
def test_a_strangers_form_does_nothing(stranger: Staff, path: str) -> None:
    answer = stranger.post(path, csrf="guess", thumbprint=THUMBPRINT, name="X")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert stranger.keys.all() == []


def test_without_a_session_only_health_and_login_answer(stranger: Staff) -> None:
    assert stranger.get("/health").json() == {"ok": True}
    assert stranger.get("/login").status_code == 200
    for hidden in ("/docs", "/redoc", "/openapi.json"):
        assert stranger.get(hidden).status_code == 404


def test_the_token_opens_the_door_with_a_cookie_no_script_and_no_other_site_can_use(stranger: Staff) -> None:
    answer = stranger.log_in()
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-acinus-console-9444=")
    for word in ("Path=/", "Secure", "HttpOnly", "SameSite=strict"):
        assert word in cookie
    assert "Domain" not in cookie
    assert TOKEN not in cookie
    assert stranger.get("/").status_code == 200


def test_a_wrong_token_is_401_and_the_sixth_try_429(stranger: Staff) -> None:
    for _ in range(5):
        answer = stranger.log_in("wrong")
        assert answer.status_code == 401
        assert "unauthenticated" in answer.text
        assert "Set-Cookie" not in answer.headers
    assert stranger.log_in().status_code == 429
    stranger.wait(minutes=16)
    assert stranger.log_in().status_code == 303


def test_sessions_end_after_eight_hours_however_busy(staff: Staff) -> None:
    for _ in range(19):
        staff.wait(minutes=25)
        assert staff.get("/").status_code == 200
    staff.wait(minutes=5)
    assert staff.get("/").status_code == 303


def test_sessions_end_when_nobody_clicks_though_the_page_renews_itself(staff: Staff) -> None:
    staff.wait(minutes=29)
    assert staff.get("/?renewed=1").status_code == 200
    staff.wait(minutes=1)
    assert staff.get("/?renewed=1").status_code == 303


def test_logging_out_ends_the_session_for_good(staff: Staff) -> None:
    jar = dict(staff.browser.cookies)
    assert staff.post("/logout", csrf=staff.csrf()).headers["Location"] == "/login"
    staff.browser.cookies.update(jar)
    assert staff.get("/").status_code == 303


# Forms come from our own pages only.


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:9444"}, {"Origin": "https://localhost:9443"},
]  # fmt: skip
OWN: list[dict[str, str]] = [
    {}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": BASE}, {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
]  # fmt: skip


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_sites_form_is_refused_though_it_has_the_word(staff: Staff, headers: dict[str, str]) -> None:
    answer = staff.post("/readers", headers=headers, csrf=staff.csrf(), thumbprint=THUMBPRINT, name="X")
    assert answer.status_code == 403
    assert "forbidden" in answer.text
    assert staff.keys.all() == []


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_site_cannot_log_its_victim_in(stranger: Staff, headers: dict[str, str]) -> None:
    answer = stranger.log_in(**headers)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("headers", OWN)
def test_our_own_form_is_taken(staff: Staff, headers: dict[str, str]) -> None:
    answer = staff.post("/readers", headers=headers, csrf=staff.csrf(), thumbprint=THUMBPRINT, name="Dr X")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/reads")
    assert [key.jkt for key in staff.keys.all()] == [THUMBPRINT]


@pytest.mark.parametrize("word", ["", "guess", "ü" * 32])
def test_a_form_without_the_sessions_word_is_refused(staff: Staff, word: str) -> None:
    assert staff.post("/readers", csrf=word, thumbprint=THUMBPRINT, name="X").status_code in {403, 422}
    assert staff.post("/logout", csrf=word).status_code in {403, 422}
    assert staff.keys.all() == []
    assert staff.get("/").status_code == 200


def test_the_word_of_another_session_is_refused(staff: Staff) -> None:
    before = staff.csrf()
    staff.log_in()
    assert staff.post("/readers", csrf=before, thumbprint=THUMBPRINT, name="X").status_code == 403


# What it shows.


def test_approving_and_revoking_a_reader_is_seen_and_audited(staff: Staff) -> None:
    staff.post("/readers", csrf=staff.csrf(), thumbprint=f" {THUMBPRINT} ", name="Dr Example")
    assert "Dr Example" in staff.get("/reads").text
    staff.post("/readers/revoke", csrf=staff.csrf(), thumbprint=THUMBPRINT)
    assert "Dr Example" not in staff.get("/reads").text
    rows = [(row.event, row.subject, row.verdict) for row in staff.audit.rows()]
    assert rows == [
        ("staff.entered", "setup", "clear"), ("reader.approved", "setup", "clear"), ("reader.revoked", "setup", "clear"),
    ]  # fmt: skip
    assert staff.audit.verify().number == 3


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"thumbprint": "short", "name": "X"}, 422),
        ({"thumbprint": THUMBPRINT, "name": " "}, 422),
        ({"thumbprint": THUMBPRINT}, 422),
        ({"thumbprint": THUMBPRINT, "name": "x" * 201}, 422),
    ],
)
def test_a_bad_form_changes_nothing(staff: Staff, fields: dict[str, str], status: int) -> None:
    assert staff.post("/readers", csrf=staff.csrf(), **fields).status_code == status
    assert staff.keys.all() == []
    assert [row.event for row in staff.audit.rows()] == ["staff.entered"]


def test_revoking_whom_nobody_approved_is_not_found(staff: Staff) -> None:
    assert staff.post("/readers/revoke", csrf=staff.csrf(), thumbprint=THUMBPRINT).status_code == 404


def test_an_empty_node_says_so(staff: Staff) -> None:
    assert all(staff.get(path).status_code == 200 for path in PAGES)
    assert "No study yet" in staff.get("/studies").text
    assert "Nothing is in quarantine" in staff.get("/quarantine").text
    assert "Nothing has been spent" in staff.get("/ledger").text
    assert "not enrolled" in staff.get("/").text


def test_each_study_is_shown_with_what_became_of_it(staff: Staff) -> None:
    keys = fill(staff)
    listed = staff.get("/studies").text
    assert all(f"/studies/{key}" in listed for key in keys.values())
    assert "1 measured, 1 waiting, 1 refused" in listed
    measured = staff.get(f"/studies/{keys['measured']}").text
    for said in ("12.3 % of lung", "9 of 24, moderate", "thick-slices", "ggo@0", "Measurement aid, not a diagnosis"):
        assert said in measured
    assert "localizer" in staff.get(f"/studies/{keys['refused']}").text
    assert "waits to be measured" in staff.get(f"/studies/{keys['received']}").text
    assert "12.3" in staff.get("/").text, "the mean of the measured studies"


def test_the_picture_is_there_only_for_what_is_measured(staff: Staff) -> None:
    keys = fill(staff)
    answer = staff.get(f"/studies/{keys['measured']}/picture.png")
    assert (answer.status_code, answer.headers["Content-Type"], answer.content) == (
        200,
        "image/png",
        b"\x89PNG picture",
    )
    assert staff.get(f"/studies/{keys['received']}/picture.png").status_code == 404


@pytest.mark.parametrize("key", ["0" * 32, "not-a-key", "..%2f..%2fkeys", "%00"])
def test_no_other_name_is_a_study(staff: Staff, key: str) -> None:
    for path in (f"/studies/{key}", f"/studies/{key}/picture.png"):
        assert staff.get(path).status_code in {404, 422}


def test_quarantine_ledger_and_reads_are_shown(staff: Staff) -> None:
    fill(staff)
    assert "not-ct" in staff.get("/quarantine").text
    ledger = staff.get("/ledger").text
    assert "2.24" in ledger, "epsilon of the one charge"
    assert "5.76" in ledger, "what is left of 8"
    assert REQUEST[:10] in staff.get("/reads").text
    assert "reader.approved" in staff.get("/network").text


def test_what_the_centre_refused_is_said_with_what_it_means(staff: Staff) -> None:
    outbox = open_gate(staff.home.settings).outbox
    for body, code in ((b"1", Code.CASE_CORADS_PCR.value), (b"2", "of-a-newer-centre")):
        outbox.put("case-record", body)
        assert outbox.settle(envelope_id(body), accepted=False, code=code)
    text = staff.get("/network").text
    assert MEANINGS[Code.CASE_CORADS_PCR][1] in text
    assert "<code>of-a-newer-centre</code></li>" in text


def test_a_word_of_the_centre_that_cannot_be_taken_is_said_and_is_gone_once_it_is(staff: Staff) -> None:
    inbox = open_inbox(staff.home.settings)
    inbox.store("1" * 32, "report-signed", b"{}")
    assert "cannot be taken yet" not in staff.get("/").text, "it has only come"
    inbox.postpone("1" * 32, timedelta(seconds=1), code=Code.NODE_FAULT)
    assert "A word of the centre, such as a signature, cannot be taken yet" in staff.get("/").text
    said = staff.get("/network").text
    assert re.search(r"report-signed of 20\d\d-\d\d-\d\dT[\d:]{8}Z, 1 try, the last one <code>node-fault</code>", said)
    assert MEANINGS[Code.NODE_FAULT][1] in said
    inbox.settle("1" * 32, DONE)
    assert "cannot be taken yet" not in staff.get("/").text + staff.get("/network").text


def test_a_ledger_that_was_tampered_with_is_said(staff: Staff) -> None:
    staff.spend()
    staff.book.connection.executescript("DROP TRIGGER spend_is_fixed; UPDATE spend SET steps = 1;")
    assert "does not verify" in staff.get("/ledger").text


# What it never shows.


def test_no_page_holds_anything_of_a_patient(staff: Staff) -> None:
    keys = fill(staff)
    paths = [*PAGES, *(f"/studies/{key}" for key in keys.values()), "/nothing", "/studies/none"]
    shown = " ".join(staff.get(path).text for path in paths)
    assert len(shown) > 10_000
    assert [canary for canary in CANARIES if canary in shown] == []


def test_what_people_type_is_escaped(staff: Staff) -> None:
    fill(staff)
    shown = staff.get("/reads").text
    assert "Dr &lt;b&gt;Example&lt;/b&gt;" in shown
    assert "Northport &amp; Sons" in shown
    assert "<b>" not in shown


@pytest.mark.parametrize("path", [*PAGES, "/login", "/health", "/static/console.css", "/nothing", "/studies/none"])
def test_every_answer_carries_the_headers(staff: Staff, path: str) -> None:
    headers = staff.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert "script-src" not in policy
    assert policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_pages_keep_to_what_their_headers_allow(staff: Staff) -> None:
    keys = fill(staff)
    for path in [*PAGES, f"/studies/{keys['measured']}", "/nothing"]:
        text = staff.get(path).text
        for forbidden in ("<script", "<style", " style=", "http://", "https://", "javascript:"):
            assert forbidden not in text, (path, forbidden)
        assert not re.search(r"\son\w+=", text), path


def test_a_fault_shows_a_code_and_none_of_its_text(staff: Staff) -> None:
    staff.receive("good")
    staff.store._connection.execute("DROP TABLE finding")  # no statement of ours expects that
    answer = staff.get("/studies")
    assert answer.status_code == 500
    assert "node-fault" in answer.text
    assert "no such table" not in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_a_form_that_is_too_long_is_not_read(staff: Staff) -> None:
    answer = staff.post("/readers", csrf=staff.csrf(), thumbprint=THUMBPRINT, name="x" * 300_000)
    assert answer.status_code == 413
    assert staff.keys.all() == []
