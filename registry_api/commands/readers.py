"""Commands about readers: who they are, what evidence was seen, how much they take on, and for which hospitals they may be asked."""

from datetime import UTC, date, datetime, time
from typing import Annotated, Any

import typer
from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.reading import Language, Subspecialty
from protocol.shape import OpaqueId, RegionCode, SiteId
from registry_api.clock import utc_now
from registry_api.commands.output import AsJson, matching, opened, say, show_key
from registry_api.people.roles import Role
from registry_api.people.service import add_reader
from registry_api.reading.agreements import (
    Agreement,
    agree_with_group,
    agree_with_reader,
    change_terms,
    list_agreements,
    with_group,
    with_reader,
)
from registry_api.reading.assignments import match
from registry_api.reading.credentials import (
    Credential,
    Evidence,
    Term,
    credentials_of,
    license_reader,
    train_reader,
)
from registry_api.reading.endings import change_group, end_agreement
from registry_api.reading.load import loads, month_of
from registry_api.reading.readers import profile, set_capacity
from registry_api.reading.tables import AgreementRow, AgreementTerms

readers = typer.Typer(help="Radiologists who read for other hospitals.", no_args_is_help=True)
agreements = typer.Typer(help="Which reader may be asked by which hospital.", no_args_is_help=True)

ReaderId = Annotated[str, typer.Argument(metavar="READER_ID", help="As `people list` shows it.")]
SeenEvidence = Annotated[
    str, typer.Option("--evidence", help="Where the evidence is found: a register's number, or sha256: and a hash.")
]
Verifier = Annotated[str, typer.Option("--verified-by", help="Id of the coordinator or auditor who saw the evidence.")]
LicensedIn = Annotated[str, typer.Option(help="Where the reader is licensed, by the patient's country or region.")]
ReportsIn = Annotated[str, typer.Option(help="Language of the reports, ISO 639-1.")]
AgreeingSite = Annotated[str, typer.Option("--site", help="The hospital.")]
AgreeingReader = Annotated[str | None, typer.Option("--reader", help="The reader's id, as `people list` shows it.")]
AgreeingGroup = Annotated[str | None, typer.Option("--group", help="A reading group, instead of a reader.")]
AgreedUntil = Annotated[
    str | None, typer.Option("--until", help="Last day of the agreement (UTC); without it, until it is ended.")
]
AgreedPool = Annotated[bool, typer.Option("--pool", help="Only what still waits when half of its time is gone.")]
Minutes = Annotated[
    int | None, typer.Option(min=5, max=60 * 24 * 14, help="From the post to the signature; without it, the network's.")
]
Percent = Annotated[int, typer.Option(min=0, max=100, help="Of so many in a hundred a second read is added.")]
Until = Annotated[str, typer.Option("--until", help="Last day on which it holds, such as 2027-12-31 (UTC).")]


@readers.command("add")
def add_one(  # noqa: PLR0913 - a command's options
    context: typer.Context,
    name: str,
    *,
    jurisdiction: LicensedIn,
    evidence: SeenEvidence,
    until: Until,
    verified_by: Verifier,
    language: ReportsIn = "en",
    as_json: AsJson = False,
) -> None:
    """Add a reader with a licence that was verified, and print the API key, this once."""
    _check_licence(jurisdiction, language)
    term = _term(evidence, until, verified_by)
    with opened(context) as (_, database), database.writing() as session:
        added = add_reader(session, name, jurisdiction=jurisdiction, language=language, now=utc_now())
        session.flush()
        license_reader(session, added.person_id, jurisdiction=jurisdiction, language=language, term=term)
    show_key(added.person_id, added.api_key, Role.READER.value, as_json=as_json)


