"""Two people change the policy: what the file is at each step, who may confirm, what a crash and an edit by hand do."""

import hashlib
import threading
from pathlib import Path

import pytest

from client import staffroom
from client.gate.policy_file import load_policy
from client.staff.accounts import BY_COMMAND
from client.staff.roles import Role
from client.store import files
from protocol.codes import Code
from protocol.errors import UnavailableError
from tests.fakes.outcomes import code_of
from tests.unit.client.console.conftest import Staff

ADMINISTRATOR, RADIOLOGIST = Role.ADMINISTRATOR, Role.RADIOLOGIST
LOOSER = "[training]\nallowed = true\nepsilon_total = 12.0\nepsilon_per_run = 4.0\n"
TIGHTER = "[training]\nallowed = false\nepsilon_total = 8.0\nepsilon_per_run = 4.0\n"


class Pair:
    """Two administrators at two browsers."""

    def __init__(self, stranger: Staff) -> None:
        self.first, self.second = stranger, stranger.another()
        self.ids = [stranger.hire("anna", ADMINISTRATOR), stranger.hire("berta", ADMINISTRATOR)]
        self.first.enter("anna")
        self.second.enter("berta")
        self.path: Path = stranger.home.settings.policy
        self.before = self.path.read_text()
        self.proposals = stranger.ward.proposals

    def propose(self, text: str = LOOSER) -> str:
        base = hashlib.sha256(self.path.read_bytes()).hexdigest()
        answer = self.first.send("/policy", text=text, base=base)
        assert (answer.status_code, answer.headers.get("Location")) == (303, "/policy"), answer.text
        waiting = self.proposals.waiting()
        assert waiting is not None
        return waiting.proposal_id

    def confirm(self, proposal_id: str, by: Staff | None = None):  # type: ignore[no-untyped-def]
        return (by or self.second).send(f"/policy/{proposal_id}/confirm", sure="true")

    def events(self) -> list[tuple[str, str]]:
        return [(row.event, row.verdict) for row in self.first.audit.rows() if row.event.startswith("policy")]


@pytest.fixture
def pair(stranger: Staff) -> Pair:
    return Pair(stranger)


# The way it should be.


def test_nothing_changes_until_a_second_person_confirms(pair: Pair) -> None:
    proposal = pair.propose()
    assert pair.path.read_text() == pair.before
    shown = pair.second.get("/policy").text
    assert "Proposed by <strong>anna</strong>" in shown
    assert "looser" in shown
    assert "training may cost patients more privacy altogether" in shown.lower()
    assert "8.0 → 12.0" in shown
    assert pair.confirm(proposal).headers["Location"] == "/policy"
    assert pair.path.read_text() == LOOSER
    assert load_policy(pair.path).training.epsilon_total == 12.0
    assert "proposed by anna, confirmed by berta" in pair.first.get("/policy").text


def test_who_did_what_is_in_the_audit_by_id(pair: Pair) -> None:
    pair.confirm(pair.propose())
    sha256 = hashlib.sha256(LOOSER.encode()).hexdigest()
    rows = [(row.event, row.subject, row.verdict) for row in pair.first.audit.rows() if row.event.startswith("policy")]
    assert rows == [
        ("policy.proposed", f"{pair.ids[0]}:{sha256}", "waits"),
        ("policy.confirmed", f"{pair.ids[1]}:{sha256}", "clear"),
        ("policy.applied", f"-:{sha256}", "clear"),
    ]
    assert pair.first.audit.verify().number > 3


def test_a_radiologist_may_be_the_second_person(pair: Pair) -> None:
    proposal = pair.propose(TIGHTER)
    pair.first.hire("rita", RADIOLOGIST)
    rita = pair.first.another()
    rita.enter("rita")
    assert pair.confirm(proposal, rita).status_code == 303
    assert pair.path.read_text() == TIGHTER


def test_a_browsers_line_ends_become_the_files(pair: Pair) -> None:
    pair.confirm(pair.propose(LOOSER.replace("\n", "\r\n") + "\r\n\r\n"))
    assert pair.path.read_bytes() == LOOSER.encode()


def test_the_first_text_is_no_change_from_outside(pair: Pair) -> None:
    shown = pair.first.get("/policy").text
    assert "first seen by the console" in shown
    assert "outside the console; noticed" not in shown


# Who may not confirm.


