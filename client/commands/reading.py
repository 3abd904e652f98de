"""`acinus-node read`: what the hospital's staff do with reads. The gateway does the rest."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.home import answering, home_of, remark, say_json
from protocol.reading import Priority, StudyKind, Subspecialty

if TYPE_CHECKING:  # each command loads what it works with, and no other command waits for that
    from client.gate.gate import Gate
    from client.gate.policy import SitePolicy
    from client.gateway.book import Book
    from client.gateway.keys import ReaderKeys
    from client.gateway.messages import Message, Messages
    from client.gateway.privileges import Privilege, Privileges
    from client.gateway.records import Prior, Request, Result
    from client.gateway.reports import Kept, Reports
    from client.settings import NodeSettings
    from client.store.studies import StudyStore

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
ReaderId = Annotated[str, typer.Argument(metavar="READER_ID", help="As the reader sees it on the worklist.")]
RequestId = Annotated[str, typer.Argument(metavar="REQUEST_ID", help="As `read list` shows it.")]

# A thumbprint may begin with a minus sign, which must not make it an option.
_TAKES_THUMBPRINT = {"ignore_unknown_options": True}


def add_to(app: typer.Typer) -> None:
    """Add `read` with its verbs to the node's program."""
    read = typer.Typer(
        help="Reads by radiologists elsewhere: post, follow, approve readers, take note.", no_args_is_help=True
    )
    read.command("post")(post)
    read.command("list")(show_list)
    read.command("withdraw")(withdraw)
    read.command("repost")(repost)
    read.command("report")(report)
    read.command("answer")(answer)
    read.command("approve-reader", context_settings=_TAKES_THUMBPRINT)(approve_reader)
    read.command("revoke-reader", context_settings=_TAKES_THUMBPRINT)(revoke_reader)
    read.command("readers")(readers)
    read.command("grant-privilege")(grant_privilege)
    read.command("withdraw-privilege")(withdraw_privilege)
    read.command("privileges")(privileges)
    app.add_typer(read, name="read")


@dataclass(frozen=True, slots=True)
class _Staff:
    """What the commands work with."""

    settings: "NodeSettings"
    book: "Book"
    keys: "ReaderKeys"
    privileges: "Privileges"
    gate: "Gate"
    reports: "Reports"
    messages: "Messages"
    store: "StudyStore"

    def policy(self) -> "SitePolicy":
        """Return the site's policy as it is now."""
        from client.gate.policy_file import load_policy

        return load_policy(self.settings.policy)


