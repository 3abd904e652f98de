"""The lists of releases are signed again and again, whatever goes wrong in between: who stops is believed for a week and no longer."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from protocol.codes import Code
from protocol.errors import UnavailableError
from server.freshness import AGAIN_SECONDS, keep_fresh


@dataclass
class Ending(threading.Event):
    """Ends the loop after so many waits, and keeps how long each was."""

    after: int
    waits: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return len(self.waits) > self.after


def failing(*faults: Exception | None) -> Callable[[], None]:
    """What fails in turn by `faults`, and does its work for each `None`."""
    coming = iter(faults)

    def renew() -> None:
        fault = next(coming)
        if fault is not None:
            raise fault

    return renew


def test_what_is_signed_is_signed_again_four_times_a_day() -> None:
    ended = Ending(3)
    keep_fresh(failing(None, None, None), ended)
    assert ended.waits == [0.0, AGAIN_SECONDS, AGAIN_SECONDS, AGAIN_SECONDS]


@pytest.mark.parametrize(
    "fault", [UnavailableError(Code.PEER_UNREACHABLE), OSError(5, "Input/output error"), ValueError()]
)
def test_what_fails_is_tried_again_ever_more_patiently_and_then_as_before(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Also what is no error of ours: a thread that ended would be missed when every node's list has expired."""
    ended = Ending(5)
    keep_fresh(failing(fault, fault, fault, None, fault), ended)
    assert ended.waits == [0.0, 1.0, 2.0, 4.0, AGAIN_SECONDS, 1.0]
    assert [record.message for record in caplog.records].count("releases.not-signed") == 4
