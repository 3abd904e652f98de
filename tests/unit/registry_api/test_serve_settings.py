"""What the serving process sets for itself before it serves."""

import asyncio
import gc
import socket
import sys
from types import SimpleNamespace

import pytest

from registry_api import serve
from registry_api.serve import HAND_OVER_SECONDS, hand_over_soon, keep_what_is_loaded


def test_threads_hand_the_interpreter_over_sooner_than_by_default() -> None:
    before = sys.getswitchinterval()
    try:
        hand_over_soon()
        assert sys.getswitchinterval() == pytest.approx(HAND_OVER_SECONDS)
        assert before > HAND_OVER_SECONDS
    finally:
        sys.setswitchinterval(before)


def test_serving_begins_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class HandedOverError(Exception):
        pass

    def handed_over() -> None:
        raise HandedOverError

    monkeypatch.setattr(serve, "hand_over_soon", handed_over)
    with pytest.raises(HandedOverError):
        serve.serve(None).send(None)  # type: ignore[arg-type] - nothing of it is looked at before


def test_an_answer_does_not_wait_for_the_callers_machine_to_say_that_it_has_its_beginning() -> None:
    """It leaves in two pieces; by default the second waits for the first to be acknowledged, forty milliseconds later."""
    runtime = SimpleNamespace(settings=SimpleNamespace(http=SimpleNamespace(host="127.0.0.1", port=0)))
    with serve.open_http_socket(runtime) as listener, socket.create_connection(listener.getsockname()):  # type: ignore[arg-type]
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_is_loaded_is_not_looked_at_again_when_rubbish_is_collected() -> None:
    """A look at all of it stops every request for longer than a claim may take."""
    loaded: list[object] = []
    try:
        keep_what_is_loaded()
        assert gc.get_freeze_count() > len(sys.modules)
        assert not any(one is loaded for one in gc.get_objects())
    finally:
        gc.unfreeze()


def test_that_is_done_before_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    class Web:
        async def serve(self, **_: object) -> None:
            steps.append("serves")

    async def done(*_: object) -> None:
        steps.append("link")

    class Carrier:
        async def run(self) -> None:
            steps.append("carries")

    closing = SimpleNamespace(close=lambda: steps.append("closed"))
    settings = SimpleNamespace(http=SimpleNamespace(port=1), link=SimpleNamespace(port=2))
    runtime = SimpleNamespace(database=closing, clock=None, read_log=closing, settings=settings)
    monkeypatch.setattr(serve, "Courier", lambda *_: Carrier())
    monkeypatch.setattr(serve, "open_link", lambda *_: SimpleNamespace(start=done, stop=done))
    monkeypatch.setattr(serve, "keep_what_is_loaded", lambda: steps.append("kept"))
    asyncio.run(serve._serve_both(runtime, Web(), object()))  # type: ignore[arg-type]
    assert steps == ["link", "kept", "serves", "link", "closed", "closed"]