def test_nobody_confirms_their_own(pair: Pair) -> None:
    proposal = pair.propose()
    answer = pair.confirm(proposal, pair.first)
    assert answer.status_code == 403
    assert "two people" in answer.text
    assert pair.path.read_text() == pair.before
    assert "You cannot confirm this one" in pair.first.get("/policy").text


def test_an_account_that_the_proposer_made_is_no_second_person(pair: Pair) -> None:
    puppet = pair.first.hire("puppet", ADMINISTRATOR, by=pair.ids[0])
    browser = pair.first.another()
    browser.enter("puppet")
    proposal = pair.propose()
    assert pair.confirm(proposal, browser).status_code == 403
    pair.second.accounts.set_roles(puppet, frozenset({ADMINISTRATOR}), by=pair.ids[1])
    browser.enter("puppet")
    assert pair.confirm(proposal, browser).status_code == 403, "the proposer still knows its password"
    pair.second.accounts.set_password(puppet, "of the second one only", by=pair.ids[1])
    pair.second.accounts.set_password(puppet, "of nobody but the holder", by=None)
    browser.enter("puppet", "of nobody but the holder")
    assert pair.confirm(proposal, browser).status_code == 303, "somebody else has vouched for it"


def test_nor_is_one_whose_password_the_proposer_has_set(pair: Pair) -> None:
    pair.first.accounts.set_password(pair.ids[1], "taken over by anna", by=pair.ids[0])
    pair.first.accounts.set_password(pair.ids[1], "lantern bread cold ocean", by=None)
    pair.second.enter("berta", "lantern bread cold ocean")
    assert pair.confirm(pair.propose()).status_code == 403


def test_nor_whoever_made_the_proposers_account(pair: Pair) -> None:
    pair.first.hire("puppet", ADMINISTRATOR, by=pair.ids[1])
    browser = pair.first.another()
    browser.enter("puppet")
    base = hashlib.sha256(pair.path.read_bytes()).hexdigest()
    browser.send("/policy", text=LOOSER, base=base)
    waiting = pair.proposals.waiting()
    assert waiting is not None
    assert pair.confirm(waiting.proposal_id).status_code == 403
    assert pair.confirm(waiting.proposal_id, pair.first).status_code == 303


def test_the_box_must_be_ticked(pair: Pair) -> None:
    proposal = pair.propose()
    assert pair.second.send(f"/policy/{proposal}/confirm").status_code == 422
    assert pair.path.read_text() == pair.before


# What is not taken.


