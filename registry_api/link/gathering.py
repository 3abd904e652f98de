"""Parcels of many nodes at once: what waits while one transaction is being stored goes into the next one together.

A commit waits for the disk, and a thousand nodes would wait for a thousand of them. Each node still gets its verdict after the commit that
holds its parcel, and the verdict that `intake.take` would have given.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col

from protocol.case import CaseRecord
from protocol.errors import FederationError, UnavailableError
from protocol.parcel import parse_parcel
from registry_api.cases.bases import withdrawn_bases
from registry_api.cases.service import accept_cases, check_case
from registry_api.database import Database
from registry_api.link.intake import Outcome, is_envelope_id, sha256_of, take
from registry_api.link.tables import ParcelRow
from registry_api.logs import fault_of

log = logging.getLogger(__name__)

TOGETHER_MOST = 512


@dataclass(frozen=True, slots=True)
class Sent:
    """A parcel as a node sent it."""

    site: str
    envelope_id: str
    body: bytes

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by."""
        return self.site, self.envelope_id


class Gathering:
    """Where streams leave their parcels; of one event loop."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock
        self._waiting: list[tuple[Sent, asyncio.Future[Outcome]]] = []
        self._working: asyncio.Task[None] | None = None

    def put(self, sent: Sent) -> asyncio.Future[Outcome]:
        """Leave a parcel; the verdict comes once it is stored durably or refused for good.

        It fails with UnavailableError if the parcel can be neither stored nor refused now; the node must send it again.
        """
        verdict: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((sent, verdict))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return verdict

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:TOGETHER_MOST], self._waiting[TOGETHER_MOST:]
            sent = [parcel for parcel, _ in batch]
            try:
                outcomes = await asyncio.to_thread(take_many, self._database, sent, now=self._clock())
            except Exception as error:  # noqa: BLE001 — handed on to everybody who waits for it
                outcomes = [error] * len(batch)
            else:
                log.info(
                    "link.parcels", extra={"taken": len(outcomes)}
                )  # each stands in the database, with its site and time
            for (_, verdict), outcome in zip(batch, outcomes, strict=True):
                _tell(verdict, outcome)


def _tell(verdict: asyncio.Future[Outcome], outcome: Outcome | Exception) -> None:
    if verdict.done():
        return
    if isinstance(outcome, Exception):
        verdict.set_exception(outcome)
        verdict.exception()  # whoever has gone meanwhile does not ask for it, which is no fault to be logged
    else:
        verdict.set_result(outcome)


def take_many(database: Database, parcels: Sequence[Sent], *, now: datetime) -> list[Outcome | Exception]:
    """Return the outcome of each parcel, as `take` would have given it; where `take` fails, what it raised: that node alone is told so.

    New case records that nothing speaks against are stored in one transaction; all others go through `take` one by one after it, and
    so does everything of a site that uses an id twice among them: which of the two counts depends on what happens to the first.

    Raises:
        UnavailableError: If they can be neither stored nor refused now.
    """
    try:
        stored = _take_together(database, parcels, now)
    except UnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 — two processes at once, or a fault that one of them brings: one by one then
        log.warning("link.one-by-one", extra={"parcels": len(parcels), **fault_of(error)})
        stored = set()
    return [Outcome(accepted=True) if parcel.key in stored else _take(database, parcel, now) for parcel in parcels]


def _take_together(database: Database, parcels: Sequence[Sent], now: datetime) -> set[tuple[str, str]]:
    """Store what can be stored in one transaction; return the keys of what was."""
    repeating = {site for (site, _), times in Counter(parcel.key for parcel in parcels).items() if times > 1}
    records = {
        parcel: record
        for parcel in parcels
        if parcel.site not in repeating and (record := _record_of(parcel, now)) is not None
    }
    if not records:
        return set()
    with database.writing() as session:
        return _store_together(session, records, now=now)


def _take(database: Database, parcel: Sent, now: datetime) -> Outcome | Exception:
    try:
        return take(database, parcel.site, envelope_id=parcel.envelope_id, body=parcel.body, now=now)
    except UnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 — the rim of one parcel: its fault must not keep the verdicts of others from their nodes
        return error


def _record_of(parcel: Sent, now: datetime) -> CaseRecord | None:
    """Return the case record in a parcel, unless it is another kind or something is wrong with it."""
    if not is_envelope_id(parcel.envelope_id):
        return None
    try:
        content = parse_parcel(parcel.body)
        if not isinstance(content, CaseRecord):
            return None
        check_case(content, today=now.date())
    except FederationError:
        return None
    return content


def _store_together(session: Session, records: dict[Sent, CaseRecord], *, now: datetime) -> set[tuple[str, str]]:
    """Store what is new and rests on a basis that holds; return the keys of what was stored."""
    fallen = withdrawn_bases(session, {parcel.site for parcel in records})
    sound = [
        parcel
        for parcel, record in records.items()
        if record.withdrawn or (parcel.site, record.legal_basis.value) not in fallen
    ]
    if not sound:
        return set()
    rows = [
        {"site": one.site, "envelope_id": one.envelope_id, "body_sha256": sha256_of(one.body), "accepted_at": now}
        for one in sound
    ]
    connection = session.connection()
    new = {
        (site, envelope_id) for site, envelope_id in connection.execute(_unless_known(connection.dialect.name), rows)
    }
    accept_cases(session, ((one.site, records[one]) for one in sound if one.key in new), now)
    return new


@cache
def _unless_known(dialect: str) -> Any:
    """Return the statement that stores a parcel and returns its key, or does nothing if it is there."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(ParcelRow).on_conflict_do_nothing().returning(col(ParcelRow.site), col(ParcelRow.envelope_id))
