"""The runner: a bundle is hashed and judged before anything else, and what goes back is an update or a code, never a word more."""

import hashlib
import io
import json
import logging
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from client.gate.policy import Clearance, Refusal, Verdict
from client.runner import runner as runner_module
from client.runner.runner import BUNDLE_JUDGED, Runner
from protocol.codes import Code
from protocol.errors import (
    ConflictError,
    FederationError,
    InvalidInputError,
    RefusedError,
    UnavailableError,
)
from strategies.flower.faults import FAULT_AT_SITE, REFUSED_BY_SITE
from tests.fakes.outcomes import code_of
from tests.fakes.superlink import within_a_task

BUNDLE = b"the bundle as it came"
SHA256 = hashlib.sha256(BUNDLE).hexdigest()
NAME = "MUSTERMANN^ERIKA"
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(autouse=True)
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    within_a_task(monkeypatch)


@dataclass
class MemoryTask:
    """A task as the desk hands it out; notes what it is answered with."""

    bundle: bytes = BUNDLE
    run: int = 7
    context: Any = None
    answers: list[Message] = field(default_factory=list)
    refusals: list[tuple[int, Code]] = field(default_factory=list)
    silent: bool = False

    def __post_init__(self) -> None:
        self.message = Message(RecordDict({"c": ConfigRecord({"x": 1})}), dst_node_id=3, message_type="train", ttl=60.0)

    def answer(self, reply: Message) -> None:
        self._speak()
        self.answers.append(reply)

    def refuse(self, error_code: int, code: Code) -> None:
        self._speak()
        self.refusals.append((error_code, code))

    def _speak(self) -> None:
        if self.silent:
            raise UnavailableError(Code.PEER_UNREACHABLE)


@dataclass
class MemoryDesk:
    """A SuperNode with some tasks; sets `done` when they are gone."""

    tasks: list[MemoryTask | FederationError]
    done: threading.Event = field(default_factory=threading.Event)
    closed: int = 0

    def next_task(self) -> MemoryTask | None:
        if not self.tasks:
            self.done.set()
            return None
        task = self.tasks.pop(0)
        if isinstance(task, FederationError):
            raise task
        return task

    def rest(self, seconds: float, stop: threading.Event) -> None:
        stop.wait(seconds)

    def close(self) -> None:
        self.closed += 1


@dataclass
class Site:
    """What a runner has around it. `steps` is the order in which things happened."""

    verdict: Verdict = field(default_factory=Clearance)
    reply: Callable[[Message], Any] = lambda message: Message(RecordDict(), reply_to=message)
    approval_fault: Exception | None = None
    record_fault: Exception | None = None
    steps: list[str] = field(default_factory=list)
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def runner(self, *desks: MemoryDesk) -> Runner:
        waiting = list(desks)

        def connect() -> MemoryDesk:
            self.steps.append("connect")
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]

        return Runner(connect, app=self.app, approve=self.approve, record=self.record)

    def approve(self, sha256: str) -> Verdict:
        self.steps.append(f"approve {sha256}")
        if self.approval_fault:
            raise self.approval_fault
        return self.verdict

    def record(self, event: str, subject: str, verdict: str) -> None:
        self.steps.append("record")
        if self.record_fault:
            raise self.record_fault
        self.rows.append((event, subject, verdict))

    def app(self, message: Message, context: Any) -> Any:
        self.steps.append("app")
        return self.reply(message)


def look(site: Site, task: MemoryTask | None = None) -> MemoryTask:
    task = task or MemoryTask()
    desk = MemoryDesk([task])
    assert site.runner(desk).look(desk)
    return task


def test_an_allowed_bundle_lets_the_sites_own_app_answer() -> None:
    site = Site()
    task = look(site)
    assert site.steps == [f"approve {SHA256}", "record", "app"]
    assert site.rows == [(BUNDLE_JUDGED, SHA256, "clear")]
    (reply,) = task.answers
    assert reply.metadata.reply_to_message_id == task.message.metadata.message_id
    assert task.refusals == []


def test_a_bundle_that_is_not_allowed_reaches_no_app() -> None:
    site = Site(verdict=Refusal(code=Code.POLICY_BUNDLE))
    task = look(site)
    assert site.steps == [f"approve {SHA256}", "record"]
    assert site.rows == [(BUNDLE_JUDGED, SHA256, "policy-bundle")]
    assert task.refusals == [(REFUSED_BY_SITE, Code.POLICY_BUNDLE)]
    assert task.answers == []