@pytest.mark.parametrize(
    "text",
    [
        "", "[training", "[training]\nepsilon_totl = 3\n", "[training]\nepsilon_total = -1\n", "[train]\n", "x" * 70_000,
        "[training]\nhours = '25:00-26:00'\n",
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_a_text_that_policy_check_refuses_is_not_proposed(pair: Pair, text: str) -> None:
    base = hashlib.sha256(pair.path.read_bytes()).hexdigest()
    assert pair.first.send("/policy", text=text, base=base).status_code == 422
    assert pair.proposals.waiting() is None
    assert pair.events() == []


def test_the_present_text_is_no_change(pair: Pair) -> None:
    base = hashlib.sha256(pair.path.read_bytes()).hexdigest()
    assert pair.first.send("/policy", text=pair.before, base=base).status_code == 422


def test_one_change_waits_at_a_time(pair: Pair) -> None:
    pair.propose()
    base = hashlib.sha256(pair.path.read_bytes()).hexdigest()
    assert pair.second.send("/policy", text=TIGHTER, base=base).status_code == 409


# Turned down, lapsed, overtaken.


@pytest.mark.parametrize("by", ["first", "second"])
def test_a_rejected_change_is_gone(pair: Pair, by: str) -> None:
    proposal = pair.propose()
    getattr(pair, by).send(f"/policy/{proposal}/reject")
    assert pair.confirm(proposal).status_code == 409
    assert pair.path.read_text() == pair.before
    assert pair.events()[-1] == ("policy.rejected", "clear")
    pair.propose(TIGHTER)


def test_a_change_lapses(pair: Pair) -> None:
    proposal = pair.propose()
    pair.first.wait(hours=72)
    for name, browser in (("anna", pair.first), ("berta", pair.second)):
        browser.enter(name)
    assert pair.confirm(proposal).status_code == 409
    assert pair.path.read_text() == pair.before
    assert pair.events()[-1] == ("policy.lapsed", "expired")
    assert "expired" in pair.first.get("/policy").text


def test_an_edit_by_hand_overtakes_a_change_and_is_said(pair: Pair) -> None:
    proposal = pair.propose()
    edited = pair.before + "# by hand\n"
    pair.path.write_text(edited)
    answer = pair.confirm(proposal)
    assert answer.status_code == 409
    assert "stale-fence" in answer.text
    assert pair.path.read_text() == edited
    assert "Changed outside the console" in pair.first.get("/policy").text
    assert "changed outside the console" in pair.first.get("/").text
    assert [event for event, _ in pair.events()] == ["policy.proposed", "policy.edited", "policy.lapsed"]


def test_an_edit_is_noticed_once_and_named_until_the_console_writes_again(pair: Pair) -> None:
    pair.first.get("/policy")
    pair.path.write_text(pair.before + "# by hand\n")
    for _ in range(3):
        assert "Changed outside the console" in pair.first.get("/policy").text
    assert pair.events() == [("policy.edited", "outside-the-console")]
    pair.confirm(pair.propose())
    assert "outside the console; noticed" not in pair.first.get("/policy").text


def test_a_change_to_a_text_that_its_author_has_not_seen_is_refused(pair: Pair) -> None:
    base = hashlib.sha256(pair.path.read_bytes()).hexdigest()
    pair.path.write_text(pair.before + "# by hand\n")
    assert pair.first.send("/policy", text=LOOSER, base=base).status_code == 409


def test_a_policy_that_somebody_broke_by_hand_can_be_mended_here(pair: Pair) -> None:
    pair.path.write_text("[training\n")
    shown = pair.first.get("/policy").text
    assert "is not TOML" in shown
    assert pair.first.get("/policy/edit").status_code == 200
    pair.confirm(pair.propose(TIGHTER))
    assert pair.path.read_text() == TIGHTER


# Crashes and races.


def test_what_was_agreed_takes_effect_although_the_node_died_before_writing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = pair.propose()

    def full(*_: object) -> None:
        raise UnavailableError(Code.DISK_FULL, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("client.console.proposals.write_durably", full)
        assert code_of(lambda: pair.proposals.confirm(proposal, by=pair.ids[1])) is Code.DISK_FULL
    assert pair.path.read_text() == pair.before
    assert pair.proposals.find(proposal).state == "confirmed"
    pair.proposals.look()
    assert pair.path.read_text() == LOOSER
    assert [event for event, _ in pair.events()] == ["policy.proposed", "policy.confirmed", "policy.applied"]


def test_a_node_that_died_after_writing_notes_it_once(pair: Pair) -> None:
    proposal = pair.proposals.find(pair.propose())
    pair.proposals._decide(proposal, "confirmed", pair.ids[1], "policy.confirmed")
    files.write_durably(pair.path, proposal.text.encode())
    for _ in range(2):
        assert pair.proposals.look().proposal is not None
    assert pair.events()[-1] == ("policy.applied", "clear")
    assert len(pair.events()) == 3


def test_an_edit_between_agreement_and_writing_wins(pair: Pair) -> None:
    proposal = pair.proposals.find(pair.propose())
    pair.proposals._decide(proposal, "confirmed", pair.ids[1], "policy.confirmed")
    pair.path.write_text(TIGHTER)
    pair.proposals.look()
    assert pair.path.read_text() == TIGHTER
    assert ("policy.applied", "stale-fence") in pair.events()


def test_of_many_who_confirm_at_once_one_does(pair: Pair) -> None:
    settings = pair.first.home.settings
    thirds = [pair.first.hire(f"third{at}", ADMINISTRATOR, by=BY_COMMAND) for at in range(4)]
    proposal, outcomes = pair.propose(), []

    def confirm(account_id: str) -> None:
        own = staffroom.open_proposals(settings, staffroom.open_accounts(settings), lambda: pair.first.now)
        outcomes.append(code_of(lambda: own.confirm(proposal, by=account_id)))

    threads = [threading.Thread(target=confirm, args=(one,)) for one in thirds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str).count(None) == 1
    assert set(outcomes) <= {None, Code.ILLEGAL_TRANSITION, Code.STALE_FENCE}
    assert [event for event, _ in pair.events()].count("policy.applied") == 1
    assert pair.path.read_text() == LOOSER


def test_the_file_stays_closed_to_others(pair: Pair) -> None:
    pair.confirm(pair.propose())
    assert pair.path.stat().st_mode & 0o777 == 0o600
