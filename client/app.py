"""The ClientApp: unpack an order, let the site answer it, pack what may leave. Runs only from the site's own wheel.

A bundle carries this file for people who want to read what a site is asked to run. The `app` in it answers nothing: what answers
is made by the site's runner, around the site's own trainer.
"""

from typing import Protocol

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from protocol.plan import RoundOrder, UpdateNotice
from strategies.arrays import Arrays
from strategies.message import pack_notice, unpack_order

app = ClientApp()


class Trainer(Protocol):
    """What answers an order at a site (`client.train.site`)."""

    def answer(self, order: RoundOrder, base: Arrays) -> tuple[UpdateNotice, dict[str, NDArray[np.float32]]]:
        """Return an update that may leave, and its notice."""
        ...


def app_of_site(trainer: Trainer) -> ClientApp:
    """Return the app that answers with `trainer`; errors are for the runner to turn into codes."""
    site_app = ClientApp()

    @site_app.train()
    def train(message: Message, _context: Context) -> Message:
        order, base = unpack_order(message.content)
        notice, update = trainer.answer(order, base)
        return Message(pack_notice(notice, update), reply_to=message)

    return site_app
