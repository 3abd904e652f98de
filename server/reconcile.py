"""Keeps the SuperLink's list of SuperNode keys equal to the registry's list of active sites."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from protocol.enrolment import SiteEntry
from protocol.errors import ConflictError
from strategies.flower.fleet import ConnectedNode, Fleet, key_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Changes:
    """What must be done: sites to be let in with their keys, SuperNodes to be shut out."""

    register: tuple[tuple[str, str], ...]
    unregister: tuple[ConnectedNode, ...]

    def __bool__(self) -> bool:
        return bool(self.register or self.unregister)


def changes(entries: Sequence[SiteEntry], nodes: Sequence[ConnectedNode]) -> Changes:
    """Return what makes the SuperLink agree with the registry.

    A key that moved to another site is shut out and not let in again. A key that two sites claim stays with the one that has it.
    """
    claims = _claims(entries)
    present = {node.public_key for node in nodes}
    new = [claimed[0] for key, claimed in claims.items() if key not in present and len(claimed) == 1]
    return Changes(
        register=tuple((entry.site, entry.supernode_key or "") for entry in new),
        unregister=tuple(
            node for node in nodes if node.name not in {entry.site for entry in claims.get(node.public_key, ())}
        ),
    )


def _claims(entries: Sequence[SiteEntry]) -> dict[bytes, list[SiteEntry]]:
    """Return the active sites by their key, in Flower's form: one key may be written in more than one way. What is no key is left out."""
    claims: dict[bytes, list[SiteEntry]] = {}
    for entry in entries:
        if not entry.active or entry.supernode_key is None:
            continue
        try:
            claims.setdefault(key_bytes(entry.supernode_key), []).append(entry)
        except ValueError:
            log.warning("supernode.key-unreadable", extra={"site": entry.site})
    return claims


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
