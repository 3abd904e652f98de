"""`acinus-node quantify`, `ingest` and `deidentify`: from files to numbers, without a network."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.home import answering, home_of, remark, say_json
from protocol.codes import Code
from protocol.errors import InvalidInputError

if TYPE_CHECKING:  # pydicom and torch are imported by the commands that need them
    from client.deidentify.pseudonyms import Pseudonyms
    from client.infer.model import Model
    from client.infer.worker import Outcome, Worker
    from client.settings import NodeSettings
    from client.store.studies import StudyStore

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


# Paths are `readable=False` here: what may not be read is refused by us, with a code, and not by a usage text.


def add_to(app: typer.Typer) -> None:
    """Add this module's commands to the node's program."""
    app.command("quantify")(quantify)
    app.command("ingest")(ingest)
    app.command("deidentify")(deidentify)


def quantify(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(readable=False, help="A DICOM file, folder or zip, or a NIfTI volume.")],
    as_json: Json = False,
    out: Annotated[Path | None, typer.Option(readable=False, help="Folder for SEG, SR, masks and the picture.")] = None,
    allow_gaps: Annotated[
        bool, typer.Option("--allow-gaps", help="Bridge missing slices; the answer is flagged.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Measure ground glass and consolidation in a chest CT. No network, no enrolment."""
    with answering(as_json=as_json):
        if out is not None and out.exists() and not out.is_dir():
            raise InvalidInputError(Code.BAD_REQUEST, f"--out {out} is a file. Name a folder for the results.")
        from client.infer.quantify import quantify_path

        result = quantify_path(path, _model_of(home_of(context)), allow_gaps=allow_gaps, device=device)
        document = result.document
        if out is not None:
            from client.infer.outputs import write_outputs

            document = {**document, "files": write_outputs(result, out)}
        say_json(document) if as_json else _tell(document)


def ingest(
    context: typer.Context,
    path: Annotated[Path | None, typer.Argument(readable=False, help="DICOM: a file, folder or zip.")] = None,
    as_json: Json = False,
    remeasure: Annotated[str | None, typer.Option(metavar="STUDY_KEY", help="Measure a stored study again.")] = None,
) -> None:
    """Take DICOM into the node's store and measure it, or measure a stored study again with the present release."""
    with answering(as_json=as_json):
        if (path is None) == (remeasure is None):
            raise InvalidInputError(Code.BAD_REQUEST, "Name a PATH to take in, or --remeasure STUDY_KEY.")
        settings, store, pseudonyms = _open_home(home_of(context))
        taken: list[str] = []
        set_aside: Counter[str] = Counter()
        if path is not None:
            taken, set_aside = _take_in(path, settings, store, pseudonyms)
        elif remeasure is not None:
            taken = [store.reopen(remeasure).study_key]
        outcomes = [_measured(_worker(settings, store), key) for key in taken]
        document = {
            "ok": any("ggo_fraction" in outcome for outcome in outcomes),
            "studies": outcomes, "quarantined": dict(sorted(set_aside.items())),
        }  # fmt: skip
        say_json(document) if as_json else _tell_studies(document)
        if not document["ok"]:
            raise typer.Exit(InvalidInputError.exit_code)


