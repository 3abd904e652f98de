"""Looks for new releases and due alerts for as long as the registry serves. What one process leaves undone, the next look does."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError, RefusedError, UnavailableError
from registry_api.alerts.rules import question_for
from registry_api.alerts.sending import Carrier
from registry_api.alerts.service import Delivery, Wishes, give_up, raise_alerts, settle, take_delivery
from registry_api.logs import fault_of
from registry_api.releases.query import spelt
from registry_api.runtime import Runtime

log = logging.getLogger(__name__)

_AT_ONCE = 20


@dataclass(slots=True)
class Watch:
    """One process's look-out."""

    runtime: Runtime
    carrier: Carrier
    _seen: int = field(default=0, init=False)

    def look(self) -> int:
        """Set off what a new release fulfils and deliver what is due; return how many alerts were delivered."""
        self._look_at_release()
        return sum(self._deliver(delivery) for delivery in self._due())

    def _look_at_release(self) -> None:
        archive, database = self.runtime.archive, self.runtime.database
        try:
            with database.reading() as session:
                entry = archive.entry(session)
                document = archive.open(session, entry) if entry.number != self._seen else None
        except InvalidInputError:
            return  # nothing is released yet
        if document is not None:
            with database.writing() as session:
                raised = raise_alerts(session, document, built_at=entry.built_at, now=self.runtime.clock())
            self._seen = entry.number
            log.info("alerts.raised", extra={"release": entry.number, "alerts": raised})

    def _due(self) -> Iterator[Delivery]:
        """Take what is due one by one: the lease of the last must not run while the first is on its way."""
        for _ in range(_AT_ONCE):
            with self.runtime.database.writing() as session:
                delivery = take_delivery(session, now=self.runtime.clock())
            if delivery is None:
                break
            yield delivery

    def _deliver(self, delivery: Delivery) -> bool:
        """Deliver one alert, if it may still go where its rule says; what happens to it must not keep the others."""
        try:
            self._carry(delivery)
        except UnavailableError as error:
            log.warning("alerts.not-delivered", extra={"attempts": delivery.attempts, "code": error.code})
            self._settle(delivery, delivered=False)
        except FederationError as error:
            log.warning("alerts.given-up", extra={"code": error.code})
            with self.runtime.database.writing() as session:
                give_up(session, delivery)
        except Exception as error:  # noqa: BLE001 — the rim of one delivery: it must not keep the others from being made
            log.error("alerts.fault", extra=fault_of(error))  # noqa: TRY400 — the text may quote the target
            self._settle(delivery, delivered=False)
        else:
            self._settle(delivery, delivered=True)
            return True
        return False

    def _carry(self, delivery: Delivery) -> None:
        """Hold the delivery against what is allowed now, write down who reads what, and take it out.

        Raises:
            FederationError: Of the family of UnavailableError if it is worth another try.
        """
        if not delivery.may_be_told:
            raise RefusedError(
                Code.FORBIDDEN, "The rule's person was removed, has another role, or does not see the place any more."
            )
        Wishes.of(self.runtime.settings).check(delivery.target)
        question = spelt(question_for(delivery.condition))
        self.runtime.read_log.note(delivery.person_id, what="alert", release=delivery.release, question=question)
        self.carrier.carry(delivery)

    def _settle(self, delivery: Delivery, *, delivered: bool) -> None:
        with self.runtime.database.writing() as session:
            settle(session, delivery, delivered=delivered, now=self.runtime.clock())
