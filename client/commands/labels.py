"""`acinus-node label import|export|withdraw`: expert masks become training truth, go out again, or count no more."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.commands.home import answering, home_of, remark, say_json
from protocol.codes import Code
from protocol.errors import InvalidInputError

if TYPE_CHECKING:
    from client.deidentify.pseudonyms import Pseudonyms
    from client.store.studies import StudyStore

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add `label` to the node's program."""
    label = typer.Typer(no_args_is_help=True, help="Expert masks: import, export, withdraw.")
    label.command("import")(import_)
    label.command("export")(export)
    label.command("withdraw")(withdraw)
    app.add_typer(label, name="label")


def import_(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A NIfTI mask or DICOM SEG, or a folder of them.")],
    study: Annotated[str | None, typer.Option(help="Key of the study; otherwise the grid says which.")] = None,
    source: Annotated[str, typer.Option(help="Who made the masks, in a word.")] = "import",
    as_json: Json = False,
) -> None:
    """Take masks (1 ground glass, 2 consolidation) as labels of stored studies on the same grid."""
    with answering(as_json=as_json):
        from client.infer.labels import import_label

        store, pseudonyms = _open_home(home_of(context))
        imported: list[dict[str, str]] = []
        refused: list[dict[str, str]] = []
        for file in _files(path):
            try:
                key = import_label(file, store, pseudonyms, study_key=study, source=source)
            except InvalidInputError as error:
                refused.append({"file": file.name, "code": error.code.value})
                remark(f"{file.name}: {error}")
                continue
            imported.append({"file": file.name, "study_key": key})
        document: dict[str, Any] = {"ok": not refused, "imported": imported, "refused": refused}
        say_json(document) if as_json else typer.echo(f"{len(imported)} labels imported, {len(refused)} refused")
        if refused:
            raise typer.Exit(InvalidInputError.exit_code)


def export(
    context: typer.Context,
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A folder for the masks.")],
    as_json: Json = False,
) -> None:
    """Copy every label, and the volume that it lies on, under the keys of their studies. They stay pseudonymous patient data."""
    with answering(as_json=as_json):
        from client.store.files import disk_faults
        from client.store.studies import CT

        store, _ = _open_home(home_of(context))
        exported = []
        with disk_faults():
            target.mkdir(parents=True, exist_ok=True)
            for label in store.labels():
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
        store, _ = _open_home(home_of(context))
        subject = store.withdraw_subject(study)
        left = len({case.subject_key for case in store.training_cases()})
        document = {
            "ok": True,
            "subject_key": subject,
            "patients_left": left,
            "withdrawn": len(store.withdrawn_subjects()),
        }
        say_json(document) if as_json else typer.echo(f"Withdrawn. {left} labelled patients are left to train on.")


def _files(path: Path) -> list[Path]:
    """Return the files to import, sorted by name.

    Raises:
        InvalidInputError: `not-found` if there is none.
    """
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise InvalidInputError(Code.NOT_FOUND, f"There is no mask at {path}. Check the path.")
    return files


def _open_home(home: Path) -> "tuple[StudyStore, Pseudonyms]":
    from client.deidentify.pseudonyms import KEY_FILE, load_pseudonyms
    from client.rooms import open_store
    from client.settings import load_settings

    settings = load_settings(home)
    return open_store(settings), load_pseudonyms(settings.keys / KEY_FILE)