def deidentify(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="IN", readable=False, help="DICOM: a file, folder or zip.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="A folder for the copies.")],
    keep_device: Annotated[
        bool, typer.Option("--keep-device", help="Keep serial number, station name and calibration of the scanner.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy CT images without the person: keyed UIDs, shifted dates, no private tags; what may show a name is left out."""
    with answering(as_json=as_json):
        from client.deidentify.export import deidentify_file
        from client.deidentify.profile import Options
        from client.infer.source import dicom_files
        from client.store.files import write_durably

        pseudonyms = _pseudonyms_or_forgotten(home_of(context))
        written, left_out = 0, Counter[str]()
        for content in dicom_files(source):
            try:
                name, clean = deidentify_file(content, pseudonyms, Options(keep_device=keep_device))
            except InvalidInputError as error:
                left_out[error.code.value] += 1
                continue
            write_durably(target / name, clean)
            written += 1
        document = {"ok": written > 0, "written": written, "left_out": dict(sorted(left_out.items()))}
        say_json(document) if as_json else remark(f"{written} files written to {target}; left out: {dict(left_out)}")
        if not written:
            raise typer.Exit(InvalidInputError.exit_code)


def _model_of(home: Path) -> "Callable[[], Model]":
    """Return how to load the release in use in `home`; the shipped weights where there is no node, or one that we may not read."""
    from client.gate.lists import ReleaseList
    from client.infer.releases import ReleaseShelf, shipped_model

    if os.access(home, os.R_OK | os.X_OK):
        return ReleaseShelf(home / "models", ReleaseList(home / "trust").holds).load
    if os.path.lexists(home):
        remark(f"The node in {home} belongs to somebody else; the shipped weights measure.")
    return shipped_model


def _open_home(home: Path) -> "tuple[NodeSettings, StudyStore, Pseudonyms]":
    from client.rooms.imaging import open_pseudonyms, open_store
    from client.settings import load_settings

    settings = load_settings(home)
    return settings, open_store(settings), open_pseudonyms(settings)


def _worker(settings: "NodeSettings", store: "StudyStore") -> "Worker":
    """Return a worker without a gate: records wait for the running node, whose own worker hands them over."""
    from client.infer.worker import Worker
    from client.rooms.imaging import open_shelf, open_surroundings
    from client.rooms.pacs import open_outgoing

    return Worker(
        store,
        open_shelf(settings),
        settings,
        surroundings=open_surroundings(settings),
        last_report=open_outgoing(settings).last_report,
    )


def _take_in(
    path: Path, settings: "NodeSettings", store: "StudyStore", pseudonyms: "Pseudonyms"
) -> tuple[list[str], Counter[str]]:
    """Store every DICOM file of `path`; return the studies that they belong to, and what went to quarantine by code.

    Raises:
        InvalidInputError: `unreadable` if there is no DICOM in it.
    """
    from client.infer.source import Kind, dicom_files, kind_of
    from client.receive.intake import Intake, take_bytes

    intake = Intake(store, pseudonyms)
    folder = settings.instances.parent / "ingested"  # the receiver sweeps its own spool when it starts
    studies: dict[str, None] = {}
    set_aside: Counter[str] = Counter()
    usable = kind_of(path) in {Kind.DICOM, Kind.FOLDER, Kind.ZIP}
    for content in dicom_files(path) if usable else ():
        taken = take_bytes(intake, content.read_bytes() if isinstance(content, Path) else content, folder)
        if taken.study_key is not None:
            studies[taken.study_key] = None
        if taken.code is not None:
            set_aside[taken.code.value] += 1
    if not studies and not set_aside:
        raise InvalidInputError(Code.UNREADABLE, f"There is no DICOM in {path}. Name a DICOM file, folder or zip.")
    return list(studies), set_aside


def _measured(worker: "Worker", study_key: str) -> dict[str, Any]:
    remark(f"measuring {study_key}")
    return _as_json(worker.measure(study_key))


def _as_json(outcome: "Outcome") -> dict[str, Any]:
    answer: dict[str, Any] = {"study_key": outcome.study_key, "outcome": outcome.state.value}
    if outcome.code is not None:
        answer["code"] = outcome.code
    if outcome.document is not None:
        kept = ("ggo_fraction", "consolidation_fraction", "opacity_fraction", "severity", "model_release", "quality")
        answer |= {key: outcome.document[key] for key in kept}
    return answer


def _pseudonyms_or_forgotten(home: Path) -> "Pseudonyms":
    """Return the site's pseudonyms, or ones that nobody can compute again where there is no node."""
    from client.deidentify.pseudonyms import KEY_FILE, load_pseudonyms, random_pseudonyms

    path = home / "keys" / KEY_FILE
    if path.exists():
        return load_pseudonyms(path)
    remark("There is no node here: the new UIDs and dates of this run fit together, and no later run will repeat them.")
    return random_pseudonyms()


def _tell(document: dict[str, Any]) -> None:
    """Print the answer for a person."""
    low, high = document["opacity_interval"]
    flags = ", ".join(document["quality"]) or "none"
    lines = (
        "Measurement aid, not a diagnosis",
        f"ground glass   {100 * document['ggo_fraction']:6.1f} % of lung volume",
        f"consolidation  {100 * document['consolidation_fraction']:6.1f} %",
        f"opacity        {100 * document['opacity_fraction']:6.1f} %  ({100 * low:.1f} to {100 * high:.1f} %)",
        f"lungs          {document['lung_volume_ml'] / 1000:6.2f} L",
        f"zone score     {document['severity']['score']:6d} of 24 ({document['severity']['band']})",
        f"quality flags  {flags}",
        f"release        {document['model_release']}, {document['seconds']['total']:.1f} s",
    )
    typer.echo("\n".join(lines))


def _tell_studies(document: dict[str, Any]) -> None:
    for study in document["studies"]:
        result = (
            f"{100 * study['ggo_fraction']:.1f} % ground glass" if "ggo_fraction" in study else study.get("code", "")
        )
        typer.echo(f"{study['study_key']}  {study['outcome']}  {result}")
    for code, count in document["quarantined"].items():
        typer.echo(f"quarantine  {count} x {code}")
