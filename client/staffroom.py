"""What the console works with, opened from the node's settings: accounts, the way in, proposals, and what a person may ask for."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from client.gate import gate
from client.gate.audit import HEAD_FILE, AuditChain
from client.gate.policy_file import load_policy
from client.rooms.border import open_gate, policy_source, utc_now
from client.rooms.imaging import open_context, open_context_desk, open_pseudonyms, open_store
from client.rooms.keeping import open_remover
from client.rooms.pacs import open_report_queue, retry_pulling, retry_sending
from client.rooms.reading import open_privileges, open_reads
from client.rooms.state import status_of
from client.rooms.training import open_ledger
from client.settings import NodeSettings
from client.store import tables
from client.store.database import connect
from protocol.errors import RefusedError

if TYPE_CHECKING:
    from client.console.proposals import Proposals
    from client.console.ward import Spent, Ward
    from client.gateway.book import Book
    from client.gateway.counter import Counter
    from client.gateway.keys import ReaderKeys
    from client.gateway.reports import Reports
    from client.receive.intake import Taken
    from client.staff.accounts import Accounts
    from client.staff.entrance import Entrance
    from client.staff.oidc import Oidc
    from client.staff.passwords import Cost
    from client.store.labelling import Labelling


def open_spending(settings: NodeSettings) -> "Callable[[], Spent]":
    """Return a view of the ledger that replays the history only when it has grown: the accountants take a moment."""
    from client.console.ward import Spent

    opened, known = cache(open_ledger), dict[tuple[int, float], Spent]()

    def look() -> Spent:
        """Return what is spent now, from memory if no charge and no other delta has come."""
        from client.ledger.account import course

        ledger, delta = opened(settings), load_policy(settings.policy).training.delta
        try:
            charges = ledger.history()
        except RefusedError:
            return Spent(epsilon=math.inf, charges=(), broken=True)
        at = (len(charges), delta)
        if at not in known:
            known.clear()
            events = [charge.spend.event for charge in charges]
            known[at] = Spent(epsilon=ledger.epsilon(delta), charges=charges, course=course(events, delta))
        return known[at]

    return look


def open_labelling(settings: NodeSettings) -> "Labelling":
    """Return the labels as a person decides on them."""
    from client.store.labelling import Labelling

    return Labelling(connect(settings.database, tables.SCHEMA))


def open_accounts(
    settings: NodeSettings, clock: Callable[[], datetime] = utc_now, cost: "Cost | None" = None
) -> "Accounts":
    """Return the accounts of the hospital's staff."""
    from client.staff.accounts import SCHEMA, Accounts
    from client.staff.passwords import USUAL

    return Accounts(connect(settings.database, SCHEMA), lambda: clock().timestamp(), cost or USUAL)


def open_entrance(
    settings: NodeSettings,
    accounts: "Accounts",
    clock: Callable[[], datetime],
    *,
    token: str | None,
    cost: "Cost | None",
) -> "Entrance":
    """Return the way into the console; without a token, it is not one."""
    from client.staff.entrance import Entrance
    from client.staff.passwords import USUAL
    from client.staff.sessions import Sessions, Span

    console = settings.console
    span = Span(idle=timedelta(minutes=console.idle_minutes), whole=timedelta(hours=console.session_hours))
    return Entrance(accounts, Sessions(accounts, clock, span), clock, token=token, cost=cost or USUAL)


def open_oidc(settings: NodeSettings, clock: Callable[[], datetime]) -> "Oidc | None":
    """Return the hospital's identity provider, if the settings name one."""
    from client.staff.oidc import Oidc

    if not settings.oidc.issuer:
        return None
    return Oidc(settings.oidc, home=settings.home, origin=settings.console.address, clock=clock)


