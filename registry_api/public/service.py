"""Drawing a week for everybody: counted once, noised once, charged to its year, signed, kept."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlmodel import Session, col, func, select

from protocol.case import SeverityBand
from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError
from protocol.shape import canonical_json
from registry_api.cases.tables import CaseRow
from registry_api.database import Database
from registry_api.enrolment.tables import SiteRow
from registry_api.public.loss import epsilon_of, rho_of
from registry_api.public.noise import Noise
from registry_api.public.tables import PublicSpendRow, PublicWeekRow
from registry_api.releases.turn import turn
from registry_api.releases.window import REVISED_WEEKS, closed_weeks
from registry_api.settings import PublicSettings
from registry_api.units.service import read_tree

_Cell = tuple[str, str]
"""Place and severity."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one year's patients have paid, as (ε, δ)-differential privacy of all weeks of the year together."""

    year: int
    weeks: int
    rho: float
    epsilon: float


def budgets(session: Session, settings: PublicSettings) -> list[Budget]:
    """Return the ledger, year by year."""
    query = select(PublicSpendRow.year, func.count(), func.sum(PublicSpendRow.rho)).group_by(col(PublicSpendRow.year))
    return [
        Budget(year, weeks, rho, epsilon_of(rho, settings.delta))
        for year, weeks, rho in session.exec(query.order_by(col(PublicSpendRow.year)))
    ]


def due_weeks(session: Session, settings: PublicSettings, *, today: date) -> list[str]:
    """Return the weeks from the first one on that have records, can change no more and have not been drawn, oldest first."""
    first_open = closed_weeks(today, count=REVISED_WEEKS + 1)[0]
    drawn = select(PublicWeekRow.week)
    held = (
        select(CaseRow.week)
        .where(CaseRow.week >= settings.first_week, CaseRow.week < first_open, col(CaseRow.week).not_in(drawn))
        .distinct()
    )
    return sorted(session.exec(held))


def draw(
    database: Database, week: str, settings: PublicSettings, *, key: Ed25519PrivateKey, noise: Noise, now: datetime
) -> PublicWeekRow:
    """Publish one week for everybody. Its charge and its bytes are stored together; drawn again, it is the same row.

    Raises:
        InvalidInputError: `bad-setting` if the tier is off; `bad-request` if the week may still change, lies before the first one or nobody has records of it.
        RefusedError: `public-budget-spent` if the week would take its year above the yearly ε.
        ConflictError: `run-in-progress` if a release is being built or another week drawn.
    """
    if not settings.enabled:
        raise InvalidInputError(Code.BAD_SETTING, "The public tier is off. Set `enabled = true` under [public].")
    with turn(database), database.writing() as session:
        known = session.get(PublicWeekRow, week)
        if known is not None:
            return known
        if week not in due_weeks(session, settings, today=now.date()):
            raise InvalidInputError(
                Code.BAD_REQUEST,
                f"{week} may still change, lies before {settings.first_week}, or no hospital has records of it.",
            )
        rho = _affordable(session, week, settings)
        row = _row(week, _body(week, settings, _noised(session, week, settings, noise)), key=key, now=now)
        session.add(row)
        session.flush()
        session.add(PublicSpendRow(week=week, year=_year(week), rho=rho, spent_at=now))
        return row


def _affordable(session: Session, week: str, settings: PublicSettings) -> float:
    """Return what the week costs, if its year can pay for it."""
    rho, year = rho_of(settings.sigma), _year(week)
    spent = sum(one.rho for one in budgets(session, settings) if one.year == year)
    epsilon = epsilon_of(spent + rho, settings.delta)
    if epsilon > settings.yearly_epsilon:
        raise RefusedError(
            Code.PUBLIC_BUDGET_SPENT,
            f"With {week} the year {year} would stand at ε = {epsilon:.2f}, above {settings.yearly_epsilon:g}. "
            "What was published stays; a larger sigma makes later weeks cheaper.",
        )
    return rho


def _noised(session: Session, week: str, settings: PublicSettings, noise: Noise) -> dict[_Cell, int]:
    """Return every cell with noise, those without a patient too: which cells there are must not depend on patients."""
    counts = _counts(session, week)
    return dict(zip(counts, noise(list(counts.values()), settings.sigma), strict=True))


def _counts(session: Session, week: str) -> dict[_Cell, int]:
    """Count patients: each is in one record of the week at most, the one that its hospital called the first.

    A record that does not say so is not counted: it may be the second of a patient.
    """
    tree = read_tree(session)
    regions = session.exec(select(SiteRow.region).where(col(SiteRow.enrolled_at).is_not(None)).distinct())
    places = sorted({tree.place_of(region) for region in regions})
    counts = {(place, severity.value): 0 for place in places for severity in SeverityBand}
    query = (
        select(SiteRow.region, CaseRow.severity_band, func.count())
        .join(SiteRow, col(SiteRow.site) == CaseRow.site)
        .where(CaseRow.week == week, col(CaseRow.withdrawn).is_(False), col(CaseRow.first_in_week).is_(True))
        .group_by(SiteRow.region, col(CaseRow.severity_band))
    )
    found: Iterable[Any] = session.connection().execute(query)
    for region, severity, patients in found:
        counts[tree.place_of(region), severity] += patients
    return counts


def _body(week: str, settings: PublicSettings, cells: dict[_Cell, int]) -> bytes:
    content: dict[str, Any] = {
        "kind": "public-week",
        "schema": 1,
        "week": week,
        "unit": "patients of a hospital",
        "mechanism": {
            "name": "discrete-gaussian",
            "sigma": settings.sigma,
            "rho": rho_of(settings.sigma),
            "yearly_epsilon": settings.yearly_epsilon,
            "delta": settings.delta,
        },
        "cells": [{"place": place, "severity": severity, "count": count} for (place, severity), count in cells.items()],
    }
    return canonical_json(content)


def _row(week: str, body: bytes, *, key: Ed25519PrivateKey, now: datetime) -> PublicWeekRow:
    return PublicWeekRow(
        week=week,
        body=body,
        sha256=hashlib.sha256(body).hexdigest(),
        signature=base64.urlsafe_b64encode(key.sign(body)).decode().rstrip("="),
        drawn_at=now,
    )


def _year(week: str) -> int:
    return int(week[:4])
