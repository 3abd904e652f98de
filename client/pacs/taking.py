"""What this room needs of the node's one door (`client.receive.intake`), and a header's names of an instance."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from client.store.part10 import read_part10
from protocol.codes import Code
from protocol.errors import InvalidInputError

_TAGS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"]


class Taken(Protocol):
    """What became of an instance: durable and indexed, or durable in quarantine with a code."""

    @property
    def study_key(self) -> str | None:
        """The study's key, if the header could be read."""

    @property
    def code(self) -> Code | None:
        """Why it went to quarantine."""


Take = Callable[[Path], Taken]
"""Takes a spooled file in; when it returns, the instance survives a power cut. Raises `UnavailableError`: `disk-full`."""


@dataclass(frozen=True, slots=True)
class Named:
    """An instance's own names; they go back to its sender only, never into a log or the index."""

    sop_class: str
    instance: str
    study: str


def named(spooled: Path) -> Named | None:
    """Return the names in the header at `spooled`; `None` if it cannot be read or lacks one of them."""
    try:
        header = read_part10(spooled, pixels=False, tags=_TAGS)
        names = Named(*(str(header.get(keyword) or "").strip() for keyword in _TAGS))
    except InvalidInputError:
        return None
    return names if names.sop_class and names.instance and names.study else None
