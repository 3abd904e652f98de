"""A hospital with a toy in place of training: the real runner, the real SuperNode, the real forwarder; the update is a constant.

`python -m tests.fakes.toy_site HOME SITE FORWARD_PORT` after `enrol_toy`. What a test wants of the site is in files in `HOME`:

    allow.json     the bundles that the site allows, by their SHA-256
    refuse-from    a round from which on its budget is spent
    break          training fails with an exception that quotes a name
    silent         nothing is said of held-out patients
    hold           training waits until the file is gone; `held` says that it does
    end-after-padding   a round of secure summation in which the whole hospital ends when its padded summand is out

What the site did is in `audit.txt`.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from cryptography import x509
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client.gate import keys
from client.gate.enrol import enrol
from client.gate.forward import forward
from client.gate.policy import Clearance, Refusal, Verdict
from client.gate.trust import client_context, load_centre, load_identity
from client.runner.runner import Runner
from client.train.member import Member
from client.train.peers import Peers, signer_of
from client.wiring.centre import own_tls
from protocol.codes import Code
from protocol.enrolment import decode_invite
from protocol.errors import RefusedError
from protocol.evaluation import EvaluationNotice, Group, GroupSum
from protocol.plan import UpdateNotice
from protocol.secure_sum import Boxes, Circle, PaddedNotice, SecureQuestion, SecureReply, View
from strategies.arrays import Arrays, arrays_sha256
from strategies.flower import FOLDER_VARIABLE, QUIET
from strategies.flower.desk import TaskDesk
from strategies.flower.pieces import Pieces
from strategies.message import (
    SECURE_ACTION,
    pack_evaluated,
    pack_notice,
    pack_reply,
    unpack_evaluation,
    unpack_order,
    unpack_question,
)
from strategies.securesum.pads import Words, words_sha256
from strategies.securesum.step import values_of

NAME = "MUSTERMANN^ERIKA"
STEP = 1e-4
EPSILON_PER_ROUND = 0.5
TOY_GAIN, TOY_CASES = -150, 200
"""What every toy says of every candidate: worse."""


def enrol_toy(home: Path, invite: str) -> str:
    """Make keys if there are none, and enrol; return the site's name."""
    gateway = "https://localhost:9"
    if not (home / "keys").exists():
        (home / "keys").mkdir(parents=True)
        keys.make_keys(home / "keys", site_name="toy", gateway=gateway, now=datetime.now(UTC))
    return enrol(decode_invite(invite), keys=home / "keys", trust=home / "trust", gateway=gateway).site


