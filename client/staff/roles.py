"""What a person of the hospital may be. What each role may do stands in one table, `client.console.rights`. Pure."""

from collections.abc import Iterable
from enum import StrEnum

from protocol.codes import Code
from protocol.errors import InvalidInputError


class Role(StrEnum):
    """A closed list. A person may have several."""

    VIEWER = "viewer"
    TECHNICIAN = "technician"
    RADIOLOGIST = "radiologist"
    ADMINISTRATOR = "administrator"
    SETUP = "setup"
    """Whoever knows the console's token. No account has it: the token says nothing of who holds it."""


GRANTED = (Role.VIEWER, Role.TECHNICIAN, Role.RADIOLOGIST, Role.ADMINISTRATOR)
"""What an account may have."""

MEANS = {
    Role.VIEWER: "sees findings",
    Role.TECHNICIAN: "sees findings, sorts the quarantine, asks for a new measurement",
    Role.RADIOLOGIST: "sees findings, decides on labels and readers, confirms changes of the policy",
    Role.ADMINISTRATOR: "manages accounts and quarantine, proposes and confirms changes of the policy; sees no finding",
}


def roles_of(words: Iterable[str]) -> frozenset[Role]:
    """Return the roles that `words` name.

    Raises:
        InvalidInputError: `bad-request` if there is none, or one that no account may have.
    """
    asked = set(words)
    if not asked or not asked <= {role.value for role in GRANTED}:
        raise InvalidInputError(
            Code.BAD_REQUEST, f"Roles are {', '.join(GRANTED)}; an account has one of them at least. Name those."
        )
    return frozenset(Role(word) for word in asked)


def words_of(roles: Iterable[Role]) -> list[str]:
    """Return roles as words, in the order of the list."""
    held = set(roles)
    return [role.value for role in Role if role in held]
