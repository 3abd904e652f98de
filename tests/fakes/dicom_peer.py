"""A receiver on loopback and the peers that send to it: pynetdicom on both sides, real associations."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at import

from client.receive.scp import Receiver
from protocol.errors import UnavailableError
from tests.fakes.node_home import Home

CALLER = "TESTPACS"


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)


@contextmanager
def receiving(home: Home) -> Iterator[None]:
    """Run a receiver in a thread; a fault of its own ends the wait for it and is raised."""
    stop, failed = threading.Event(), []

    def run() -> None:
        try:
            Receiver(home.store, home.pseudonyms, home.settings).run(stop)
        except UnavailableError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_for(lambda: bool(failed) or answers(home.settings.dicom.port))
        if failed:
            raise failed[0]
        yield
    finally:
        stop.set()
        thread.join(30)


def associate(port: int, *contexts: tuple[UID, UID], caller: str = CALLER, called: str = "ACINUS") -> Association:
    """Ask for an association with these (SOP class, transfer syntax) pairs; CT and the plainest syntax if none are named."""
    entity = AE(ae_title=caller)
    for sop_class, syntax in contexts or ((CTImageStorage, ExplicitVRLittleEndian),):
        entity.add_requested_context(sop_class, syntax)
    return entity.associate("127.0.0.1", port, ae_title=called)


def send(home: Home, datasets: Iterable[Dataset], *, caller: str = CALLER, called: str = "ACINUS") -> list[int]:
    """Send by C-STORE and return the statuses.

    Once in some ten thousand requests pynetdicom 3.0 loses the answer: its reactor, not yet asleep, takes it from the queue while the caller
    waits (`Association._is_paused` is still true). The instance is then sent again on a new association, once; a receiver that is silent fails.
    """
    association, statuses, lost = _established(home, caller, called), [], 0
    for dataset in datasets:
        answer = association.send_c_store(dataset)
        if "Status" not in answer and not lost:
            association, lost = _established(home, caller, called), 1
            answer = association.send_c_store(dataset)
        statuses.append(int(answer.Status))
    association.release()
    return statuses


def _established(home: Home, caller: str, called: str) -> Association:
    association = associate(home.settings.dicom.port, caller=caller, called=called)
    assert association.is_established
    return association


def echo(port: int, caller: str = CALLER) -> bool:
    """Say whether a C-ECHO is answered with success."""
    association = associate(port, (Verification, ExplicitVRLittleEndian), caller=caller)
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return int(status.Status) == 0
