"""A round of questions: one answer for each site, by the deadline, whatever the sites send."""

import json
import signal
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.proto.runtime_pb2 import AcquireTaskResponse
from flwr.proto.task_pb2 import Task as ProtoTask
from flwr.supercore.inflatable.inflatable_object import add_header_to_object_body, get_object_body
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.plan import UpdateNotice
from protocol.secure_sum import SecureQuestion, SecureReply, SignedView, View
from strategies.arrays import arrays_sha256
from strategies.flower import FOLDER_VARIABLE, desk, questions
from strategies.flower import supernode as program
from strategies.flower.desk import Task, TaskDesk
from strategies.flower.faults import FAULT_AT_SITE, REFUSED_BY_SITE
from strategies.flower.fleet import key_bytes
from strategies.flower.questions import SECURE, Answer, Waiting, ask, ask_each
from strategies.message import (
    pack_notice,
    pack_order,
    pack_questions,
    pack_reply,
    unpack_question,
    unpack_reply,
    weight_bytes,
)
from tests.fakes.outcomes import code_of
from tests.fakes.rounds import a_notice, an_order, weights
from tests.fakes.superlink import MemorySuperLink, within_a_task

GOOD = pack_notice(a_notice(weights(1)), weights(1))
OTHER = pack_notice(a_notice(weights(2)), weights(2))


@pytest.fixture(autouse=True)
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    within_a_task(monkeypatch)
    monkeypatch.setattr(questions, "LOOK_SECONDS", 0)


class Ticks:
    """A clock on which each look at it takes a second."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def asking(superlink: MemorySuperLink, *nodes: int, seconds: float = 50) -> Iterator[Answer]:
    return ask(
        superlink,
        list(nodes),
        pack_order(an_order(), weights()),
        group="1",
        seconds=seconds,
        waiting=Waiting(clock=Ticks()),
    )


def answered(reply: Callable[[MemorySuperLink], Any]) -> tuple[UpdateNotice, Any] | Code:
    """What becomes of one site's reply."""
    superlink = MemorySuperLink()
    superlink.asked = {}
    answers = asking(superlink, 11, 12)
    superlink.unknown = {12}
    assert next(answers) == Answer(12, Code.NODE_ABSENT)
    reply(superlink)
    (answer,) = answers
    assert answer.node_id == 11
    return answer.said


def test_everybody_is_asked_the_same_with_the_deadline_as_life() -> None:
    superlink = MemorySuperLink()
    list(asking(superlink, 11, 12, seconds=7))
    contents = [message.content for message in superlink.asked.values()]
    assert [message.metadata.dst_node_id for message in superlink.asked.values()] == [11, 12]
    assert {(m.metadata.message_type, m.metadata.ttl, m.metadata.group_id) for m in superlink.asked.values()} == {
        ("train", 7.0, "1")
    }
    assert contents[0] == contents[1]


def test_answers_come_in_the_order_in_which_sites_give_them() -> None:
    superlink = MemorySuperLink()
    superlink.unknown = {10}
    answers = asking(superlink, 10, 11, 12)
    next(answers)
    superlink.reply(12, GOOD)
    second = next(answers)
    superlink.reply(11, Error(code=REFUSED_BY_SITE, reason="budget-spent"))
    assert next(answers) == Answer(11, Code.BUDGET_SPENT)
    assert next(answers, None) is None
    assert second.node_id == 12
    notice, update = second.said
    assert notice == a_notice(weights(1))
    assert arrays_sha256(update) == arrays_sha256(weights(1))
    assert sorted(superlink.confirmed) == sorted(one.envelope.metadata.message_id for one in superlink.replies.values())


def test_nodes_that_the_superlink_does_not_know_are_absent_each_of_them() -> None:
    superlink = MemorySuperLink(unknown={11, 12, 13})
    assert [answer.said for answer in asking(superlink, 11, 12, 13)] == [Code.NODE_ABSENT] * 3


