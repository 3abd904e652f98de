"""`acinus-node staff` as a shell calls it, and `label list|hold-out|take-in`; what is written in the audit, and what is not."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.commands.setup import Wishes, make_home
from client.rooms.border import open_gate
from client.rooms.imaging import open_store
from client.settings import load_settings
from client.staff.passwords import fits
from client.staffroom import open_accounts
from client.store.studies import StudyStore
from protocol.plan import LabelUse

PORTS = {"dicom": 11112, "gateway": 9443, "console": 9444, "forward": 9445, "runtime": 9446}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    make_home(home, Wishes(site_name="Test", ae_title="ACINUS", callers=(), ports=PORTS), now=datetime.now(UTC))
    return home


def call(home: Path, *words: str, given: str = "") -> dict[str, object]:
    result = CliRunner().invoke(app, ["--home", str(home), *words, "--json"], input=given)
    answer: dict[str, object] = json.loads(result.stdout)
    return answer | {"exit": result.exit_code}


def events(home: Path) -> list[tuple[str, str, str]]:
    return [(row.event, row.subject, row.verdict) for row in open_gate(load_settings(home)).audit.rows()]


def test_the_life_of_an_account(home: Path) -> None:
    made = call(home, "staff", "add", "maria", "--role", "administrator", "--role", "viewer")
    accounts = open_accounts(load_settings(home))
    found = accounts.credential("maria")
    assert found is not None
    assert fits(str(made["password"]), found[1])
    assert found[0].must_change
    call(home, "staff", "role", "maria", "radiologist")
    call(home, "staff", "password", "maria", "--password-stdin", given="five words that are mine\n")
    call(home, "staff", "disable", "maria")
    (listed,) = call(home, "staff", "list")["accounts"]  # type: ignore[misc]
    assert (listed["name"], listed["roles"], listed["disabled"]) == ("maria", ["radiologist"], True)
    assert call(home, "staff", "enable", str(made["account_id"]))["disabled"] is False
    found = accounts.credential("maria")
    assert found is not None
    assert fits("five words that are mine", found[1])
    who = f"command-line:{made['account_id']}"
    assert events(home) == [
        ("staff.added", who, "viewer.administrator"), ("staff.roles", who, "radiologist"), ("staff.password", who, "clear"),
        ("staff.disabled", who, "clear"), ("staff.enabled", who, "clear"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (("add", "maria", "--role", "owner"), "bad-request", 2), (("add", "Maria!", "--role", "viewer"), "bad-request", 2),
        (("role", "nobody", "viewer"), "not-found", 2), (("disable", "nobody"), "not-found", 2), (("password", "nobody"), "not-found", 2),
        (("add", "taken", "--role", "viewer"), "already-exists", 3),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_done_has_its_code(home: Path, words: tuple[str, ...], code: str, status: int) -> None:
    call(home, "staff", "add", "taken", "--role", "viewer")
    before = events(home)
    answer = call(home, "staff", *words)
    assert (answer["code"], answer["exit"]) == (code, status)
    assert events(home) == before


def test_a_password_from_standard_input_is_not_said_again(home: Path) -> None:
    made = call(
        home, "staff", "add", "maria", "--role", "viewer", "--password-stdin", given="five words that are mine\n"
    )
    assert made["password"] is None
    short = call(home, "staff", "add", "berta", "--role", "viewer", "--password-stdin", given="short\n")
    assert short["code"] == "bad-request"


def labelled(home: Path) -> StudyStore:
    store = open_store(load_settings(home))
    row = ("one", "x", "case", "measured", None, 1, 0, "grid", 1.0, 1.0)
    store._connection.execute("INSERT INTO study VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    store.labels.keep_mask("one", grid="grid", source="radiology", sha256="a" * 64)
    return store


def test_labels_are_listed_held_out_and_taken_in(home: Path) -> None:
    store = labelled(home)
    assert call(home, "label", "hold-out", "one")["held_out"] == 1
    assert store.labels.training_cases(LabelUse.MASKS) == []
    (listed,) = call(home, "label", "list")["labels"]  # type: ignore[misc]
    assert (listed["study_key"], listed["source"], listed["held_out"], listed["trained_on"]) == (
        "one",
        "radiology",
        True,
        False,
    )
    assert call(home, "label", "take-in", "one")["held_out"] == 0
    assert len(store.labels.training_cases(LabelUse.MASKS)) == 1
    call(home, "label", "withdraw", "one")
    assert [event for event, subject, _ in events(home) if subject == "command-line:one"] == [
        "label.held-out", "label.taken-in", "label.withdrawn",
    ]  # fmt: skip
    assert call(home, "label", "hold-out", "none")["code"] == "not-found"