def toy_app(site: str, home: Path, stop: threading.Event) -> ClientApp:
    """Adds STEP to every parameter."""
    app = ClientApp()
    secret = ToyMember(site, home, stop)

    @app.train(SECURE_ACTION)
    def take_part(message: Message, context: Context) -> Message:
        question, base = unpack_question(message.content)
        return Message(pack_reply(*secret.answer(question, base)), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        order, base = unpack_order(message.content)
        limit = home / "refuse-from"
        if limit.exists() and order.round >= int(limit.read_text()):
            raise RefusedError(Code.BUDGET_SPENT)
        if (home / "break").exists():
            raise ValueError(f"{NAME} was in the header")
        while (home / "hold").exists() and not stop.wait(0.05):
            (home / "held").touch()
        (home / "held").unlink(missing_ok=True)
        update = {name: np.full_like(array, STEP) for name, array in base.items()}
        notice = UpdateNotice(
            run_id=order.run_id, round=order.round, site=site, base_sha256=order.base_sha256, update_sha256=arrays_sha256(update),
            epsilon=EPSILON_PER_ROUND * order.round, delta=1e-5,
        )  # fmt: skip
        return Message(pack_notice(notice, update), reply_to=message)

    @app.evaluate()
    def compare(message: Message, context: Context) -> Message:
        return Message(pack_evaluated(toy_word(site, home, message)), reply_to=message)

    return app


def toy_word(site: str, home: Path, message: Message) -> EvaluationNotice:
    """Return what the toy says of any candidate."""
    order, candidate = unpack_evaluation(message.content)
    if arrays_sha256(candidate) != order.candidate_sha256:
        raise RefusedError(Code.SIGNATURE_INVALID)
    if (home / "silent").exists():
        raise RefusedError(Code.POLICY_EVALUATION)
    said = GroupSum(group=Group.ALL, gain=TOY_GAIN, cases=TOY_CASES)
    return EvaluationNotice(
        run_id=order.run_id, site=site, candidate_sha256=order.candidate_sha256, present_sha256=order.present_sha256,
        sums=(said,), epsilon=EPSILON_PER_ROUND, delta=1e-5,
    )  # fmt: skip


class ToyMember:
    """Takes part in secure summations with its own certificate and a real member; its summand is a constant of its own."""

    def __init__(self, site: str, home: Path, stop: threading.Event) -> None:
        self._site, self._home, self._stop = site, home, stop
        self._member: Member | None = None

    def answer(self, question: SecureQuestion, base: Arrays) -> tuple[SecureReply, Words | None]:
        asked = question.asked
        if asked is None:
            identity = load_identity(self._home / "trust", self._home / "keys")
            peers = Peers(x509.load_pem_x509_certificate(identity.ca), lambda: datetime.now(UTC))
            self._member = Member(question.order, signer_of(self._site, identity), peers)
            return SecureReply(said=self._member.keys()), None
        assert self._member is not None
        if isinstance(asked, Circle):
            return SecureReply(said=self._member.shares(asked)), None
        if isinstance(asked, Boxes):
            return self._padded(self._member, asked, base)
        if isinstance(asked, View):
            self._end(question.order.round)
            return SecureReply(said=self._member.view(asked)), None
        return SecureReply(said=self._member.opened(asked)), None

    def _padded(self, member: Member, boxes: Boxes, base: Arrays) -> tuple[SecureReply, Words]:
        member.received(boxes)
        words = member.padded(np.full(values_of(base), toy_summand(self._site), np.uint32))
        notice = PaddedNotice(
            circle_sha256=member.circle_sha256, site=self._site, words_sha256=words_sha256(words), epsilon=EPSILON_PER_ROUND, delta=1e-5,
        )  # fmt: skip
        return SecureReply(said=notice), words

    def _end(self, number: int) -> None:
        flag = self._home / "end-after-padding"
        if flag.exists() and int(flag.read_text()) == number:
            os.kill(os.getpid(), signal.SIGTERM)
            self._stop.wait()
            raise SystemExit


def toy_summand(site: str) -> int:
    """Another number of steps of the grid at every hospital."""
    return (len(site) * 1000 + ord(site[0])) * 1000


def main(home: Path, site: str, port: int) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=keep_forwarder, args=(home, port), daemon=True).start()
    supernode = threading.Thread(target=keep_supernode, args=(home, port, stop))
    supernode.start()
    secret = (home / "keys" / keys.SUPEREXEC_SECRET).read_bytes()

    def approve(bundle_sha256: str) -> Verdict:
        allowed = bundle_sha256 in json.loads((home / "allow.json").read_text())
        return Clearance() if allowed else Refusal(code=Code.POLICY_BUNDLE)

    def record(*row: str) -> None:
        with (home / "audit.txt").open("a") as audit:
            audit.write(" ".join(row) + "\n")

    connect = lambda: TaskDesk(f"127.0.0.1:{port + 1}", secret, pieces_of(home))  # noqa: E731
    try:
        Runner(connect, app=toy_app(site, home, stop), approve=approve, record=record).run(stop)
    finally:
        stop.set()
        supernode.join()


def keep_supernode(home: Path, port: int, stop: threading.Event) -> None:
    """Keep the stock SuperNode up, as a node does: it ends when it is refused, as by a gateway that has not heard of the site yet."""
    node_keys = home / "keys"
    command = [
        sys.executable, "-m", "strategies.flower.supernode", "--superlink", f"127.0.0.1:{port}", "--root-certificates", str(node_keys / keys.GATEWAY_CA),
        "--auth-supernode-private-key", str(node_keys / keys.SUPERNODE_KEY), "--isolation", "process",
        "--superexec-auth-secret-file", str(node_keys / keys.SUPEREXEC_SECRET), "--host", "127.0.0.1", "--port", str(port + 1),
    ]  # fmt: skip
    env = {**os.environ, **QUIET, "FLWR_HOME": str(home / "flwr"), FOLDER_VARIABLE: str(pieces_of(home).folder)}
    while not stop.is_set():
        child = subprocess.Popen(command, env=env)
        while child.poll() is None and not stop.wait(0.1):
            pass
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()


def pieces_of(home: Path) -> Pieces:
    """Return what SuperNode and runner share."""
    return Pieces(home.resolve() / "pieces")


def keep_forwarder(home: Path, port: int) -> None:
    """Carry the SuperNode's words to the centre under the site's certificate."""
    asyncio.run(
        forward(
            port, inside=own_tls(home / "keys"), fleet=load_centre(home / "trust").fleet_address,
            outside=lambda: client_context(home / "trust", home / "keys"), stop=asyncio.Event(),
        )
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
