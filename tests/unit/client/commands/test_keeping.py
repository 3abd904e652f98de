"""`context`, `study` and `key` from the command line: one JSON document, a code for what is refused, nothing of a patient in either."""

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from client.commands import context, keys, study
from client.gate.gate import SCHEMA as GATE_SCHEMA
from client.gateway.tables import SCHEMA as BOOK_SCHEMA
from client.parts import only_supervisor
from client.rooms.imaging import open_pseudonyms
from client.rooms.keeping import open_housekeeper
from client.settings import load_settings
from client.store.database import connect
from protocol.errors import ConflictError
from tests.fakes.hl7_messages import bundle, fhir_patient, fhir_result, imaging_order, result
from tests.fakes.node_home import Home
from tests.unit.client.store.test_removal import hand_over, measured


def run(home: Home, *words: str | Path, exit_code: int = 0) -> dict[str, Any]:
    app = typer.Typer()

    @app.callback()
    def main(home: Annotated[Path, typer.Option()]) -> None:
        """As the node's own program: the home stands before the verb."""

    for room in (context, keys, study):
        room.add_to(app)
    outcome = CliRunner().invoke(app, ["--home", str(home.settings.home), *map(str, words), "--json"])
    assert outcome.exit_code == exit_code, outcome.output
    assert "CANARY" not in outcome.output
    document: dict[str, Any] = json.loads(outcome.stdout)
    return document


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    (home.settings.home / "node.toml").write_text("[dicom]\nminimum_free_mb = 1\n[retention]\nlogs_days = 1\n")
    connect(home.settings.database, GATE_SCHEMA, BOOK_SCHEMA)
    return home


def test_files_of_every_kind_are_taken_by_how_they_begin(home: Home, tmp_path: Path) -> None:
    said = {
        "a.hl7": b"\x0b" + result() + b"\x1c\r\x0b" + imaging_order() + b"\x1c\r",
        "b.json": json.dumps(bundle(fhir_patient(), fhir_result())).encode(),
        "c.csv": b"accession_number,care_setting\nACC-1,inpatient\n",
    }
    kept = {}
    for name, content in said.items():
        (tmp_path / name).write_bytes(content)
        document = run(home, "context", "import", tmp_path / name)
        kept[document["kind"]] = document["kept"]
    assert kept == {"hl7": 2, "fhir": 3, "csv": 1}
    (tmp_path / "wrong.csv").write_bytes(b"patient_id,pcr\nCANARY-1,CANARY\n")
    wrong = run(home, "context", "import", tmp_path / "wrong.csv", exit_code=2)
    assert wrong["lines"] == [{"line": 2, "code": "bad-request", "column": "pcr_date"}]
    assert run(home, "context", "import", tmp_path / "absent", exit_code=2)["code"] == "not-found"


def test_a_person_speaks_of_a_stored_study_only(home: Home) -> None:
    key = measured(home)
    assert run(home, "context", "set", key, "--pcr", "positive", "--care-setting", "emergency")["kept"] == 2
    assert run(home, "context", "show", key)["concluded"] is False, "the worker has not been there yet"
    for words in (["nobody", "--pcr", "positive"], [key, "--pcr", "perhaps"], [key]):
        run(home, "context", "set", *words, exit_code=2)


def test_a_study_goes_and_may_come_again(home: Home) -> None:
    key = measured(home)
    assert run(home, "study", "delete", key) == {"ok": True, "deleted": [key], "waiting": 1}
    hand_over(home.store())
    open_housekeeper(load_settings(home.settings.home)).tidy()
    assert home.store().studies() == []
    assert run(home, "study", "delete", key, exit_code=2)["code"] == "not-found"
    assert run(home, "study", "readmit", key)["ok"]


def test_a_patient_goes_with_every_study(home: Home) -> None:
    first, second = measured(home), measured(home, "second")
    assert set(run(home, "study", "delete", first, "--subject")["deleted"]) == {first, second}


def test_a_key_changes_only_while_the_node_stands_still(home: Home) -> None:
    first = run(home, "key", "list")["keys"][0]["key_id"]
    with only_supervisor(home.settings.home):
        assert run(home, "key", "rotate", exit_code=3)["code"] == "already-exists"
    second = run(home, "key", "rotate")
    assert second["earlier"] == [first]
    assert open_pseudonyms(load_settings(home.settings.home)).key_id == second["key_id"]
    assert (
        run(home, "key", "retire", second["key_id"], exit_code=ConflictError.exit_code)["code"] == "illegal-transition"
    )
    assert run(home, "key", "retire", first)["retired"] == first
    assert [one["key_id"] for one in run(home, "key", "list")["keys"]] == [second["key_id"]]
