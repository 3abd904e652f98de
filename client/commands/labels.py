"""`acinus-node label`: expert masks become training truth; masks and zone scores are listed, held out, go out again, or count no more."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.home import answering, home_of, remark, say_json
from protocol.codes import Code
from protocol.errors import InvalidInputError

if TYPE_CHECKING:
    from client.deidentify.pseudonyms import Pseudonyms
    from client.store.labelling import Labelling
    from client.store.studies import StudyStore

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add `label` to the node's program."""
    label = typer.Typer(no_args_is_help=True, help="Labels: import masks, list, hold out, export, withdraw.")
    label.command("import")(import_)
    label.command("list")(list_)
    label.command("hold-out")(hold_out)
    label.command("take-in")(take_in)
    label.command("export")(export)
    label.command("withdraw")(withdraw)
    app.add_typer(label, name="label")


def import_(  # noqa: PLR0913, PLR0917 - a command line's options are its parameters
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A NIfTI mask or DICOM SEG, or a folder of them.")],
    study: Annotated[str | None, typer.Option(help="Key of the study; otherwise the grid says which.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Who made the masks, in a word; otherwise the author that a SEG names.")
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring masks on another grid to the study's; says what is lost.")
    ] = False,
    held_out: Annotated[
        bool | None, typer.Option("--held-out/--taken-in", help="Keep them out of training; otherwise as before.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take masks (1 ground glass, 2 consolidation) as labels of stored studies on the same grid."""
    with answering(as_json=as_json):
        from client.infer.labels import import_label

        store, pseudonyms = _open_home(home_of(context))
        labelling = _open_labelling(home_of(context))
        imported: list[dict[str, Any]] = []
        refused: list[dict[str, str]] = []
        for file in _files(path):
            try:
                key = import_label(
                    file, store, pseudonyms, study_key=study, source=source, resample=resample, held_out=held_out
                )
            except InvalidInputError as error:
                refused.append({"file": file.name, "code": error.code.value})
                remark(f"{file.name}: {error}")
                continue
            kept = labelling.of(key)
            lost = {"resampled": asdict(kept.loss)} if kept is not None and kept.loss is not None else {}
            imported.append({"file": file.name, "study_key": key} | lost)
            if lost:
                remark(f"{file.name}: resampled; {_loss_line(lost['resampled'])}")
        document: dict[str, Any] = {"ok": not refused, "imported": imported, "refused": refused}
        say_json(document) if as_json else typer.echo(f"{len(imported)} labels imported, {len(refused)} refused")
        if refused:
            raise typer.Exit(InvalidInputError.exit_code)


def list_(context: typer.Context, as_json: Json = False) -> None:
    """List labels, masks and zone scores: of which study, by whom, on which grid, and whether they are trained on."""
    with answering(as_json=as_json):
        labels = [asdict(one) | {"trained_on": one.trained_on} for one in _open_labelling(home_of(context)).all()]
        if as_json:
            say_json({"ok": True, "labels": labels})
            return
        for one in labels:
            lost = f"  resampled: {_loss_line(one['loss'])}" if one["loss"] else ""
            typer.echo(f"{one['study_key']}  {one['kind']:<11}  {_word_of(one):<13} {one['source']}{lost}")


def hold_out(
    context: typer.Context,
    study: Annotated[str, typer.Argument(metavar="STUDY_KEY", help="As `label list` shows it.")],
    as_json: Json = False,
) -> None:
    """Keep a study out of training by any label of it, to test with."""
    _decide(context, study, held_out=True, as_json=as_json)


def take_in(
    context: typer.Context,
    study: Annotated[str, typer.Argument(metavar="STUDY_KEY", help="As `label list` shows it.")],
    as_json: Json = False,
) -> None:
    """Let a label that was held out be trained on again."""
    _decide(context, study, held_out=False, as_json=as_json)


def export(
    context: typer.Context,
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A folder for the masks.")],
    as_json: Json = False,
) -> None:
    """Copy every mask, and the volume that it lies on, under the keys of their studies. They stay pseudonymous patient data."""
    with answering(as_json=as_json):
        from client.store.files import disk_faults
        from client.store.results import CT

        store, _ = _open_home(home_of(context))
        exported = []
        with disk_faults():
            target.mkdir(parents=True, exist_ok=True)
            for label in store.labels.masks():
                shutil.copyfile(label.path, target / f"{label.study_key}_label.nii.gz")
                volume = store.folder(label.study_key) / CT
                if volume.exists():
                    shutil.copyfile(volume, target / f"{label.study_key}_ct.nii.gz")
                exported.append({"study_key": label.study_key, "source": label.source, "held_out": label.held_out})
        say_json({"ok": True, "exported": exported}) if as_json else typer.echo(f"{len(exported)} labels exported")


def withdraw(
    context: typer.Context,
    study: Annotated[str, typer.Argument(metavar="STUDY_KEY", help="Any study of the patient, as `status` shows it.")],
    as_json: Json = False,
) -> None:
    """Keep a patient out of every later training, with all studies of theirs. What was spent before stays spent (`ledger`)."""
    with answering(as_json=as_json):
        from protocol.plan import LabelUse

        store, _ = _open_home(home_of(context))
        subject = store.labels.withdraw_subject(study)
        _note(home_of(context), "label.withdrawn", study)
        cases = store.labels.training_cases(LabelUse.MASKS_AND_ZONE_SCORES)
        left = len({case.subject_key for case in cases})
        document = {
            "ok": True,
            "subject_key": subject,
            "patients_left": left,
            "withdrawn": len(store.labels.withdrawn_subjects()),
        }
        say_json(document) if as_json else typer.echo(f"Withdrawn. {left} labelled patients are left to train on.")


def _decide(context: typer.Context, study: str, *, held_out: bool, as_json: bool) -> None:
    with answering(as_json=as_json):
        labelling = _open_labelling(home_of(context))
        labelling.hold_out(study, held_out=held_out)
        _note(home_of(context), "label.held-out" if held_out else "label.taken-in", study)
        document = {"ok": True, "study_key": study, "held_out": held_out, **labelling.counts()}
        say_json(document) if as_json else remark(
            f"{document['held_out']} of {document['labels']} labels are held out."
        )


def _note(home: Path, event: str, study: str) -> None:
    """Append what was decided from a shell to the audit, as the console does for a person."""
    from client.rooms.border import open_gate
    from client.settings import load_settings
    from client.staff.accounts import BY_COMMAND

    open_gate(load_settings(home)).audit.append(event, f"{BY_COMMAND}:{study}", "clear")


def _word_of(label: dict[str, Any]) -> str:
    """Say in a word why a label is trained on or not."""
    reasons = (
        ("withdrawn", label["withdrawn"]),
        ("held out", label["held_out"]),
        ("another grid", not label["on_present_grid"]),
        ("a mask counts", label["outranked"]),
    )
    return next((word for word, holds in reasons if holds), "trained on")


def _loss_line(loss: dict[str, float]) -> str:
    return (
        f"overlap after there and back {loss['dice']:.3f}, volume {100 * loss['volume_ratio']:.1f} %,"
        f" {100 * loss['outside_fraction']:.1f} % outside"
    )


def _files(path: Path) -> list[Path]:
    """Return the files to import, sorted by name.

    Raises:
        InvalidInputError: `not-found` if there is none.
    """
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise InvalidInputError(Code.NOT_FOUND, f"There is no mask at {path}. Check the path.")
    return files


def _open_labelling(home: Path) -> "Labelling":
    from client.settings import load_settings
    from client.staffroom import open_labelling

    return open_labelling(load_settings(home))


def _open_home(home: Path) -> "tuple[StudyStore, Pseudonyms]":
    from client.rooms.imaging import open_pseudonyms, open_store
    from client.settings import load_settings

    settings = load_settings(home)
    return open_store(settings), open_pseudonyms(settings)
