"""Staff's log-in at the hospital's identity provider: whom it vouches for, and which roles its groups give."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from client.sections import OidcSettings
from client.staff.roles import Role
from identity.flows import Flow, MemoryFlows
from identity.provider import Provider
from protocol.codes import Code
from protocol.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the provider vouches for. `key` is a hash of issuer and subject."""

    key: str
    name: str
    roles: frozenset[Role]


class Oidc:
    """The console as a client of one provider. One object per event loop."""

    def __init__(self, settings: OidcSettings, *, home: Path, origin: str, clock: Callable[[], datetime]) -> None:
        """Prepare the client; nothing is asked of the provider yet.

        Args:
            settings: The table `[oidc]`.
            home: The node's folder, from which file names count.
            origin: Where staff's browsers reach the console.
            clock: The time.

        Raises:
            InvalidInputError: `bad-setting` if a file of the settings cannot be read.
        """
        self._provider = Provider(settings, home=home, origin=origin, clock=clock, flows=MemoryFlows(clock))
        self._groups = settings.roles.model_dump()

    async def begin(self) -> tuple[str, Flow]:
        """Return the provider's address to send the browser to, and the log-in that has begun.

        Raises:
            UnavailableError: `peer-unreachable` if the provider does not answer as it should.
        """
        return await self._provider.begin()

    async def finish(self, answer: dict[str, str], binding: str | None) -> Person:
        """Return whom the provider vouches for.

        Args:
            answer: The parameters with which the browser came back.
            binding: Its cookie from the beginning.

        Raises:
            RefusedError: `unauthenticated`, or `forbidden` if no role belongs to the person.
            UnavailableError: `peer-unreachable`.
        """
        vouched = await self._provider.finish(answer, binding)
        roles = frozenset(Role(role) for role, groups in self._groups.items() if vouched.groups & set(groups))
        if not roles:
            raise RefusedError(
                Code.FORBIDDEN,
                "The hospital knows you, but gives you no role here. Ask IT for a group that [oidc.roles] names.",
            )
        return Person(vouched.key, vouched.name, roles)
