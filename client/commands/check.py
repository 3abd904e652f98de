"""One thing that `acinus-node doctor` looked at: what it found, and whether it is as it should be."""

from collections.abc import Callable
from dataclasses import dataclass

from client.settings import NodeSettings
from protocol.codes import Code
from protocol.errors import FederationError, error_for


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `code` is none if it is as it should be."""

    name: str
    said: str
    code: Code | None = None
    advice: bool = False
    """Worth a look, but nothing fails because of it."""

    @property
    def holds(self) -> bool:
        """Whether nothing has to be fixed."""
        return self.code is None

    @property
    def exit_code(self) -> int:
        """The exit code of the failure's family; 0 without one."""
        return 0 if self.code is None else error_for(self.code).exit_code

    def line(self) -> str:
        """Return the check for a person."""
        sign = "✗" if not self.holds else "!" if self.advice else "✓"
        return f"{sign} {self.name:<12} {self.said}"

    def as_json(self) -> dict[str, object]:
        """Return the check for a script."""
        return {"name": self.name, "ok": self.holds, "advice": self.advice, "code": self.code, "said": self.said}


Look = Callable[[NodeSettings], Check]
"""Looks at one thing; what it raises is what it found, under the look's own name."""


def looked(look: Look, settings: NodeSettings) -> Check:
    """Return what a look found, also if it raised it."""
    try:
        return look(settings)
    except FederationError as error:
        return Check(look.__name__.strip("_").replace("_", " "), str(error), error.code)
