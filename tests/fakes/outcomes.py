"""What came of a call: nothing wrong, or a code. Any other exception escapes and fails the test."""

from collections.abc import Callable

from protocol.codes import Code
from protocol.errors import FederationError


def code_of(act: Callable[[], object]) -> Code | None:
    try:
        act()
    except FederationError as error:
        return error.code
    return None
