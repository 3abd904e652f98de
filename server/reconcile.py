"""Keeps the SuperLink's list of SuperNode keys equal to the registry's list of active sites."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from protocol.enrolment import SiteEntry
from protocol.errors import ConflictError
from strategies.flower import ConnectedNode, Fleet, key_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Changes:
    """What must be done: sites to be let in with their keys, SuperNodes to be shut out."""

    register: tuple[tuple[str, str], ...]
    unregister: tuple[ConnectedNode, ...]

    def __bool__(self) -> bool:
        return bool(self.register or self.unregister)


def changes(entries: Sequence[SiteEntry], nodes: Sequence[ConnectedNode]) -> Changes:
    """Return what makes the SuperLink agree with the registry. A key that moved to another site is shut out and not let in again."""
    wanted = {key_bytes(e.supernode_key): e for e in entries if e.active and e.supernode_key is not None}
    present = {node.public_key for node in nodes}
    return Changes(
        register=tuple((entry.site, entry.supernode_key or "") for key, entry in wanted.items() if key not in present),
        unregister=tuple(
            node for node in nodes if node.public_key not in wanted or wanted[node.public_key].site != node.name
        ),
    )


class Reconciler:
    """Applies the changes, and remembers keys that Flower does not take back, so that it asks once."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._spent: set[str] = set()

    def apply(self, entries: Sequence[SiteEntry]) -> None:
        """Make the SuperLink agree with the registry.

        Raises:
            UnavailableError: `peer-unreachable` if the SuperLink does not answer; what was not done is done the next time.
        """
        todo = changes(entries, self._fleet.nodes())
        for node in todo.unregister:
            self._fleet.unregister(node.node_id)
            log.info("supernode.unregistered", extra={"site": node.name})
        for site, key in todo.register:
            if key not in self._spent:
                self._register(site, key)

    def _register(self, site: str, key: str) -> None:
        try:
            self._fleet.register(site, key)
        except ConflictError:
            self._spent.add(key)
            log.warning("supernode.key-spent", extra={"site": site})
            return
        log.info("supernode.registered", extra={"site": site})
