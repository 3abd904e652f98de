"""What the serving process sets for itself before it serves."""

import sys

import pytest

from registry_api import serve
from registry_api.serve import HAND_OVER_SECONDS, hand_over_soon


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
