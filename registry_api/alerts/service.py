"""Making alert rules, setting alerts off, and handing them out to be delivered."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete, select, update

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.addresses import https_host
from registry_api.alerts.rules import Condition, Measure, judge, question_for, read_values, written_values
from registry_api.alerts.tables import AlertRow, AlertRuleRow
from registry_api.people.roles import Role
from registry_api.people.tables import PersonRow
from registry_api.releases.document import Document
from registry_api.releases.query import may_see
from registry_api.settings import RegistrySettings

RULES_MOST = 50
ATTEMPTS_MOST = 8
OWNERS = frozenset({Role.MINISTRY, Role.COORDINATOR})
"""Who has rules. What a role is at an organisation's log-in may change, and most roles have no place, which alone would let them see all."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_MAIL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?P<domain>{_LABEL}(?:\.{_LABEL})*)")
"""RFC 5322's dot-atom at a host name: nothing in it can be read in two ways."""

_LEASE = timedelta(minutes=5)
"""So long a delivery is left to the process that took it."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """Where alerts may go: what the coordinator's settings name, so that a rule cannot send to anybody or reach into the centre's own network."""

    mail_domains: Sequence[str]
    webhook_hosts: Sequence[str]

    @classmethod
    def of(cls, settings: RegistrySettings) -> Self:
        """Return what the settings allow."""
        return cls(settings.alerts.mail_domains, settings.alerts.webhook_hosts)

    def check(self, target: str) -> None:
        """Hold a target against them.

        Raises:
            InvalidInputError: `bad-request`.
        """
        if target.startswith("https://"):
            fits = https_host(target) in self.webhook_hosts
            where = f"webhooks of {', '.join(self.webhook_hosts) or 'no host'}"
        else:
            fits = mail_domain(target) in self.mail_domains
            where = f"addresses at {', '.join(self.mail_domains) or 'no domain'}"
        if not fits:
            raise InvalidInputError(
                Code.BAD_REQUEST, f"Alerts go to {where}. The coordinator can allow others under [alerts]."
            )


def mail_domain(target: str) -> str | None:
    """Return the domain of a mail address, None of what is not one plain address: RFC 5322 also knows comments, groups and quotation."""
    found = _MAIL.fullmatch(target)
    return found["domain"].lower() if found else None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An alert to be delivered, with all that the message says."""

    alert_id: str
    target: str
    condition: Condition
    week: str
    release: int
    measured: float
    count: int
    attempts: int
    person_id: str
    may_be_told: bool
    """Whether the rule's person is still there, of a role that has rules, and still sees the place."""