def test_who_has_not_answered_by_the_deadline_is_late() -> None:
    superlink = MemorySuperLink(unknown={13})
    answers = asking(superlink, 11, 12, 13)
    next(answers)
    superlink.reply(11, GOOD)
    assert next(answers).node_id == 11
    assert list(answers) == [Answer(12, Code.ROUND_LATE)]


def test_a_node_that_is_away_for_a_moment_keeps_its_answer() -> None:
    superlink = MemorySuperLink(unknown={13}, away={11})
    answers = asking(superlink, 11, 12, 13, seconds=200)
    next(answers)
    superlink.reply(12, OTHER)
    assert next(answers).node_id == 12
    superlink.away = set()
    superlink.reply(11, GOOD)
    assert not isinstance(next(answers).said, Code)


def test_a_node_that_stays_away_is_absent_after_a_while() -> None:
    superlink = MemorySuperLink(unknown={13}, away={11})
    clock = Ticks()
    answers = ask(
        superlink, [11, 13], pack_order(an_order(), weights()), group="1", seconds=500, waiting=Waiting(clock=clock)
    )
    next(answers)
    assert list(answers) == [Answer(11, Code.NODE_ABSENT)]
    assert questions.AWAY_SECONDS <= clock.now < 2 * questions.AWAY_SECONDS


def test_a_node_that_is_away_at_the_deadline_is_absent_and_not_late() -> None:
    superlink = MemorySuperLink(unknown={13}, away={11})
    assert list(asking(superlink, 11, 12, 13, seconds=10)) == [
        Answer(13, Code.NODE_ABSENT), Answer(11, Code.NODE_ABSENT), Answer(12, Code.ROUND_LATE),
    ]  # fmt: skip


@pytest.mark.parametrize("arrived", [0, 1, 2])
def test_a_site_that_stops_half_way_holds_up_nobody(arrived: int) -> None:
    superlink = MemorySuperLink(unknown={13})
    answers = asking(superlink, 11, 12, 13)
    next(answers)
    superlink.reply(11, GOOD, arrived=arrived)
    superlink.reply(12, OTHER)
    assert next(answers).node_id == 12
    assert list(answers) == [Answer(11, Code.ROUND_LATE)]


def test_a_reply_is_taken_when_its_last_object_has_come() -> None:
    superlink = MemorySuperLink(unknown={13})
    answers = asking(superlink, 11, 12, 13)
    next(answers)
    slow = superlink.reply(11, GOOD, arrived=2)
    superlink.reply(12, OTHER)
    assert next(answers).node_id == 12
    slow.arrived = None
    said = next(answers).said
    assert not isinstance(said, Code)
    assert arrays_sha256(said[1]) == arrays_sha256(weights(1))


def test_no_object_is_pulled_twice() -> None:
    superlink = MemorySuperLink(unknown={13})
    answers = asking(superlink, 11, 13)
    next(answers)
    slow = superlink.reply(11, GOOD, arrived=2)

    def arrive(request: Any) -> Any:
        slow.arrived = None
        return MemorySuperLink.PullMessages(superlink, request)

    superlink.PullMessages = arrive  # type: ignore[method-assign]
    next(answers)
    assert superlink.pulls <= len(slow.objects) + 1


def test_what_the_superlink_has_dropped_is_absent() -> None:
    assert answered(lambda superlink: superlink.reply(11, GOOD, lost=True)) is Code.NODE_ABSENT


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Error(code=REFUSED_BY_SITE, reason="policy-hours"), Code.POLICY_HOURS),
        (Error(code=FAULT_AT_SITE, reason="node-fault"), Code.NODE_FAULT),
        (Error(code=REFUSED_BY_SITE, reason="MUSTERMANN^ERIKA"), Code.NODE_FAULT),
        (Error(code=REFUSED_BY_SITE, reason=""), Code.NODE_FAULT),
        (Error(code=REFUSED_BY_SITE), Code.NODE_FAULT),
        (Error(code=99, reason="budget-spent"), Code.NODE_FAULT),
        (Error(code=2, reason="<class 'ValueError'>:<'MUSTERMANN^ERIKA'>"), Code.NODE_FAULT),
        (Error(code=3, reason="expired"), Code.ROUND_LATE),
        (Error(code=4, reason="expired"), Code.ROUND_LATE),
        (Error(code=5, reason="offline"), Code.NODE_ABSENT),
        (Error(code=8, reason="ClientApp stopped responding."), Code.NODE_FAULT),
    ],
)
def test_of_an_error_only_a_code_is_taken(error: Error, code: Code) -> None:
    assert answered(lambda superlink: superlink.reply(11, error)) is code


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"metrics": MetricRecord({"accuracy": 1.0})}),
        pack_order(an_order(), weights()),
        RecordDict({"arrays": ArrayRecord({"w": Array(np.ones(3))}), "notice": GOOD["notice"]}),
    ],
)
def test_a_reply_of_another_form_is_a_bad_update(content: RecordDict) -> None:
    assert answered(lambda superlink: superlink.reply(11, content)) is Code.BAD_UPDATE


