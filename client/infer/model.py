"""A network and the release that it is: what the shelf gives and measuring takes. Light, so that asking for a name loads nothing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to import
    from models.net import GgoNet


@dataclass(frozen=True, slots=True)
class Model:
    """A network and the release that it is."""

    release: str
    net: "GgoNet"
