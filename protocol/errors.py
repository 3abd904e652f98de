"""The error families of all three programs.

    FederationError            carries a code of `protocol.codes`
    ├── InvalidInputError      HTTP 422 · exit 2    bad DICOM, bad settings, bad requests
    ├── ConflictError          HTTP 409 · exit 3    illegal transition, used invite, stale fence
    ├── RefusedError           HTTP 403 · exit 4    policy, budget, signature, permission
    └── UnavailableError       HTTP 503 · exit 5    disk, network, peer

A message says what, where and what to do next, and never quotes a value from DICOM or from a person's
record. What crosses to the centre is the code alone.
"""

from typing import ClassVar

from protocol.codes import MEANINGS, Code, Family


class FederationError(Exception):
    """A fault with a code that a script can match on."""

    family: ClassVar[Family]
    http_status: ClassVar[int]
    exit_code: ClassVar[int]

    def __init__(self, code: Code, message: str = "") -> None:
        """Keep `code`; without a `message` the code's own meaning is used.

        Raises:
            TypeError: If `code` belongs to another family (a programming error).
        """
        family, meaning = MEANINGS[code]
        if family is not self.family:
            raise TypeError(f"{code} belongs to {family}, not to {type(self).__name__}")
        super().__init__(message or meaning)
        self.code = code


class InvalidInputError(FederationError):
    """Something that was given cannot be used as it is."""

    family = Family.INVALID
    http_status = 422
    exit_code = 2


class ConflictError(FederationError):
    """Somebody or something else was first."""

    family = Family.CONFLICT
    http_status = 409
    exit_code = 3


class RefusedError(FederationError):
    """A rule says no, and says so again until a person changes something."""

    family = Family.REFUSED
    http_status = 403
    exit_code = 4


class UnavailableError(FederationError):
    """A disk, a network or a peer does not serve at the moment."""

    family = Family.UNAVAILABLE
    http_status = 503
    exit_code = 5


FAMILIES: dict[Family, type[FederationError]] = {
    kind.family: kind for kind in (InvalidInputError, ConflictError, RefusedError, UnavailableError)
}


def error_for(code: Code, message: str = "") -> FederationError:
    """Return the error of the family that `code` belongs to."""
    return FAMILIES[MEANINGS[code][0]](code, message)