def test_the_whole_bundle_is_hashed_and_every_time() -> None:
    site = Site()
    for bundle in (b"", b"x" * 100_000, b"x" * 99_999 + b"y"):
        look(site, MemoryTask(bundle=bundle))
    judged = [subject for _, subject, _ in site.rows]
    assert judged == [hashlib.sha256(bundle).hexdigest() for bundle in (b"", b"x" * 100_000, b"x" * 99_999 + b"y")]


def hostile_bundles() -> list[bytes]:
    """Return bundles that are worth something to whoever sends them only if they are opened, unpacked, imported or run."""
    note = b"open('executed', 'a').write(__name__)\n"
    code = (
        "client/__init__.py",
        "client/app.py",
        "sitecustomize.py",
        "torch/__init__.py",
        "setup.py",
        "pyproject.toml",
    )
    link = zipfile.ZipInfo("client/app.py")
    link.external_attr = 0o120777 << 16
    zips: list[list[tuple[str | zipfile.ZipInfo, bytes]]] = [
        [(name, note) for name in code], [("../../.bashrc", note), ("/etc/cron.d/x", note)], [(link, b"/etc/shadow")],
        [("bomb", bytes(64 * 1024 * 1024))],
    ]  # fmt: skip
    return [_zipped(files) for files in zips] + [
        note, b"#!/bin/sh\ntouch executed\n", b"\x7fELF" + bytes(1000), b"PK\x05\x06" + b"\xff" * 18,
        b"cbuiltins\nexec\n(V" + note.strip() + b"\ntR.",
    ]  # fmt: skip


def _zipped(files: list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return made.getvalue()


_WATCHED = """
import json, sys, tracemalloc
import pytest
from tests.fakes.superlink import within_a_task
from tests.unit.client.runner.test_runner import MemoryDesk, MemoryTask, Site, hostile_bundles, look

within_a_task(pytest.MonkeyPatch())
look(Site())
tasks, site = [MemoryTask(bundle=bundle) for bundle in hostile_bundles()], Site()
runner, desk = site.runner(), MemoryDesk(list(tasks))
seen, watching = [], True
sys.addaudithook(lambda event, _: seen.append(event) if watching else None)
tracemalloc.start()
while runner.look(desk):
    pass
watching = False
print(json.dumps({"seen": sorted(set(seen)), "answered": sum(map(len, (t.answers for t in tasks))), "peak": tracemalloc.get_traced_memory()[1]}))
"""


def test_of_a_hostile_bundle_nothing_is_opened_unpacked_or_run() -> None:
    """Even where the site's list names it: what is listed is a hash, and what runs is the site's own."""
    done = subprocess.run([sys.executable, "-c", _WATCHED], cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    touched = (
        "open",
        "exec",
        "compile",
        "import",
        "os.",
        "shutil.",
        "subprocess.",
        "pickle.",
        "marshal.",
        "ctypes.",
        "socket.",
    )
    assert [event for event in told["seen"] if event.startswith(touched)] == []
    assert told["answered"] == len(hostile_bundles())
    assert told["peak"] < 4 * 1024 * 1024, "64 MiB if the bomb goes off"


@pytest.mark.parametrize(
    "refusal",
    [
        RefusedError(Code.BUDGET_SPENT, NAME), RefusedError(Code.POLICY_HOURS), InvalidInputError(Code.BAD_SHAPE, NAME),
        ConflictError(Code.ALREADY_EXISTS), UnavailableError(Code.DISK_FULL, NAME),
    ],
)  # fmt: skip
def test_of_a_refusal_only_the_code_leaves(refusal: FederationError) -> None:
    def refuse(_: Message) -> Any:
        raise refusal

    task = look(Site(reply=refuse))
    assert task.refusals == [(REFUSED_BY_SITE, refusal.code)]


@pytest.mark.parametrize(
    "fault", [ValueError(NAME), KeyError(NAME), RuntimeError(), MemoryError(), RecursionError(NAME), OSError(5, NAME)]
)
def test_of_a_fault_only_that_there_was_one_leaves(fault: Exception) -> None:
    def fail(_: Message) -> Any:
        raise fault

    task = look(Site(reply=fail))
    assert task.refusals == [(FAULT_AT_SITE, Code.NODE_FAULT)]
    assert task.answers == []


@pytest.mark.parametrize("reply", [None, "text", 3, {"arrays": 1}])
def test_an_app_that_answers_with_no_message_is_a_fault(reply: Any) -> None:
    task = look(Site(reply=lambda _: reply))
    assert task.refusals == [(FAULT_AT_SITE, Code.NODE_FAULT)]


def test_a_policy_that_cannot_be_read_refuses() -> None:
    site = Site(approval_fault=InvalidInputError(Code.BAD_SETTING, NAME))
    task = look(site)
    assert task.refusals == [(REFUSED_BY_SITE, Code.BAD_SETTING)]
    assert "app" not in site.steps


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (UnavailableError(Code.DISK_FULL), (REFUSED_BY_SITE, Code.DISK_FULL)),
        (RefusedError(Code.AUDIT_BROKEN), (REFUSED_BY_SITE, Code.AUDIT_BROKEN)),
        (ValueError(NAME), (FAULT_AT_SITE, Code.NODE_FAULT)),
    ],
)
def test_what_cannot_be_recorded_is_not_done(fault: Exception, said: tuple[int, Code]) -> None:
    site = Site(record_fault=fault)
    task = look(site)
    assert task.refusals == [said]
    assert "app" not in site.steps


