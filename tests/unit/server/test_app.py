"""The ServerApp is glue: it asks exactly the sites of the run by the numbers of their SuperNodes, and nobody else."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from protocol.codes import Code
from protocol.secure_sum import SecureQuestion, SecureReply, SignedView, View
from server import app as app_module
from server.app import by_bells, main, way_to_scores, way_to_secrets, way_to_sites
from server.bell import ORDERS
from server.run import COMPLETED, RunFolder
from strategies.arrays import Arrays, arrays_sha256
from strategies.bell import Bell
from strategies.flower import questions
from strategies.flower.pieces import Pieces
from strategies.message import (
    pack_evaluated,
    pack_notice,
    pack_reply,
    unpack_evaluation,
    unpack_order,
    unpack_question,
)
from tests.fakes.evaluations import an_evaluation_order, evaluated_by
from tests.fakes.rounds import SITES, an_order, answer_to, weights
from tests.fakes.superlink import RUN_NUMBER, MemorySuperLink, within_a_task

ROOT = Path(__file__).resolve().parents[3]
NORTH, SOUTH, WEST = SITES


@pytest.fixture(autouse=True)
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    within_a_task(monkeypatch)
    monkeypatch.setattr(questions, "LOOK_SECONDS", 0)


class Obliging(MemorySuperLink):
    """Every site answers at once, honestly."""

    def push_messages(self, messages):  # type: ignore[no-untyped-def]
        messages = list(messages)
        ids = super().push_messages(messages)
        for message in messages:
            node = message.metadata.dst_node_id
            order, _ = unpack_order(message.content)
            self.handed_out.discard(message.metadata.message_id)
            self.reply(node, pack_notice(*answer_to(order, SITES[node - 11])))
        return ids


def test_the_gateway_hears_of_orders_and_the_next_reply_ends_the_rest(tmp_path: Path) -> None:
    """What the SuperLink rang for the orders themselves does not."""
    pieces, orders = Pieces(tmp_path), Bell(tmp_path / ORDERS)
    waiting = by_bells(tmp_path, pieces)
    pieces.whole().ring()
    waiting.asked()
    assert orders.count() == 1
    ringing = threading.Timer(0.3, pieces.whole().ring)
    began = time.monotonic()
    ringing.start()
    waiting.rest(30)
    assert 0.25 < time.monotonic() - began < 20
    ringing.join()


def test_sites_are_asked_by_the_numbers_of_their_supernodes() -> None:
    superlink = Obliging()
    carry = way_to_sites(superlink, {NORTH: 11, SOUTH: 12, WEST: 13})
    answers = dict(carry(an_order(), weights(), (NORTH, WEST)))
    assert set(superlink.asked) == {11, 13}
    assert set(answers) == {NORTH, WEST}
    assert not any(isinstance(said, Code) for said in answers.values())


def test_a_site_that_never_enrolled_is_absent_and_the_others_are_asked() -> None:
    carry = way_to_sites(Obliging(), {NORTH: 11})
    answers = dict(carry(an_order(), weights(), (NORTH, SOUTH)))
    assert answers[SOUTH] is Code.NODE_ABSENT
    assert not isinstance(answers[NORTH], Code)


class Comparing(MemorySuperLink):
    """Every site compares as it was asked."""

    def push_messages(self, messages):  # type: ignore[no-untyped-def]
        messages = list(messages)
        ids = super().push_messages(messages)
        for message in messages:
            assert message.metadata.message_type == "evaluate"
            node = message.metadata.dst_node_id
            order, candidate = unpack_evaluation(message.content)
            assert arrays_sha256(candidate) == order.candidate_sha256
            self.reply(node, pack_evaluated(evaluated_by(order, SITES[node - 11])))
        return ids


def test_a_candidate_and_its_order_go_to_the_sites_and_their_answers_come_back() -> None:
    superlink = Comparing()
    carry = way_to_scores(superlink, {NORTH: 11, SOUTH: 12})
    order = an_evaluation_order()
    answers = dict(carry(order, weights(3.0), SITES))
    assert answers == {NORTH: evaluated_by(order, NORTH), SOUTH: evaluated_by(order, SOUTH), WEST: Code.NODE_ABSENT}
    assert set(superlink.asked) == {11, 12}


class Signing(MemorySuperLink):
    """Every site answers each question of a secure summation with a signature in its own name, and with words if weights came."""

    def push_messages(self, messages):  # type: ignore[no-untyped-def]
        messages = list(messages)
        ids = super().push_messages(messages)
        for message in messages:
            node = message.metadata.dst_node_id
            _, base = unpack_question(message.content)
            said = SecureReply(said=SignedView(site=SITES[node - 11], signature="A" * 96))
            self.reply(node, pack_reply(said, np.arange(3, dtype=np.uint32) if base else None))
        return ids


@pytest.mark.parametrize("base", [{}, weights()], ids=["without weights", "with weights"])
def test_each_site_gets_its_own_question_of_a_secure_summation(base: Arrays) -> None:
    superlink = Signing()
    carry = way_to_secrets(superlink, {NORTH: 11, SOUTH: 12})
    views = {site: View(circle_sha256="0" * 64, sharers=(site,), survivors=(site,)) for site in (NORTH, SOUTH, WEST)}
    questions = {site: SecureQuestion(order=an_order(), asked=view) for site, view in views.items()}
    answers = dict(carry(questions, base, 60.0))
    assert {node: unpack_question(message.content)[0].asked for node, message in superlink.asked.items()} == {
        11: views[NORTH], 12: views[SOUTH],
    }  # fmt: skip
    assert answers[WEST] is Code.NODE_ABSENT
    for site in (NORTH, SOUTH):
        said, words = answers[site]  # type: ignore[misc]
        assert said.site == site  # type: ignore[attr-defined]
        assert (words is None) == (not base)


def test_the_serverapp_carries_the_run_of_its_setting_to_the_end(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[bool] = []
    monkeypatch.setattr(app_module, "end_with_parent", lambda: bound.append(True))
    context = Context(RUN_NUMBER, 1, {}, RecordDict(), {"run-dir": str(folder.path)})
    main(Obliging(), context)
    assert folder.outcome() == COMPLETED
    assert [record.sites for record in folder.records()] == [SITES] * 3
    assert not folder.is_held(RUN_NUMBER)
    assert bound, "nobody is left to hold the run when Flower's own processes are gone"


def test_it_needs_no_torch_and_no_scans() -> None:
    """It adds arrays; the program that started it measures the checkpoints."""
    script = "import sys, server.app; print(sorted({'torch', 'monai', 'pydicom'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_app_is_a_bare_assignment_as_flower_wants_it() -> None:
    source = (ROOT / "server" / "app.py").read_text()
    assert "\napp = ServerApp()\n" in source
    assert app_module.app is not None
