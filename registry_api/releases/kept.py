"""Answers as bytes, kept until the room is needed: a release never changes, so neither does what is read from it."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

_ROOM_BYTES = 64 << 20


class Kept:
    """The answers that were asked for last, up to a number of bytes."""

    def __init__(self, room: int = _ROOM_BYTES) -> None:
        self._room = room
        self._held = 0
        self._answers: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, tag: str, render: Callable[[], bytes]) -> bytes:
        """Return the answer of that tag, rendered if it is not there. Two who ask at once may both render it."""
        with self._lock:
            if tag in self._answers:
                self._answers.move_to_end(tag)
                return self._answers[tag]
        body = render()
        with self._lock:
            self._keep(tag, body)
        return body

    def _keep(self, tag: str, body: bytes) -> None:
        """Make room by forgetting what was asked for longest ago; what is larger than all the room is not kept."""
        if tag in self._answers or len(body) > self._room:
            return
        self._answers[tag] = body
        self._held += len(body)
        while self._held > self._room:
            _, gone = self._answers.popitem(last=False)
            self._held -= len(gone)