def test_the_log_says_which_bundle_and_never_what_an_exception_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def fail(_: Message) -> Any:
        raise ValueError(NAME)

    look(Site(reply=fail))
    assert any(SHA256 in record.getMessage() for record in caplog.records)
    assert all(NAME not in record.getMessage() for record in caplog.records)


def test_without_a_task_there_is_nothing_to_do() -> None:
    site, desk = Site(), MemoryDesk([])
    assert not site.runner(desk).look(desk)
    assert site.steps == []


def test_a_supernode_that_is_gone_before_the_answer_is_for_the_loop_to_see() -> None:
    desk = MemoryDesk([MemoryTask(silent=True)])
    assert code_of(lambda: Site().runner(desk).look(desk)) is Code.PEER_UNREACHABLE


# The loop.


class Stop(threading.Event):
    """Notes how long the loop waits instead of waiting."""

    def __init__(self, *desks: MemoryDesk) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.desks = desks

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        if self.desks and self.desks[-1].done.is_set():
            self.set()
        return self.is_set()


def test_tasks_are_answered_one_after_the_other_without_waiting() -> None:
    tasks = [MemoryTask(run=number) for number in range(5)]
    site, desk = Site(), MemoryDesk(list(tasks))
    stop = Stop(desk)
    site.runner(desk).run(stop)
    assert [len(task.answers) for task in tasks] == [1] * 5
    assert stop.waits == [runner_module.LOOK_SECONDS]
    assert desk.closed == 1


def test_a_supernode_that_is_away_is_waited_for_longer_each_time_and_met_anew() -> None:
    away = [MemoryDesk([UnavailableError(Code.PEER_UNREACHABLE)]) for _ in range(7)]
    back = MemoryDesk([MemoryTask()])
    site = Site()
    stop = Stop(back)
    site.runner(*away, back).run(stop)
    assert stop.waits == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, runner_module.LOOK_SECONDS]
    assert site.steps.count("connect") == 8
    assert all(desk.closed == 1 for desk in [*away, back])


def test_after_a_good_look_the_waiting_begins_anew() -> None:
    desks = [
        MemoryDesk([UnavailableError(Code.PEER_UNREACHABLE)]),
        MemoryDesk([UnavailableError(Code.PEER_UNREACHABLE)]),
        MemoryDesk([MemoryTask(), UnavailableError(Code.PEER_UNREACHABLE)]),
        MemoryDesk([]),
    ]
    stop = Stop(desks[-1])
    Site().runner(*desks).run(stop)
    assert stop.waits == [0.5, 1.0, 0.5, runner_module.LOOK_SECONDS]


def test_a_fault_in_one_task_does_not_keep_the_next_from_its_answer() -> None:
    def odd(message: Message) -> Any:
        if len(site.rows) == 1:
            raise ValueError(NAME)
        return Message(RecordDict(), reply_to=message)

    first, second = MemoryTask(), MemoryTask()
    site, desk = Site(reply=odd), MemoryDesk([first, second])
    site.runner(desk).run(Stop(desk))
    assert (len(first.refusals), len(second.answers)) == (1, 1)


def test_a_loop_that_was_stopped_takes_no_task() -> None:
    desk = MemoryDesk([MemoryTask()])
    stop = threading.Event()
    stop.set()
    site = Site()
    site.runner(desk).run(stop)
    assert site.steps == []
    assert len(desk.tasks) == 1