def test_a_reply_far_larger_than_what_was_sent_is_left_where_it_is() -> None:
    pulls = []

    def reply(superlink: MemorySuperLink) -> None:
        flat = Array(dtype="float32", shape=(1,), stype="acinus.float32", data=bytes(range(256)) * 160_000)  # 41 MB
        superlink.reply(11, RecordDict({"arrays": ArrayRecord({"flat": flat}), "notice": GOOD["notice"]}))
        pulls.append(superlink)

    assert answered(reply) is Code.BAD_UPDATE
    (superlink,) = pulls
    assert superlink.pulls < len(next(iter(superlink.replies.values())).objects)
    assert superlink.confirmed


def test_a_reply_of_very_many_objects_is_not_even_begun() -> None:
    many = ArrayRecord({f"a{n}": Array(np.array([n], np.float32)) for n in range(60)})
    superlinks = []

    def reply(superlink: MemorySuperLink) -> None:
        superlink.reply(11, RecordDict({"arrays": many, "notice": GOOD["notice"]}))
        superlinks.append(superlink)

    assert answered(reply) is Code.BAD_UPDATE
    assert superlinks[0].pulls == 0


def most_memory(reply: Callable[[MemorySuperLink], Any]) -> int:
    """What the centre takes, at most, for one site's reply that is no update."""
    tracemalloc.start()
    try:
        assert answered(reply) is Code.BAD_UPDATE
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_reply_that_names_one_record_many_times_is_not_joined() -> None:
    """Sent, stored and pulled once: what a record weighs on the way says nothing of how often it counts."""
    one = ConfigRecord({"weights": bytes(256 * 1024)})

    def reply(superlink: MemorySuperLink) -> None:
        many = {f"weights-{number}": one for number in range(1, 400)}
        superlink.reply(11, RecordDict({"notice": GOOD["notice"], **many}))

    assert most_memory(reply) < 16 * 1024 * 1024


def test_an_array_that_names_one_piece_many_times_is_not_read() -> None:
    def reply(superlink: MemorySuperLink) -> None:
        flat = Array(dtype="float32", shape=(1,), stype="acinus.float32", data=bytes(256 * 1024))
        sent = superlink.reply(11, RecordDict({"arrays": ArrayRecord({"flat": flat}), "notice": GOOD["notice"]}))
        (name,) = (one for one, content in sent.objects.items() if content.startswith(b"Array "))
        said = json.loads(get_object_body(sent.objects[name], Array))
        body = json.dumps({**said, "arraychunk_ids": [0] * 400}).encode()
        sent.objects[name] = add_header_to_object_body(body, flat)

    assert most_memory(reply) < 16 * 1024 * 1024


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 20), st.floats(0, 1), st.integers(0, 9), st.binary(max_size=40))
def test_objects_of_arbitrary_bytes_never_end_the_round(which: int, where: float, gone: int, new: bytes) -> None:
    def reply(superlink: MemorySuperLink) -> None:
        sent = superlink.reply(11, GOOD)
        name = list(sent.objects)[which % len(sent.objects)]
        good = sent.objects[name]
        cut = int(where * len(good))
        sent.objects[name] = good[:cut] + new + good[cut + gone :]

    said = answered(reply)
    assert isinstance(said, Code) or isinstance(said[0], UpdateNotice)