@readers.command("license")
def license_one(  # noqa: PLR0913 - a command's options
    context: typer.Context,
    reader: ReaderId,
    *,
    jurisdiction: LicensedIn,
    evidence: SeenEvidence,
    until: Until,
    verified_by: Verifier,
    language: ReportsIn = "en",
    as_json: AsJson = False,
) -> None:
    """Write down a further licence or language, or renew a licence."""
    matching(reader, OpaqueId, what="READER_ID")
    _check_licence(jurisdiction, language)
    term = _term(evidence, until, verified_by)
    with opened(context) as (_, database), database.writing() as session:
        license_reader(session, reader, jurisdiction=jurisdiction, language=language, term=term)
    say({"reader": reader, "jurisdiction": jurisdiction, "until": until}, as_json=as_json, lines=["Written down."])


@readers.command("train")
def train_one(  # noqa: PLR0913 - a command's options
    context: typer.Context,
    reader: ReaderId,
    *,
    subspecialty: Annotated[Subspecialty, typer.Option(help="What the reader is trained in.")],
    evidence: SeenEvidence,
    until: Until,
    verified_by: Verifier,
    as_json: AsJson = False,
) -> None:
    """Write down a subspecialty that was verified, or renew it."""
    matching(reader, OpaqueId, what="READER_ID")
    term = _term(evidence, until, verified_by)
    with opened(context) as (_, database), database.writing() as session:
        train_reader(session, reader, subspecialty=subspecialty, term=term)
    content = {"reader": reader, "subspecialty": subspecialty.value, "until": until}
    say(content, as_json=as_json, lines=["Written down."])