def post(  # noqa: PLR0913, PLR0917 - a command line's options are its parameters
    context: typer.Context,
    study_key: Annotated[str, typer.Argument(metavar="STUDY_KEY", help="As `status --studies` and `ingest` show it.")],
    priority: Annotated[Priority, typer.Option(help="How soon the read is needed.")] = Priority.ROUTINE,
    reads: Annotated[
        int | None, typer.Option(min=1, max=2, help="Readers, blind to one another; else as the policy says.")
    ] = None,
    subspecialty: Annotated[
        Subspecialty | None, typer.Option(help="Ask for a reader trained in it; without it, any radiologist.")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(metavar="STUDY_KEY", help="An earlier study of the patient to show beside it, or `latest`."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask the network for a read of a measured study. The images stay here."""
    from client.gateway.requests import post_read

    with answering(as_json=as_json):
        staff = _staff(context)
        wish = staff.policy().reading
        wish = wish if reads is None else wish.model_copy(update={"reads": reads})
        shown = _prior(staff, study_key, prior) if prior is not None else None
        request = post_read(
            staff.book, staff.gate, staff.store, study_key=study_key, wish=wish, priority=priority,
            subspecialty=subspecialty, prior=shown,
        )  # fmt: skip
        _say(_request(request), as_json=as_json)


def show_list(context: typer.Context, as_json: Json = False) -> None:
    """List the reads that this hospital posted, the newest first."""
    with answering(as_json=as_json):
        book = _staff(context).book
        requests = [_request(one) | {"alarms": [why.value for why in book.alarms(one)]} for one in book.requests()]
        if as_json:
            say_json({"requests": requests})
        for one in requests if not as_json else ():
            remark(_line(one))


def withdraw(context: typer.Context, request_id: RequestId, as_json: Json = False) -> None:
    """Take a read back; a reader who has it open is cut off."""
    from client.gateway.requests import withdraw_read

    with answering(as_json=as_json):
        staff = _staff(context)
        _say(_request(withdraw_read(staff.book, staff.gate, request_id)), as_json=as_json)


def repost(context: typer.Context, request_id: RequestId, as_json: Json = False) -> None:
    """Ask anew for the reads of a request that nobody claimed in time."""
    from client.gateway.requests import repost_read

    with answering(as_json=as_json):
        staff = _staff(context)
        _say(_request(repost_read(staff.book, staff.gate, request_id)), as_json=as_json)


def report(
    context: typer.Context,
    request_id: RequestId,
    acknowledge: Annotated[
        list[str] | None,
        typer.Option(metavar="HASH", help="Take note of this final report and close the read; of two, name each."),
    ] = None,
    note: Annotated[
        str | None,
        typer.Option(metavar="HASH", help="Take note of this final report alone, while another is still to come."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Copy final reports there: DICOM SR, FHIR, HL7 v2. They name the patient."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show every version of the reports on a read; the text exists nowhere but here."""
    from client.gateway.requests import acknowledge_read, note_report

    with answering(as_json=as_json):
        staff = _staff(context)
        request = staff.book.request(request_id)
        if note is not None:
            request = note_report(staff.book, staff.gate, staff.reports, request_id, report_sha256=note)
        if acknowledge:
            request = acknowledge_read(staff.book, staff.gate, staff.reports, request_id, seen=acknowledge)
        names = {key.jkt: key.name for key in staff.keys.all()}
        kept = [_report(one, names) for one in staff.reports.of_request(request_id)]
        said = [_message(one) for one in staff.messages.of_request(request_id)]
        result = _result(staff.book.result(request_id))
        disputed = [{"claim_id": one, "score": score} for one, score in staff.book.discrepancies(request_id).items()]
        document = _request(request) | {"result": result, "reports": kept, "messages": said, "discrepancies": disputed}
        if out is not None:
            document["files"] = _copied(staff, request_id, out)
        say_json(document) if as_json else _tell_reports(document)


def _copied(staff: _Staff, request_id: str, out: Path) -> list[str]:
    from client.gateway.documents import Documents
    from client.store.files import disk_faults

    documents = Documents(staff.reports, staff.store, lambda _: None, sender=staff.settings.site.name)
    claims = {kept.report.claim_id for kept in staff.reports.of_request(request_id)}
    files = [one for claim in sorted(claims) for one in documents.files(claim)]
    with disk_faults("The folder"):
        out.mkdir(parents=True, exist_ok=True)
        return [shutil.copyfile(file, out / file.name).name for file in files]


def answer(
    context: typer.Context,
    request_id: RequestId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="For the reader; it goes nowhere else.")],
    claim: Annotated[
        str | None, typer.Option(metavar="CLAIM_ID", help="Whose question, where two readers wait for an answer.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer a reader's question. `read report` shows what was asked."""
    with answering(as_json=as_json):
        staff = _staff(context)
        _say(_message(staff.messages.answer(request_id, text, claim_id=claim)), as_json=as_json)


def approve_reader(
    context: typer.Context,
    thumbprint: Annotated[
        str, typer.Argument(metavar="THUMBPRINT", help="From the reader, by a way that you both trust.")
    ],
    name: Annotated[str, typer.Option(help="Whose key it is, as it shall stand beside the reports.")] = "reader",
    as_json: Json = False,
) -> None:
    """Let the holder of a key in wherever a grant of the centre names that key. Only the hospital can do this."""
    with answering(as_json=as_json):
        staff = _staff(context)
        staff.keys.approve(thumbprint, name=name)
        staff.gate.audit.append("reader.approved", "-", "clear")
        _say({"thumbprint": thumbprint, "name": name, "approved": True}, as_json=as_json)


def revoke_reader(
    context: typer.Context,
    thumbprint: Annotated[str, typer.Argument(metavar="THUMBPRINT", help="As `read readers` shows it.")],
    as_json: Json = False,
) -> None:
    """Take an approval back; the key's open sessions end with their next request."""
    with answering(as_json=as_json):
        staff = _staff(context)
        staff.keys.revoke(thumbprint)
        staff.gate.audit.append("reader.revoked", "-", "clear")
        _say({"thumbprint": thumbprint, "approved": False}, as_json=as_json)


def readers(context: typer.Context, as_json: Json = False) -> None:
    """List the keys that this hospital approved."""
    with answering(as_json=as_json):
        keys = [
            {"thumbprint": key.jkt, "name": key.name, "approved_at": key.approved_at.strftime("%Y-%m-%dT%H:%M:%SZ")}
            for key in _staff(context).keys.all()
        ]
        if as_json:
            say_json({"readers": keys})
        for key in keys if not as_json else ():
            remark(_line(key))


def grant_privilege(
    context: typer.Context,
    reader_id: ReaderId,
    name: Annotated[str, typer.Option(help="Who it is, as your staff know them.")] = "reader",
    until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The last day (UTC); without it until you withdraw it."),
    ] = None,
    study: Annotated[
        list[StudyKind] | None, typer.Option(help="A kind of study that may be read; without it every kind.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let a reader of the network read for this hospital. The centre cannot: it only writes down what you say."""
    with answering(as_json=as_json):
        made = _staff(context).privileges.grant_through(
            reader_id,
            name=name,
            last_day=until.date() if until is not None else None,
            studies=study or tuple(StudyKind),
        )
        _say(_privilege(made), as_json=as_json)


def withdraw_privilege(context: typer.Context, reader_id: ReaderId, as_json: Json = False) -> None:
    """Take a reader's privilege back; what they hold of this hospital goes back to the queue."""
    with answering(as_json=as_json):
        _say(_privilege(_staff(context).privileges.withdraw(reader_id)), as_json=as_json)


def privileges(context: typer.Context, as_json: Json = False) -> None:
    """List the readers who may read for this hospital."""
    with answering(as_json=as_json):
        held = [_privilege(one) for one in _staff(context).privileges.all()]
        if as_json:
            say_json({"privileges": held})
        for one in held if not as_json else ():
            remark(_line(one))


def _staff(context: typer.Context) -> _Staff:
    from client.gate import gate as gates
    from client.gate.audit import HEAD_FILE
    from client.gate.policy_file import load_policy
    from client.gateway.book import Book
    from client.gateway.keys import ReaderKeys
    from client.gateway.messages import Messages
    from client.gateway.privileges import Privileges
    from client.gateway.reports import Reports
    from client.gateway.tables import SCHEMA
    from client.settings import load_settings
    from client.store import tables
    from client.store.database import connect
    from client.store.studies import StudyStore

    settings = load_settings(home_of(context))
    connection = connect(settings.database, tables.SCHEMA, gates.SCHEMA, SCHEMA)
    book = Book(connection, _now)
    gate = gates.Gate(connection, lambda: load_policy(settings.policy), _now, settings.home / HEAD_FILE)
    privileges = Privileges(book, gate)
    privileges.catch_up()
    return _Staff(
        settings=settings,
        book=book,
        keys=ReaderKeys(connection, _now),
        privileges=privileges,
        gate=gate,
        reports=Reports(book, gate),
        messages=Messages(book, gate),
        store=StudyStore(connection, settings),
    )


def _prior(staff: _Staff, study_key: str, wanted: str) -> "Prior":
    from client.gateway.priors import choose
    from client.infer.earlier import earlier_studies

    return choose(earlier_studies(staff.store, study_key), wanted)


def _now() -> datetime:
    return datetime.now(UTC)


def _request(request: "Request") -> dict[str, Any]:
    return {
        "request_id": request.request_id,
        "study_key": request.study_key,
        "state": request.stage.value,
        "priority": request.priority.value,
        "reads_required": request.reads_required,
        "expired": request.expired,
        "posted_at": datetime.fromtimestamp(request.posted_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _result(result: "Result | None") -> dict[str, Any] | None:
    return {"claim_id": result.claim_id, "agreed": result.agreed, "how": result.how} if result is not None else None


def _privilege(held: "Privilege") -> dict[str, Any]:
    return {
        "reader_id": held.reader_id,
        "name": held.name,
        "granted": held.granted,
        "changed_at": held.changed_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "until": held.until.strftime("%Y-%m-%dT%H:%M:%SZ") if held.until is not None else None,
        "studies": list(held.studies),
    }


def _report(kept: "Kept", names: dict[str, str]) -> dict[str, Any]:
    written = kept.report
    return {
        "claim_id": written.claim_id,
        "version": written.version,
        "status": kept.status.value,
        "report_sha256": kept.report_sha256,
        "reader": names.get(written.reader_key, "a reader whose approval was taken back"),
        "reader_id": written.reader_id,
        "severity_score": written.severity_score,
        "model_release": written.model_release,
        **written.content.model_dump(mode="json"),
    }


def _message(one: "Message") -> dict[str, Any]:
    return {
        "claim_id": one.claim_id,
        "question": one.question,
        "side": one.side.value,
        "text": one.text,
        "written_at": one.written_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _say(document: dict[str, Any], *, as_json: bool) -> None:
    say_json(document) if as_json else remark(_line(document))


def _line(document: dict[str, Any]) -> str:
    return "  ".join(f"{key} {value}" for key, value in document.items())


def _tell_reports(document: dict[str, Any]) -> None:
    remark(f"read {document['request_id']}: {document['state']}")
    if document["result"] is not None:
        remark(f"result: the report under claim {document['result']['claim_id']}; {document['result']['how']}")
    for one in document["reports"]:
        remark(f"version {one['version']} ({one['status']}) by {one['reader']}, hash {one['report_sha256']}")
        remark(
            f"  {one['rsna_class']}, CO-RADS {one['corads']}, zone score {one['severity_score']}/24{', CRITICAL' * one['critical']}"
        )
        remark(f"  {one['impression']}")
    for one in document["discrepancies"]:
        remark(f"a peer reviewer disagrees with the report under claim {one['claim_id']}: score {one['score']} of 4")
    for one in document["messages"]:
        remark(f"{one['side']}, question {one['question']} under claim {one['claim_id']}: {one['text']}")