def test_an_envelope_for_a_message_that_nobody_sent_counts_for_nothing() -> None:
    def reply(superlink: MemorySuperLink) -> None:
        sent = superlink.reply(11, GOOD)
        sent.envelope.metadata.reply_to_message_id = "f" * 64

    assert answered(reply) is Code.ROUND_LATE


def test_a_second_reply_to_the_same_message_counts_for_nothing() -> None:
    superlink = MemorySuperLink(unknown={13})
    answers = asking(superlink, 11, 12, 13)
    next(answers)
    superlink.reply(11, GOOD)
    assert next(answers).node_id == 11
    superlink.handed_out.clear()
    assert list(answers) == [Answer(12, Code.ROUND_LATE)]


# A site's task.


@dataclass
class SuperNode:
    """The SuperNode's runtime API as a task uses it. What is in `faults` fails when it is called."""

    faults: dict[str, Exception] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def call(self, name: str, result: Any = None) -> Any:
        self.calls.append(name)
        if name in self.faults:
            raise self.faults[name]
        return result

    def SendTaskHeartbeat(self, _: Any) -> Any:  # noqa: N802
        return SimpleNamespace(success=True)

    def AcquireTask(self, _: Any) -> AcquireTaskResponse:  # noqa: N802
        return self.call("acquire", AcquireTaskResponse(task=ProtoTask(task_id=1), token="t"))

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def supernode(monkeypatch: pytest.MonkeyPatch) -> SuperNode:
    node = SuperNode()
    message = Message(RecordDict(), dst_node_id=3, message_type="train", ttl=60.0)
    given = (message, SimpleNamespace(), SimpleNamespace(run_id=9), SimpleNamespace(content=b"fab"))
    monkeypatch.setattr(desk, "pull_task_input", lambda _: node.call("pull", given))
    monkeypatch.setattr(desk, "push_message", lambda *_: node.call("push"))
    monkeypatch.setattr(desk, "push_task_output", lambda *_: node.call("output"))
    monkeypatch.setattr(TaskDesk, "_connect", lambda *_: node)
    return node


def taken(supernode: SuperNode) -> Task:
    task = TaskDesk("127.0.0.1:1", b"s").next_task()
    assert task is not None
    supernode.calls.clear()
    return task


def test_a_task_holds_message_and_bundle_and_is_answered_once(supernode: SuperNode) -> None:
    task = taken(supernode)
    assert (task.run, task.bundle) == (9, b"fab")
    task.refuse(REFUSED_BY_SITE, Code.BUDGET_SPENT)
    assert supernode.calls == ["push", "output", "close"]
    assert not task._heartbeat.is_running


def test_a_run_that_was_stopped_while_the_site_worked_takes_no_reply_and_ends_nothing(supernode: SuperNode) -> None:
    task = taken(supernode)
    supernode.faults = {"push": ObjectPushError("a" * 64, 9, "session")}
    task.refuse(REFUSED_BY_SITE, Code.BUDGET_SPENT)
    assert supernode.calls == ["push", "close"]
    assert not task._heartbeat.is_running


@pytest.mark.parametrize("call", ["push", "output"])
def test_a_supernode_that_is_gone_is_one_error_and_the_task_is_closed(supernode: SuperNode, call: str) -> None:
    task = taken(supernode)
    supernode.faults = {call: httpx.ConnectError("gone")}
    assert code_of(lambda: task.refuse(REFUSED_BY_SITE, Code.BUDGET_SPENT)) is Code.PEER_UNREACHABLE
    assert supernode.calls[-1] == "close"
    assert not task._heartbeat.is_running


@pytest.mark.parametrize(
    "fault", [RuntimeError("No messages received"), KeyError("x"), ValueError("x"), TypeError("x"), RecursionError()]
)
def test_a_task_that_cannot_be_read_is_left(supernode: SuperNode, fault: Exception) -> None:
    supernode.faults = {"pull": fault}
    assert TaskDesk("127.0.0.1:1", b"s").next_task() is None
    assert supernode.calls == ["acquire", "pull", "close"]


