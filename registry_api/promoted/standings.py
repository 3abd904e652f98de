"""Taking in how sites say a release does, and counting who says what. Which site said it is shown to nobody."""

from collections import Counter
from datetime import datetime

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from protocol.standing import ReleaseStanding, Standing
from registry_api.enrolment.tables import SiteRow
from registry_api.promoted.tables import StandingRow


def accept_standing(session: Session, site: str, word: ReleaseStanding, now: datetime) -> None:
    """Keep the last word of `site`: a higher version replaces a lower one, an older or equal one changes nothing."""
    row = StandingRow(
        site=site, release=word.release, standing=word.standing.value, version=word.version, received_at=now
    )
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(StandingRow).values(row.model_dump())
    newer = {name: statement.excluded[name] for name in StandingRow.model_fields}
    session.exec(
        statement.on_conflict_do_update(
            index_elements=["site"], set_=newer, where=col(StandingRow.version) < statement.excluded.version
        )
    )


def standings(session: Session) -> dict[str, dict[Standing, int]]:
    """Return for each release how many active sites say what of it."""
    rows = session.exec(
        select(StandingRow.release, StandingRow.standing)
        .join(SiteRow, col(SiteRow.site) == col(StandingRow.site))
        .where(col(SiteRow.enrolled_at).is_not(None), col(SiteRow.revoked_at).is_(None))
    ).all()
    counted = Counter(rows)
    found: dict[str, dict[Standing, int]] = {}
    for (release, standing), count in sorted(counted.items()):
        found.setdefault(release, {})[Standing(standing)] = count
    return found
