"""Which earlier study is shown beside a read: the hospital chooses among those of the same patient when it posts. Pure."""

from collections.abc import Sequence

from client.gateway.records import Prior
from protocol.codes import Code
from protocol.errors import InvalidInputError

LATEST = "latest"


def choose(earlier: Sequence[tuple[str, int]], wanted: str) -> Prior:
    """Return the study that the hospital wants to show.

    Args:
        earlier: The patient's earlier studies with how many days earlier they are, the latest first.
        wanted: A study's key, or `latest`.

    Raises:
        InvalidInputError: `not-found` if it is none of them: a stranger's study is never shown beside.
    """
    found = next((one for one in earlier if wanted in {LATEST, one[0]}), None)
    if found is None:
        raise InvalidInputError(
            Code.NOT_FOUND,
            "That is no earlier, measured study of the same patient. Leave the prior out, or name one that the study's page lists.",
        )
    return Prior(*found)