def test_a_supernode_that_goes_while_it_hands_a_task_out_is_one_error(supernode: SuperNode) -> None:
    supernode.faults = {"pull": httpx.ReadError("gone")}
    assert code_of(TaskDesk("127.0.0.1:1", b"s").next_task) is Code.PEER_UNREACHABLE


# Keys.


def ssh(key: Any) -> str:
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def test_one_key_is_the_same_whatever_its_comment() -> None:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    assert key_bytes(ssh(key)) == key_bytes(ssh(key) + " root@pacs")


@pytest.mark.parametrize(
    "text",
    [
        "", "ecdsa-sha2-nistp384 AAAA", "ecdsa-sha2-nistp384 " + "A" * 300, "ssh-bananas AAAA", "not a key",
        ssh(rsa.generate_private_key(65537, 2048).public_key()), ssh(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()),
    ],
)  # fmt: skip
def test_what_is_no_key_on_a_curve_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        key_bytes(text)


# The SuperNode's waits.


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits of a SuperNode's loop, in order, with a clock that runs by them alone."""
    waits: list[float] = []
    monkeypatch.setattr(program, "time", SimpleNamespace(sleep=waits.append))
    monkeypatch.setattr(program, "_Waits", partial(program._Waits, lambda: sum(waits)))
    return waits


def test_a_supernode_that_has_just_worked_asks_soon_and_one_without_work_ever_less_often(slept: list[float]) -> None:
    waits = program._Waits()
    for _ in range(100):
        waits.sleep(3)
    assert slept[0] == program.IDLE_SECONDS
    assert slept == sorted(slept)
    assert slept[-1] == program.LONGEST_IDLE_SECONDS
    waits.sleep(0.5)
    waits.sleep(3)
    assert slept[-2:] == [program.STEP_SECONDS, program.IDLE_SECONDS]


def test_a_supernode_whose_question_was_held_asks_again_at_once(slept: list[float]) -> None:
    now = [0.0]
    waits = program._Waits.func(lambda: now[0])
    now[0] += 20
    waits.sleep(3)
    assert slept == [program.STEP_SECONDS]


def test_a_supernode_waits_for_its_runner_until_something_has_come(slept: list[float]) -> None:
    """And looks at it then, not a moment later; what came before it waited counts too."""

    class Stirred(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout)
            return self.is_set()

    waited: list[float | None] = []
    stirred = Stirred()
    waits = program._Waits.func(time.monotonic, stirred)
    stirred.set()
    waits.sleep(0.5)
    assert waited == [program.LONGEST_STEP_SECONDS]
    assert not stirred.is_set()
    assert slept == []