def open_proposals(
    settings: NodeSettings, accounts: "Accounts", clock: Callable[[], datetime] = utc_now
) -> "Proposals":
    """Return the policy file and the changes proposed to it, on one connection with the audit that tells of them."""
    from client.console.proposals import SCHEMA, Proposals

    connection = connect(settings.database, gate.SCHEMA, SCHEMA)
    audit = AuditChain(connection, settings.home / HEAD_FILE, clock)
    patience = timedelta(hours=settings.console.proposal_hours)
    return Proposals(connection, settings.policy, audit, accounts, clock, patience=patience)


def open_ward(
    settings: NodeSettings, *, token: str | None, clock: Callable[[], datetime] = utc_now, cost: "Cost | None" = None
) -> "Ward":
    """Return all that the staff page works with.

    Args:
        settings: The node's.
        token: The console's, if it opens the door.
        clock: The time.
        cost: Of a password's hash.

    Raises:
        InvalidInputError: `bad-setting` if a file of the settings cannot be read.
    """
    from client.console.ward import Ward
    from client.store.aside import Aside
    from client.store.search import Search

    accounts = open_accounts(settings, clock, cost)
    book, keys, _, reports = open_reads(settings)
    return Ward(
        name=settings.site.name,
        port=settings.console.port,
        origin=settings.console.address,
        entrance=open_entrance(settings, accounts, clock, token=token, cost=cost),
        accounts=accounts,
        oidc=open_oidc(settings, clock),
        store=open_store(settings),
        search=Search(connect(settings.database, tables.SCHEMA)),
        aside=Aside(connect(settings.database, tables.SCHEMA), settings.quarantine),
        labelling=open_labelling(settings),
        proposals=open_proposals(settings, accounts, clock),
        keys=keys,
        reads=book.requests,
        counter=open_counter(settings, book, keys, reports),
        privileges=open_privileges(settings),
        sent_on=open_report_queue(settings),
        send_again=lambda: retry_sending(settings),
        pull_again=lambda: retry_pulling(settings),
        spent=open_spending(settings),
        policy=policy_source(settings),
        status=lambda: status_of(settings),
        audit=open_gate(settings).audit,
        take_again=lambda sha256: take_again(settings, sha256),
        say=lambda study_key, row: open_context_desk(settings).hear_staff(study_key, row),
        known=open_context(settings).conclusion,
        delete=lambda study_key, patient: delete_study(settings, study_key, of_patient=patient),
    )


def open_counter(settings: NodeSettings, book: "Book", keys: "ReaderKeys", reports: "Reports") -> "Counter":
    """Return what staff do with reads, on the connection of the book."""
    from client.gateway.counter import Counter
    from client.gateway.messages import Messages
    from client.infer.earlier import earlier_studies

    gate, store = open_gate(settings), open_store(settings)
    return Counter(
        book=book,
        gate=gate,
        reports=reports,
        messages=Messages(book, gate),
        keys=keys,
        store=store,
        policy=policy_source(settings),
        earlier=lambda study_key: earlier_studies(store, study_key),
    )


def delete_study(settings: NodeSettings, study_key: str, *, of_patient: bool) -> list[str]:
    """Delete a study, or every study of its patient, on connections of its own: it may run in any thread. Return their keys.

    Raises:
        InvalidInputError: `not-found`.
        ConflictError: `illegal-transition` if a read is under way.
        UnavailableError: `disk-full`.
    """
    remover = open_remover(settings)
    keys = remover.of_subject(study_key) if of_patient else [study_key]
    for key in keys:
        remover.delete(key, facts_of_patient=of_patient)
    return keys


def take_again(settings: NodeSettings, sha256: str) -> "Taken":
    """Take a quarantined instance in again, on connections of its own: it may run in any thread.

    Raises:
        InvalidInputError: `not-found`.
        UnavailableError: `disk-full`, `missing-certificate` without the key of pseudonyms.
    """
    from client.receive import again
    from client.receive.intake import Intake
    from client.store.aside import Aside

    aside = Aside(connect(settings.database, tables.SCHEMA), settings.quarantine)
    intake = Intake(open_store(settings), open_pseudonyms(settings))
    return again.take_again(sha256, aside=aside, intake=intake, folder=settings.instances.parent / "again")