@readers.command("set")
def set_one(
    context: typer.Context,
    reader: ReaderId,
    *,
    capacity: Annotated[int | None, typer.Option(min=1, max=50, help="Reads held at once.")] = None,
    capacity_stat: Annotated[int | None, typer.Option(min=0, max=50, help="Of them stat.")] = None,
    home_site: Annotated[
        str | None, typer.Option(help="The reader's own hospital, whose reads go to others; '' for none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how much a reader takes on, and where the reader belongs. What is not given stays."""
    matching(reader, OpaqueId, what="READER_ID")
    if home_site:
        matching(home_site, SiteId, what="--home-site")
    with opened(context) as (_, database), database.writing() as session:
        profile(session, reader)
        row = set_capacity(
            session,
            reader,
            home_site=home_site,
            capacity=capacity,
            capacity_stat=capacity_stat,
        )
        content = row.model_dump(include={"reader_id", "capacity", "capacity_stat", "home_site"})
    say(content, as_json=as_json, lines=["  ".join(f"{key} {value}" for key, value in content.items())])


@readers.command("group")
def group_one(
    context: typer.Context,
    reader: ReaderId,
    group: Annotated[str | None, typer.Argument(metavar="GROUP", help="Its name; without one, no group.")] = None,
    *,
    lead: Annotated[bool, typer.Option("--lead", help="This reader leads the group.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say with which group a reader reads. Readers of one group never decide over one another's reads."""
    matching(reader, OpaqueId, what="READER_ID")
    with opened(context) as (_, database), database.writing() as session:
        change_group(session, reader, group=group, leads=lead, now=utc_now())
    content = {"reader": reader, "group": group, "lead": lead}
    say(content, as_json=as_json, lines=[f"The reader reads {f'with {group}' if group else 'alone'}."])


@readers.command("show")
def show_one(context: typer.Context, reader: ReaderId, *, as_json: AsJson = False) -> None:
    """Show what is on file of a reader: credentials with evidence, privileges that hospitals granted, capacity."""
    matching(reader, OpaqueId, what="READER_ID")
    with opened(context) as (_, database), database.reading() as session:
        found = profile(session, reader)
        credentials = [_credential(one) for one in credentials_of(session, reader)]
    content = {
        "reader": reader,
        "credentials": credentials,
        "agreements": sorted(found.agreements),
        "privileges": sorted(found.privileges),
        "conflicts": sorted(found.conflicts),
        "home_site": found.home_site,
        "time_zone": found.time_zone,
        "shifts": len(found.shifts),
        "capacity": found.capacity,
        "capacity_stat": found.capacity_stat,
        "held": found.held,
    }
    lines = [f"{key:<14}{value}" for key, value in content.items() if key != "credentials"]
    lines += [f"credential    {'  '.join(f'{key} {value}' for key, value in one.items())}" for one in credentials]
    say(content, as_json=as_json, lines=lines)


@readers.command("match")
def match_all(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be set aside for whom.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set aside what waits for the readers who are there. They still claim it; until its time is over nobody else can."""
    with opened(context) as (_, database), database.writing() as session:
        found = match(session, now=utc_now(), keep=not dry_run)
    content = {
        "assigned": [{"request_id": one.request_id, "reader": one.reader_id} for one in found.made],
        "waiting": found.waiting,
        "readers": found.readers,
    }
    lines = [f"{one.request_id}  {one.reader_id}" for one in found.made]
    lines.append(f"{len(found.made)} set aside, {found.waiting} wait on, {found.readers} readers.")
    say(content, as_json=as_json, lines=lines)


@readers.command("load")
def show_load(
    context: typer.Context,
    *,
    month: Annotated[str, typer.Option(help="Such as 2026-03.")],
    as_json: AsJson = False,
) -> None:
    """Show how evenly each group shared the reads signed in a month: the Gini coefficient, 0 for all alike."""
    begins, ends = month_of(month)
    with opened(context) as (_, database), database.reading() as session:
        found = loads(session, begins=begins, ends=ends)
    content = [
        {"group": one.group, "readers": len(one.reads), "reads": one.reads, "gini": round(one.gini, 3)} for one in found
    ]
    lines = [
        f"{one.group or '(alone)':<24} {len(one.reads):>4} readers {sum(one.reads.values()):>6} reads  Gini {one.gini:.3f}"
        for one in found
    ]
    say(content, as_json=as_json, lines=lines)


@agreements.command("add")
def agree(  # noqa: PLR0913 - a command's options
    context: typer.Context,
    *,
    site: AgreeingSite,
    reader: AgreeingReader = None,
    group: AgreeingGroup = None,
    until: AgreedUntil = None,
    pool: AgreedPool = False,
    stat_minutes: Minutes = None,
    urgent_minutes: Minutes = None,
    routine_minutes: Minutes = None,
    double_read_percent: Percent = 0,
    as_json: AsJson = False,
) -> None:
    """Write down that a hospital and a reader, or a reading group, agreed. Reading also needs the hospital's privilege, which only it grants."""
    party = _party(site, reader, group)
    terms = _terms(until, pool, (stat_minutes, urgent_minutes, routine_minutes), double_read_percent)
    with opened(context) as (_, database), database.writing() as session:
        if reader is not None:
            agree_with_reader(session, site=site, reader_id=reader, terms=terms, now=utc_now())
        else:
            agree_with_group(session, site=site, group=group or "", terms=terms, now=utc_now())
    line = (
        f"Agreed. {site} still has to grant the privilege: `acinus-node read grant-privilege {reader or 'READER_ID'}`."
    )
    say(party | _said(terms), as_json=as_json, lines=[line])


@agreements.command("change")
def change(  # noqa: PLR0913 - a command's options
    context: typer.Context,
    *,
    site: AgreeingSite,
    reader: AgreeingReader = None,
    group: AgreeingGroup = None,
    until: AgreedUntil = None,
    pool: AgreedPool = False,
    stat_minutes: Minutes = None,
    urgent_minutes: Minutes = None,
    routine_minutes: Minutes = None,
    double_read_percent: Percent = 0,
    as_json: AsJson = False,
) -> None:
    """Put other terms in the place of an agreement's: what is not given is as the network has it. What waits already stays due when it was."""
    party = _party(site, reader, group)
    terms = _terms(until, pool, (stat_minutes, urgent_minutes, routine_minutes), double_read_percent)
    with opened(context) as (_, database), database.writing() as session:
        change_terms(session, _agreement(session, site, reader, group), terms)
    say(party | _said(terms), as_json=as_json, lines=["Changed."])


@agreements.command("list")
def show_agreements(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the agreements."""
    with opened(context) as (_, database), database.reading() as session:
        content = [_party_of(row) | _said(row) for row in list_agreements(session)]
    lines = [
        f"{one['site']:<24} {one['reader'] or 'group ' + one['group']:<34} {one['until'] or '-'}" for one in content
    ]
    say(content, as_json=as_json, lines=lines)


@agreements.command("end")
def end(
    context: typer.Context,
    *,
    site: AgreeingSite,
    reader: AgreeingReader = None,
    group: AgreeingGroup = None,
    as_json: AsJson = False,
) -> None:
    """End an agreement: nothing of the hospital is offered any more, and what is held of it goes back to the queue."""
    party = _party(site, reader, group)
    with opened(context) as (_, database), database.writing() as session:
        end_agreement(session, _agreement(session, site, reader, group), now=utc_now())
    say(party | {"ended": True}, as_json=as_json, lines=["Ended."])


def _party(site: str, reader: str | None, group: str | None) -> dict[str, Any]:
    """Return with whom the site agrees.

    Raises:
        InvalidInputError: `bad-request` if that is not exactly one.
    """
    if (reader is None) == (group is None):
        raise InvalidInputError(Code.BAD_REQUEST, "Give --reader or --group, and not both.")
    matching(site, SiteId, what="--site")
    if reader is not None:
        matching(reader, OpaqueId, what="--reader")
    return {"site": site, "reader": reader, "group": group}


def _party_of(row: Agreement) -> dict[str, Any]:
    if isinstance(row, AgreementRow):
        return {"site": row.site, "reader": row.reader_id, "group": None}
    return {"site": row.site, "reader": None, "group": row.reading_group}


def _agreement(session: Session, site: str, reader: str | None, group: str | None) -> Agreement | None:
    return with_reader(session, site, reader) if reader is not None else with_group(session, site, group or "")


def _terms(
    until: str | None, pool: bool, minutes: tuple[int | None, int | None, int | None], double: int
) -> AgreementTerms:
    stat, urgent, routine = minutes
    return AgreementTerms(
        expires_at=_end_of(until) if until is not None else None,
        pool=pool,
        stat_minutes=stat,
        urgent_minutes=urgent,
        routine_minutes=routine,
        double_read_percent=double,
    )


def _said(terms: AgreementTerms) -> dict[str, Any]:
    said = {name: getattr(terms, name) for name in AgreementTerms.model_fields if name != "expires_at"}
    return {"until": terms.expires_at.isoformat() if terms.expires_at else None} | said


def _check_licence(jurisdiction: str, language: str) -> None:
    matching(jurisdiction, RegionCode, what="--jurisdiction")
    matching(language, Language, what="--language")


def _term(evidence: str, until: str, verified_by: str) -> Term:
    matching(evidence, Evidence, what="--evidence")
    matching(verified_by, OpaqueId, what="--verified-by")
    now = utc_now()
    return Term(now, _end_of(until), verified_by=verified_by, verified_at=now, evidence=evidence)


def _end_of(day: str) -> datetime:
    """Return the end of a day in UTC.

    Raises:
        InvalidInputError: `bad-request` if it is no day.
    """
    try:
        return datetime.combine(date.fromisoformat(day), time.max, tzinfo=UTC)
    except ValueError as error:
        raise InvalidInputError(Code.BAD_REQUEST, "--until: give a day such as 2027-12-31.") from error


def _credential(one: Credential) -> dict[str, Any]:
    return {
        "what": one.what,
        "language": one.language,
        "until": one.term.valid_until.isoformat() if one.term else None,
        "evidence": one.term.evidence if one.term else None,
        "verified_by": one.term.verified_by if one.term else None,
    }