def test_the_stock_program_runs_on_our_waits(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    loop = SimpleNamespace(
        time=None, pull_objects=None, _pull_and_store_message=lambda **_: None, register_signal_handlers=signal.signal
    )
    pulled: list[dict[str, Any]] = []

    def pull_objects(_: list[str], **waits: Any) -> None:
        pulled.append(waits)

    def stock() -> None:
        loop.time.sleep(3)
        loop.pull_objects([])

    monkeypatch.setattr(program, "supernode_loop", loop)
    monkeypatch.setattr(program, "supernode_app", SimpleNamespace(create_app=lambda: None))
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(program, "pull_objects", pull_objects)
    monkeypatch.setattr(program, "flower_supernode", stock)
    program.run_supernode()
    assert slept == [program.IDLE_SECONDS]
    (waits,) = pulled
    assert waits["initial_backoff"] < 0.1
    assert waits["backoff_cap"] < 1
    assert loop.register_signal_handlers.__qualname__.startswith("end_once")


def test_a_runner_asks_soon_again_for_a_piece_that_its_supernode_is_still_fetching(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = SimpleNamespace(pull_and_inflate_object_from_tree=None)
    monkeypatch.setattr(desk, "run_clientapp", module)
    TaskDesk("127.0.0.1:1", b"s" * 32).close()
    assert module.pull_and_inflate_object_from_tree.keywords["initial_backoff"] < 0.1


def test_of_many_replies_on_their_way_no_more_is_kept_than_one_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site that sends its objects in another order than an honest one makes the centre look twice, and never hold more."""
    monkeypatch.setattr(questions, "_SPARE_BYTES", 4096)
    superlink = MemorySuperLink(unknown={999})
    nodes = [superlink.node(str(number)) for number in range(40)]
    kept: list[int] = []
    collected: list[questions._Replies] = []
    make = questions._Replies.__init__

    def noted(self: questions._Replies, *given: Any, **named: Any) -> None:
        make(self, *given, **named)
        collected.append(self)

    monkeypatch.setattr(questions._Replies, "__init__", noted)

    def rest(_: float) -> None:
        kept.append(sum(reply.size for reply in collected[0]._begun.values()))

    answers = ask(
        superlink, [999, *nodes], pack_order(an_order(), weights()), group="1", seconds=60, waiting=Waiting(rest=rest, clock=Ticks()),
    )  # fmt: skip
    next(answers)
    for number, node in enumerate(nodes):
        content = pack_notice(a_notice(weights(number)), weights(number))
        sent = superlink.reply(node, content)
        first, *rest_of_them = sent.objects
        sent.objects = {**{name: sent.objects[name] for name in rest_of_them}, first: sent.objects[first]}
        sent.arrived = len(rest_of_them)
    assert [answer.said for answer in answers] == [Code.ROUND_LATE] * len(nodes)
    limit = 2 * weight_bytes(pack_order(an_order(), weights())) + 4096
    assert max(kept) > 0
    assert max(kept) <= 2 * limit


# How it waits.


def test_where_somebody_rings_a_rest_is_as_long_as_patience_allows_and_ends_with_the_round() -> None:
    now, rests = [0.0], list[float]()

    def rest(seconds: float) -> None:
        rests.append(seconds)
        now[0] += seconds

    waiting = Waiting(rest=rest, patience=3.0, clock=lambda: now[0])
    answers = ask(MemorySuperLink(), [11], pack_order(an_order(), weights()), group="1", seconds=7, waiting=waiting)
    assert [answer.said for answer in answers] == [Code.ROUND_LATE]
    assert rests == [3.0, 3.0, 1.0]


# Each site its own question.


def test_each_site_gets_its_own_question_of_a_secure_summation_and_is_read_as_such() -> None:
    superlink = MemorySuperLink()
    order = an_order()
    signed = SignedView(site="northport", signature="A" * 96)
    view = View(circle_sha256="0" * 64, sharers=("northport",), survivors=("northport",))
    asked = {11: SecureQuestion(order=order), 12: SecureQuestion(order=order, asked=view)}
    questions = pack_questions(asked, weights())
    answers = ask_each(superlink, questions, SECURE, group="1", seconds=50, waiting=Waiting(clock=Ticks()))
    words = np.array([7, 2**32 - 1], np.uint32)

    push = superlink.push_messages

    def push_and_reply(messages: Any) -> Any:
        ids = push(messages)
        superlink.reply(11, pack_reply(SecureReply(said=signed), None))
        superlink.reply(12, pack_reply(SecureReply(said=signed), words))
        return ids

    superlink.push_messages = push_and_reply  # type: ignore[method-assign]
    first, second = answers
    assert {node: message.metadata.message_type for node, message in superlink.asked.items()} == {
        11: "train.secure", 12: "train.secure",
    }  # fmt: skip
    for node, question in asked.items():
        said, base = unpack_question(superlink.asked[node].content)
        assert said == question
        assert arrays_sha256(base) == arrays_sha256(weights())
    assert (first.said, second.node_id) == ((SecureReply(said=signed), None), 12)
    assert np.array_equal(second.said[1], words)  # type: ignore[index]


@pytest.mark.parametrize("content", [GOOD, RecordDict()], ids=["an update", "nothing"])
def test_an_update_is_no_answer_to_a_question_of_a_secure_summation(content: RecordDict) -> None:
    with pytest.raises(InvalidInputError):
        unpack_reply(content)
    with pytest.raises(InvalidInputError):
        unpack_question(content)
