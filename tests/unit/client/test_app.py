"""The ClientApp unpacks, lets the trainer answer, and packs; the app of a bundle answers nothing."""

import ast
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

import client.app
from client.app import app_of_site
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.plan import PrivacyPlan, RoundOrder, RunPlan, UpdateNotice
from protocol.secure_sum import SecureQuestion, SecureReply, SignedView
from strategies.arrays import Arrays, arrays_sha256
from strategies.flower.questions import SECURE
from strategies.message import pack_order, pack_questions, unpack_notice, unpack_reply

BASE = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
CONTEXT = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})


@pytest.fixture(autouse=True)
def _task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower makes messages only inside a task."""
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


class Adder:
    """Answers with ones."""

    def __init__(self) -> None:
        self.asked: list[RoundOrder] = []

    def answer(self, order: RoundOrder, base: Arrays) -> tuple[UpdateNotice, dict[str, NDArray[np.float32]]]:
        self.asked.append(order)
        update = {name: np.ones_like(array) for name, array in base.items()}
        notice = UpdateNotice(
            run_id=order.run_id, round=order.round, site="northport", base_sha256=order.base_sha256,
            update_sha256=arrays_sha256(update), epsilon=1.0, delta=1e-5,
        )  # fmt: skip
        return notice, update


class Confidant:
    """Answers a secure summation's question with a signature and three words."""

    def __init__(self) -> None:
        self.asked: list[tuple[SecureQuestion, list[str]]] = []

    def answer(self, question: SecureQuestion, base: Arrays) -> tuple[SecureReply, NDArray[np.uint32] | None]:
        self.asked.append((question, list(base)))
        words = np.array([1, 2, 2**32 - 1], np.uint32) if base else None
        return SecureReply(said=SignedView(site="northport", signature="A" * 96)), words


def order() -> RoundOrder:
    privacy = PrivacyPlan(noise_multiplier=1.0, clipping_norm=1.0, sample_rate=1.0, expected_batch=1, steps_per_round=1)
    plan = RunPlan(base="ggo@0", sites=("northport",), rounds=1, quorum=1, learning_rate=0.1, privacy=privacy)
    return RoundOrder(run_id="a" * 32, round=1, base_sha256=arrays_sha256(BASE), plan=plan)


def asked(content: RecordDict) -> Message:
    return Message(content, dst_node_id=2, message_type="train")


def test_an_order_goes_in_and_an_update_comes_out() -> None:
    trainer = Adder()
    reply = app_of_site(trainer, Confidant())(asked(pack_order(order(), BASE)), CONTEXT)
    notice, update = unpack_notice(reply.content)
    assert trainer.asked == [order()]
    assert notice.update_sha256 == arrays_sha256(update)
    assert np.array_equal(update["w"], np.ones((2, 3), np.float32))


@pytest.mark.parametrize("base", [{}, BASE], ids=["without weights", "with weights"])
def test_a_question_of_a_secure_summation_goes_to_whoever_answers_those(base: Arrays) -> None:
    trainer, confidant = Adder(), Confidant()
    question = SecureQuestion(order=order())
    message = Message(pack_questions({2: question}, base)[2], dst_node_id=2, message_type=SECURE.message_type)
    said, words = unpack_reply(app_of_site(trainer, confidant)(message, CONTEXT).content)
    assert confidant.asked == [(question, list(base))]
    assert trainer.asked == []
    assert said == SecureReply(said=SignedView(site="northport", signature="A" * 96))
    assert (words is None) == (not base)
    assert words is None or words.tolist() == [1, 2, 2**32 - 1]


def test_something_else_than_an_order_never_reaches_the_trainer() -> None:
    trainer = Adder()
    with pytest.raises(InvalidInputError):
        app_of_site(trainer, Confidant())(asked(RecordDict()), CONTEXT)
    assert trainer.asked == []


def test_a_round_after_the_plans_last_reaches_nobody_who_could_charge_it() -> None:
    trainer, confidant = Adder(), Confidant()
    beyond = order().model_copy(update={"round": order().plan.rounds + 1})
    question = pack_questions({2: SecureQuestion.model_construct(order=beyond, asked=None)}, {})[2]
    for message in (
        asked(pack_order(beyond, BASE)),
        Message(question, dst_node_id=2, message_type=SECURE.message_type),
    ):
        with pytest.raises(InvalidInputError) as refused:
            app_of_site(trainer, confidant)(message, CONTEXT)
        assert refused.value.code is Code.BAD_SHAPE
    assert (trainer.asked, confidant.asked) == ([], [])


def test_the_app_of_a_bundle_answers_nothing() -> None:
    with pytest.raises(ValueError, match="train"):
        client.app.app(asked(pack_order(order(), BASE)), CONTEXT)


def test_the_file_is_what_flower_and_the_border_want() -> None:
    """Flower looks for a bare `app = ClientApp()`; the file loads neither torch nor the node's rooms."""
    tree = ast.parse(Path(client.app.__file__).read_text(encoding="utf-8"))
    assert any(isinstance(node, ast.Assign) and ast.unparse(node) == "app = ClientApp()" for node in tree.body)
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(module and module.startswith(("client", "models", "torch")) for module in imported)
    assert isinstance(client.app.app, ClientApp)
