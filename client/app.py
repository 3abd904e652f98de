"""The ClientApp: unpack an order, let the site answer it, pack what may leave. Runs only from the site's own wheel.

A bundle carries this file for people who want to read what a site is asked to run. The `app` in it answers nothing: what answers
is made by the site's runner, around the site's own trainer.
"""

from typing import Protocol

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from protocol.evaluation import EvaluationNotice, EvaluationOrder
from protocol.plan import RoundOrder, UpdateNotice
from protocol.secure_sum import SecureQuestion, SecureReply
from strategies.arrays import Arrays
from strategies.message import (
    SECURE_ACTION,
    pack_evaluated,
    pack_notice,
    pack_reply,
    unpack_evaluation,
    unpack_order,
    unpack_question,
)

app = ClientApp()


class Trainer(Protocol):
    """What answers an order at a site (`client.train.site`)."""

    def answer(self, order: RoundOrder, base: Arrays) -> tuple[UpdateNotice, dict[str, NDArray[np.float32]]]:
        """Return an update that may leave, and its notice."""
        ...


class SecureTrainer(Protocol):
    """What answers the questions of a secure summation at a site (`client.train.secure`)."""

    def answer(self, question: SecureQuestion, base: Arrays) -> tuple[SecureReply, NDArray[np.uint32] | None]:
        """Return an answer that may leave, with a padded summand where it is due."""
        ...


class Evaluator(Protocol):
    """What compares a candidate with the present release at a site (`client.train.evaluation`)."""

    def answer(self, order: EvaluationOrder, candidate: Arrays) -> EvaluationNotice:
        """Return an answer that may leave."""
        ...


def app_of_site(trainer: Trainer, secure: SecureTrainer | None = None, evaluator: Evaluator | None = None) -> ClientApp:
    """Return the app that answers with `trainer`, in secure summations with `secure`, after the last round with `evaluator`.

    Errors are for the runner to turn into codes.
    """
    site_app = ClientApp()

    @site_app.train()
    def train(message: Message, _context: Context) -> Message:
        order, base = unpack_order(message.content)
        notice, update = trainer.answer(order, base)
        return Message(pack_notice(notice, update), reply_to=message)

    if secure is not None:

        @site_app.train(SECURE_ACTION)
        def take_part(message: Message, _context: Context) -> Message:
            question, base = unpack_question(message.content)
            return Message(pack_reply(*secure.answer(question, base)), reply_to=message)

    if evaluator is not None:

        @site_app.evaluate()
        def compare(message: Message, _context: Context) -> Message:
            order, candidate = unpack_evaluation(message.content)
            return Message(pack_evaluated(evaluator.answer(order, candidate)), reply_to=message)

    return site_app