def add_rule(
    session: Session,
    person: tuple[str, str | None],
    condition: Condition,
    *,
    target: str,
    wishes: Wishes,
    now: datetime,
) -> str:
    """Add a rule for a person, given as id and the place they may see; return the rule's id.

    Raises:
        InvalidInputError: `bad-request` or `too-fine` if the condition, the target or the number of rules cannot be; `not-found` for
            a place that the person does not see.
    """
    person_id, region = person
    if not may_see(condition.place, region):
        raise InvalidInputError(Code.NOT_FOUND, f"There are no counts of {condition.place} that you may see.")
    question_for(condition)
    wishes.check(target)
    if len(list_rules(session, person_id)) >= RULES_MOST:
        raise InvalidInputError(Code.BAD_REQUEST, f"At most {RULES_MOST} rules. Remove one first.")
    row = AlertRuleRow(
        id=secrets.token_hex(16),
        person_id=person_id,
        place=condition.place,
        categories=written_values(condition.values),
        measure=condition.measure.value,
        threshold=condition.threshold,
        above=condition.above,
        target=target,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row.id


def list_rules(session: Session, person_id: str) -> list[AlertRuleRow]:
    """Return a person's rules, oldest first."""
    query = select(AlertRuleRow).where(AlertRuleRow.person_id == person_id)
    return list(session.exec(query.order_by(col(AlertRuleRow.created_at), AlertRuleRow.id)))


def remove_rule(session: Session, rule_id: str, person_id: str) -> None:
    """Remove a rule of a person and its alerts.

    Raises:
        InvalidInputError: `not-found` if the person has no such rule.
    """
    row = session.get(AlertRuleRow, rule_id, with_for_update=True)  # else an alert of it could come between
    if row is None or row.person_id != person_id:
        raise InvalidInputError(Code.NOT_FOUND, "You have no such rule.")
    session.exec(delete(AlertRow).where(col(AlertRow.rule_id) == rule_id))
    session.delete(row)


def condition_of(row: AlertRuleRow) -> Condition:
    """Return the condition of a rule."""
    return Condition(
        place=row.place,
        values=read_values(row.categories),
        measure=Measure(row.measure),
        threshold=row.threshold,
        above=row.above,
    )


def raise_alerts(session: Session, document: Document, *, built_at: datetime, now: datetime) -> int:
    """Set off what the release fulfils, once per rule and week, whichever process comes first; return how many alerts are new.

    Rules that are younger than the release, of people who were removed or have another role now, or of places that are no longer theirs to see set nothing off.
    """
    query = select(AlertRuleRow, PersonRow).join(PersonRow, col(PersonRow.id) == AlertRuleRow.person_id)
    found = session.exec(
        query.where(col(PersonRow.disabled_at).is_(None), col(AlertRuleRow.created_at) <= built_at)
        .order_by(AlertRuleRow.id)
        .with_for_update(
            read=True, key_share=True, of=AlertRuleRow
        )  # none of them is removed before its alert is there
    ).all()
    alarms = ((rule, judge(condition_of(rule), document)) for rule, person in found if _may_be_told(rule, person))
    rows = [
        {
            "id": secrets.token_hex(16),
            "rule_id": rule.id,
            "week": alarm.week,
            "release": alarm.release,
            "measured": alarm.measured,
            "count": alarm.count,
            "raised_at": now,
            "attempts": 0,
            "next_at": now,
        }
        for rule, alarm in alarms
        if alarm is not None
    ]
    if not rows:
        return 0
    connection = session.connection()
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    once = insert(AlertRow).on_conflict_do_nothing(index_elements=["rule_id", "week"]).returning(col(AlertRow.id))
    return len(connection.execute(once, rows).all())


def take_delivery(session: Session, *, now: datetime) -> Delivery | None:
    """Take one alert that is due; for the length of a lease no other process gets it. None if nothing is due."""
    query = (
        select(AlertRow, AlertRuleRow, PersonRow)
        .join(AlertRuleRow, col(AlertRuleRow.id) == AlertRow.rule_id)
        .join(PersonRow, col(PersonRow.id) == AlertRuleRow.person_id)
        .where(col(AlertRow.next_at) <= now)
        .order_by(col(AlertRow.next_at), AlertRow.id)
        .limit(1)
    )
    found = session.exec(query).first()
    if found is None:
        return None
    alert, rule, person = found
    taken = session.exec(
        update(AlertRow)
        .where(col(AlertRow.id) == alert.id, col(AlertRow.next_at) <= now)
        .values(next_at=now + _LEASE, attempts=AlertRow.attempts + 1)
        .execution_options(synchronize_session=False)
    )
    if not taken.rowcount:
        return None
    return Delivery(
        alert.id,
        rule.target,
        condition_of(rule),
        alert.week,
        alert.release,
        alert.measured,
        alert.count,
        alert.attempts + 1,
        person.id,
        may_be_told=_may_be_told(rule, person),
    )


def _may_be_told(rule: AlertRuleRow, person: PersonRow) -> bool:
    return person.disabled_at is None and person.role in OWNERS and may_see(rule.place, person.region)


def settle(session: Session, delivery: Delivery, *, delivered: bool, now: datetime) -> None:
    """Note that an alert was delivered, or when to try again: after 1, 2, 4 … minutes, eight times in all."""
    pause = timedelta(minutes=2 ** (delivery.attempts - 1))
    again = None if delivered or delivery.attempts >= ATTEMPTS_MOST else now + pause
    _end(session, delivery, next_at=again, delivered_at=now if delivered else None)


def give_up(session: Session, delivery: Delivery) -> None:
    """Note that an alert is not to be delivered any more."""
    _end(session, delivery, next_at=None, delivered_at=None)


def _end(session: Session, delivery: Delivery, **values: datetime | None) -> None:
    """Note what came of it, unless the lease ended meanwhile and another process took the alert: then that one says so."""
    mine = col(AlertRow.id) == delivery.alert_id, col(AlertRow.attempts) == delivery.attempts
    session.exec(update(AlertRow).where(*mine).values(**values))
