"""The link's part, wired: whatever of it cannot go on ends the part, and the part says why, so that it is started again and not left deaf."""

import asyncio
import socket
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.gate import keys as making
from client.gate.backoff import Backoff
from client.gate.contact import ContactBook
from client.gate.dispatch import Dispatcher
from client.gate.link import LinkClient, Pace
from client.gate.renew import RenewalPace, Renewer
from client.gate.renewals import RenewalBook
from client.gate.trust import CENTRE, Centre
from client.rooms.border import open_contact, open_gate, open_inbox, open_renewals, utc_now
from client.runtime import run_part
from client.settings import NodeSettings
from client.store.files import write_durably
from client.wiring import centre as wiring
from protocol.codes import Code
from protocol.errors import UnavailableError
from protocol.shape import canonical_json
from tests.fakes.outcomes import code_of
from tests.fakes.ports import free_port

SECONDS = 5.0


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    making.make_keys(tmp_path / "keys", site_name="Northport", gateway="https://localhost:1", now=datetime.now(UTC))
    write_durably(tmp_path / "trust" / CENTRE, canonical_json(Centre(
        site="northport", region="XA-N", registry="https://localhost:1", grant_key="g" * 43,
        link_address="localhost:1", fleet_address="localhost:1",
    )))  # fmt: skip
    return NodeSettings.model_validate({"home": tmp_path, "flower": {"forward_port": free_port()}})


@pytest.fixture
def open_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that stands, and stays until the part is told to end."""

    async def stands(_: NodeSettings, stop: threading.Event, __: threading.Event) -> None:
        async with asyncio.timeout(SECONDS):
            while not stop.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.01)

    monkeypatch.setattr(wiring, "_link", stands)


def refuses(error: Exception) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise error

    return refuse


@pytest.mark.usefixtures("open_link")
def test_receivers_that_cannot_be_opened_end_the_part(settings: NodeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full when the node started; once it has room nobody would hand out what the centre says."""
    monkeypatch.setattr(wiring, "notice_receivers", refuses(UnavailableError(Code.DISK_FULL)))
    assert code_of(lambda: run_part("link", settings, threading.Event())) is Code.DISK_FULL


@pytest.mark.usefixtures("open_link")
def test_a_fault_of_the_dispatcher_ends_the_part(settings: NodeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "notice_receivers", lambda _: {})
    monkeypatch.setattr(Dispatcher, "step", refuses(sqlite3.OperationalError("disk I/O error")))
    with pytest.raises(sqlite3.OperationalError):
        run_part("link", settings, threading.Event())


def test_a_forwarder_without_its_port_says_which_setting_to_change(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "notice_receivers", lambda _: {})
    with (
        socket.create_server(("127.0.0.1", settings.flower.forward_port)),
        pytest.raises(UnavailableError, match="forward_port") as raised,
    ):
        run_part("link", settings, threading.Event())
    assert raised.value.code is Code.PORT_TAKEN


def quickly(run: Callable[[asyncio.Event], Coroutine[None, None, None]], until: Callable[[], bool]) -> None:
    """Let something run that goes on until it is told to stop, until something holds."""

    async def both() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(run(stop))
        async with asyncio.timeout(SECONDS):
            while not until() and not running.done():  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.01)
        stop.set()
        await running

    asyncio.run(both())


def test_a_disk_that_takes_no_note_does_not_end_the_link(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forwarder stands beside it, and on that the weights of a round."""
    tries, fast = list[str](), Pace(backoff=Backoff(first=0.01, ceiling=0.01))

    def lost(_: ContactBook) -> None:
        tries.append("lost")
        raise UnavailableError(Code.DISK_FULL)

    monkeypatch.setattr(ContactBook, "lost", lost)
    gate, inbox, contact = open_gate(settings), open_inbox(settings), open_contact(settings)
    link = LinkClient(gate.outbox, inbox, contact, woken=lambda: None, pace=fast)
    quickly(
        lambda stop: link.run("localhost:1", refuses(UnavailableError(Code.MISSING_CERTIFICATE)), stop),
        lambda: len(tries) > 2,
    )


def test_nor_does_it_end_the_renewal(settings: NodeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    tries, fast = list[Code | None](), RenewalPace(backoff=Backoff(first=0.01, ceiling=0.01))

    def note(_: RenewalBook, code: Code | None) -> None:
        tries.append(code)
        raise UnavailableError(Code.DISK_FULL)

    monkeypatch.setattr(RenewalBook, "note", note)
    renewer = Renewer(
        settings.trust, settings.keys, open_renewals(settings), clock=utc_now, renewed=lambda: None, pace=fast
    )
    quickly(renewer.run, lambda: len(tries) > 2)
    assert set(tries) == {Code.MISSING_CERTIFICATE}
