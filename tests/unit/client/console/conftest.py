"""A staff page over a node's own rooms: its store, gate, ledger, book of reads. No network and no measurement."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Self

import httpx
import pytest

from client import staffroom
from client.console.app import create_app
from client.ledger.account import Event
from client.ledger.store import Kind, Limit, Spend
from client.receive.intake import Intake, take_bytes
from client.rooms.reading import open_reads
from client.rooms.training import open_ledger
from client.staff.accounts import BY_COMMAND
from client.staff.passwords import Cost
from client.staff.roles import Role
from client.store.files import write_durably
from client.store.records import Finding
from client.store.results import PICTURE
from protocol.codes import Code
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.gateway import DOCUMENT, a_post
from tests.fakes.node_home import Home

TOKEN = "a-long-random-word"
FIRST, PASSWORD = "something for one day", "lamp kettle orchard seven"
CHEAP = Cost(n=16, r=1, p=1)
"""The cost of a password's hash where a test is not about it."""
BASE = "https://localhost:9444"
SHARE = {"lung_volume_ml": 2100.0, "ggo_fraction": 0.1234, "consolidation_fraction": 0.02, "opacity_fraction": 0.1434}
MEASURED = DOCUMENT | {
    "per_lung": {"right": SHARE, "left": SHARE}, "per_third": {"upper": SHARE, "middle": SHARE, "lower": SHARE},
}  # fmt: skip


class _Csrf(HTMLParser):
    """Finds the hidden field that every form of ours holds."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fields = dict(attrs)
        if tag == "input" and fields.get("name") == "csrf":
            self.found.add(str(fields["value"]))


class Staff:
    """A browser at the console, and the node behind it."""

    def __init__(self, home: Home) -> None:
        settings = home.settings
        self.home = home
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        settings.policy.write_text("[training]\nallowed = true\nepsilon_total = 8.0\nepsilon_per_run = 4.0\n")
        self.store = home.store()
        self.intake = Intake(self.store, home.pseudonyms)
        ward = staffroom.open_ward(settings, token=TOKEN, clock=lambda: self.now, cost=CHEAP)
        self.ward = replace(ward, name="Northport & Sons", store=self.store)
        self.accounts, self.keys, self.audit = self.ward.accounts, self.ward.keys, self.ward.audit
        self.book, _, _, _ = open_reads(settings)
        self.browser = AsgiClient(create_app(self.ward), base_url=BASE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.__exit__()

    def another(self) -> "Staff":
        """Another browser at the same console."""
        other = copy.copy(self)
        other.browser = AsgiClient(create_app(self.ward), base_url=BASE)
        return other

    def hire(self, name: str, *roles: Role, by: str = BY_COMMAND) -> str:
        """Make an account whose holder has chosen a password; return its id."""
        account = self.accounts.add(name, FIRST, frozenset(roles), by=by)
        self.accounts.set_password(account.account_id, PASSWORD, by=None)
        return account.account_id

    def enter(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return self.post("/login", name=name, password=password)

    def get(self, path: str) -> httpx.Response:
        return self.browser.get(path)

    def post(self, path: str, *, headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
        return self.browser.post(path, data=fields, headers=headers or {})

    def send(self, path: str, **fields: object) -> httpx.Response:
        """Send a form of ours."""
        return self.post(path, csrf=self.csrf(), **fields)

    def log_in(self, token: str = TOKEN, **headers: str) -> httpx.Response:
        return self.post("/login", headers=headers, token=token)

    def csrf(self) -> str:
        reader = _Csrf()
        reader.feed(self.get("/").text)
        (word,) = reader.found
        return word

    def receive(self, study: str = "study", **header: object) -> str:
        """Take an instance in as the receiver would; its header is full of names. Returns the study's key."""
        content = as_bytes(plain_series(1, study=study, header=header).dataset(0))
        return str(take_bytes(self.intake, content, self.home.settings.home / "spool").study_key)

    def measure(self, study_key: str) -> None:
        """Write what the worker would have written."""
        study = self.store.begin(study_key)
        assert study is not None
        finding = Finding(
            study_key=study_key, model_release="ggo@0", document=json.dumps(MEASURED), record="{}", version=1, verdict=None,
            measured_at=1_000_000.0,
        )  # fmt: skip
        write_durably(self.store.folder(study_key) / PICTURE, b"\x89PNG picture")
        assert self.store.findings.settle_measured(study, finding, "grid")

    def refuse(self, study_key: str) -> None:
        study = self.store.begin(study_key)
        assert study is not None
        assert self.store.findings.settle_refused(study, Code.LOCALIZER)

    def spend(self) -> None:
        event = Event(noise_multiplier=4.0, sample_rate=0.25, steps=60, clipping_norm=1.0)
        limit = Limit(epsilon_total=8.0, epsilon_per_run=8.0, delta=1e-5)
        spend = Spend(run_id="e" * 32, round=1, kind=Kind.UPDATE, lineage="ggo", event=event)
        open_ledger(self.home.settings).charge(spend, limit=limit)

    def post_read(self, study_key: str) -> None:
        self.book.post(a_post(), study_key=study_key)

    def time(self) -> float:
        return self.now.timestamp()

    def wait(self, **span: float) -> None:
        self.now += timedelta(**span)


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Staff]:
    """Nobody has logged in yet."""
    with Staff(Home(tmp_path / "home")) as staff:
        yield staff


@pytest.fixture
def staff(stranger: Staff) -> Staff:
    """Somebody is logged in."""
    assert stranger.log_in().status_code == 303
    return stranger
