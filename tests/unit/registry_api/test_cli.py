"""The command line: one JSON document on standard output, exit codes by family, one sentence for each mistake."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlmodel import SQLModel
from typer.testing import CliRunner

from protocol.enrolment import decode_invite
from protocol.errors import UnavailableError
from registry_api import cli
from registry_api.commands import network
from registry_api.enrolment.tables import SiteRow
from registry_api.people.keys import caller_by_key
from registry_api.people.roles import Role
from registry_api.people.service import person_by_key
from registry_api.reading.tables import ReaderRow
from registry_api.runtime import build_runtime
from tests.fakes.databases import use_database
from tests.fakes.ports import free_port
from tests.unit.registry_api.conftest import Registry

RUNNER = CliRunner()


def run(home: Path, *arguments: str) -> str:
    result = RUNNER.invoke(cli.app, ["--home", str(home), *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(home: Path, *arguments: str):
    return json.loads(run(home, *arguments, "--json"))


@dataclass(frozen=True)
class Outcome:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def attempt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the program's own `main`, the rim that turns errors into exit codes."""

    def run_main(home: Path, *arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["acinus-registry", "--home", str(home), *arguments])
        with pytest.raises(SystemExit) as raised:
            cli.main()
        code = raised.value.code
        return Outcome(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run_main


def test_the_log_of_thresholds_is_read_even_where_the_settings_are_refused(
    home: Path, attempt: Callable[..., Outcome]
) -> None:
    assert run_json(home, "release", "thresholds") == []
    settings = home / "registry.toml"
    good = settings.read_text()
    settings.write_text(f"{good}\n[disclosure]\nminimum = 9\n")
    assert attempt(home, "release", "build").returncode == 2
    [line] = run_json(home, "release", "thresholds")
    settings.write_text(good)
    assert (line["event"], line["thresholds"]["minimum"]) == ("refused", 9)


def test_a_database_that_is_away_is_one_sentence(home: Path, attempt: Callable[..., Outcome]) -> None:
    use_database(home, f"postgresql+pg8000://acinus@127.0.0.1:{free_port()}/registry")
    outcome = attempt(home, "sites", "--json")
    assert (outcome.returncode, json.loads(outcome.stdout)["code"]) == (5, "database-unreachable")
    assert outcome.stderr.count("\n") == 1
    assert outcome.stderr.endswith("try again. [database-unreachable]\n")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (SiteRow(site="north-a", region="XA-N"), (3, "already-exists")),
        (ReaderRow(reader_id="f" * 32), (2, "not-found")),
        (SiteRow(site="north-b"), (1, "fault")),
    ],
)
def test_a_row_that_the_database_refuses_is_one_sentence_that_does_not_quote_it(
    registry: Registry, home: Path, attempt: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch,
    row: SQLModel, said: tuple[int, str],
) -> None:  # fmt: skip
    """The commands look first; this is for what comes or goes in between."""
    registry.enrol("north-a")
    monkeypatch.setattr(network, "expect_studies", lambda session, *_, **__: session.add(row.model_copy()))
    outcome = attempt(home, "sites", "expect", "north-a", "--weekly", "5", "--json")
    assert (outcome.returncode, json.loads(outcome.stdout)["code"]) == said
    assert outcome.stderr.count("\n") == 1
    assert not any(word in outcome.stderr + outcome.stdout for word in ("north", "XA", "ffff"))


def test_as_a_user_starts_it(home: Path) -> None:
    command = [sys.executable, "-m", "registry_api.cli", "--home", str(home), "sites", "revoke", "nobody"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "There is no site nobody. `acinus-registry sites` lists them. [not-found]\n"


def test_an_invite_is_one_word_that_a_node_can_read(registry: Registry, home: Path) -> None:
    made = run_json(home, "invite", "create", "--site", "northport", "--region", "XA-N")
    invite = decode_invite(made["invite"])
    assert (invite.site, invite.registry) == ("northport", "https://localhost:8443")
    assert invite.ca_sha256 == registry.runtime.authority.sha256
    assert decode_invite(run(home, "invite", "create", "--site", "northport", "--region", "XA-N")).site == "northport"
    assert run_json(home, "invite", "revoke", "northport") == {"site": "northport", "revoked": 1}


def test_sites_are_listed_and_shut_out(registry: Registry, home: Path) -> None:
    assert "No site yet" in run(home, "sites")
    registry.enrol("northport")
    assert [one["active"] for one in run_json(home, "sites")] == [True]
    assert "northport" in run(home, "sites")
    run(home, "sites", "revoke", "northport")
    assert [one["active"] for one in run_json(home, "sites")] == [False]


def test_a_basis_is_withdrawn_once(registry: Registry, home: Path, attempt) -> None:
    registry.enrol("northport")
    registry.cases("northport", 2, legal_basis="consent")
    emptied = run_json(home, "sites", "withdraw-basis", "northport", "consent")
    assert emptied == {"site": "northport", "basis": "consent", "emptied": 2}
    assert attempt(home, "sites", "withdraw-basis", "northport", "consent").returncode == 3


def test_a_hospital_says_what_it_expects_and_gets_a_key_of_its_own(registry: Registry, home: Path) -> None:
    registry.enrol("northport")
    assert run_json(home, "sites", "expect", "northport", "--weekly", "60") == {"site": "northport", "weekly": 60}
    added = run_json(home, "people", "add", "Radiology", "--role", "hospital", "--site", "northport")
    with registry.runtime.database.reading() as session:
        person = person_by_key(session, added["api_key"])
    assert person is not None
    assert (person.role, person.site) == (Role.HOSPITAL, "northport")


def test_a_program_gets_a_key_of_its_own_that_is_ended_by_itself(registry: Registry, home: Path, attempt) -> None:
    person = run_json(home, "people", "add", "Ministry of Health", "--role", "ministry", "--region", "XA")["id"]
    made = run_json(
        home, "keys", "add", person, "--label", "import", "--scope", "counts", "--scope", "alerts", "--days", "30"
    )
    assert made["scopes"] == ["alerts", "counts"]
    [listed] = run_json(home, "keys", "list", "--person", person)
    assert made["api_key"].startswith(listed["prefix"])
    assert made["api_key"] not in run(home, "keys", "list")
    with registry.runtime.database.reading() as session:
        assert caller_by_key(session, made["api_key"], now=registry.clock()) is not None
    run(home, "keys", "revoke", made["id"])
    assert "revoked" in run(home, "keys", "list")
    assert attempt(home, "keys", "add", person, "--label", "x", "--scope", "quality").returncode == 2


def test_people_get_keys_that_work_and_lose_them(registry: Registry, home: Path) -> None:
    added = run_json(home, "people", "add", "Ministry of Health", "--role", "ministry", "--region", "XA")
    with registry.runtime.database.reading() as session:
        person = person_by_key(session, added["api_key"])
    assert person is not None
    assert (person.id, person.role, person.region) == (added["id"], Role.MINISTRY, "XA")
    assert [one["name"] for one in run_json(home, "people", "list")] == ["Ministry of Health"]
    assert added["api_key"] not in run(home, "people", "list")
    run(home, "people", "remove", added["id"])
    assert [one["active"] for one in run_json(home, "people", "list")] == [False]


def test_units_are_named_counted_and_listed(registry: Registry, home: Path) -> None:
    assert "No unit yet" in run(home, "units")
    registry.enrol("northport")
    run(home, "units", "add", "XA-N01", "--parent", "XA-N", "--name", "First", "--system", "urn:oid:1.2.3")
    run(home, "units", "population", "XA-N", "--year", "2026", "--persons", "1250000")
    listed = {one["code"]: one for one in run_json(home, "units")}
    assert listed["XA-N"]["population"] == {"2026": 1_250_000}
    assert (listed["XA-N01"]["parent"], listed["XA-N01"]["system"]) == ("XA-N", "urn:oid:1.2.3")


def test_readers_and_agreements(registry: Registry, home: Path) -> None:
    registry.enrol("northport")
    verifier = registry.add(Role.COORDINATOR).person_id
    seen = ("--until", "2099-12-31", "--verified-by", verifier)
    reader = run_json(
        home, "readers", "add", "R", "--jurisdiction", "XA", "--language", "en", "--evidence", "GMC:7654321", *seen
    )
    assert reader["api_key"].startswith("acn_")
    agreed = run_json(
        home, "agreements", "add", "--site", "northport", "--reader", reader["id"], "--until", "2099-12-31"
    )
    assert (agreed["reader"], agreed["group"], agreed["pool"], agreed["until"][:10]) == (
        reader["id"],
        None,
        False,
        "2099-12-31",
    )
    assert [one["reader"] for one in run_json(home, "agreements", "list")] == [reader["id"]]
    run(
        home, "readers", "train", reader["id"], "--subspecialty", "thoracic", "--evidence", "sha256:" + "ab" * 32, *seen
    )
    run(
        home,
        "readers",
        "license",
        reader["id"],
        "--jurisdiction",
        "XB",
        "--language",
        "pt",
        "--evidence",
        "OM/1",
        *seen,
    )
    run(home, "readers", "set", reader["id"], "--capacity", "3", "--home-site", "northport")
    shown = run_json(home, "readers", "show", reader["id"])
    assert [(one["what"], one["language"], one["evidence"]) for one in shown["credentials"]] == [
        ("XA", "en", "GMC:7654321"), ("XB", "pt", "OM/1"), ("thoracic", None, "sha256:" + "ab" * 32),
    ]  # fmt: skip
    assert {one["verified_by"] for one in shown["credentials"]} == {verifier}
    assert (shown["capacity"], shown["capacity_stat"], shown["home_site"]) == (
        3,
        2,
        "northport",
    )
    assert (shown["agreements"], shown["privileges"]) == (["northport"], []), "the centre cannot grant a privilege"
    run(home, "readers", "group", reader["id"], "Night")
    whom = ("--site", "northport", "--group", "Night")
    run(home, "agreements", "add", *whom)
    run(home, "agreements", "change", *whom, "--stat-minutes", "30", "--double-read-percent", "20")
    run(home, "agreements", "end", "--site", "northport", "--reader", reader["id"])
    assert run_json(home, "agreements", "list") == [
        {
            "site": "northport", "reader": None, "group": "Night", "until": None, "pool": False, "stat_minutes": 30,
            "urgent_minutes": None, "routine_minutes": None, "double_read_percent": 20,
        }
    ]  # fmt: skip
    run(home, "agreements", "end", *whom)
    assert run_json(home, "agreements", "list") == []


def test_a_readers_own_hospital_is_one_of_the_network(
    registry: Registry, home: Path, attempt: Callable[..., Outcome]
) -> None:
    reader = registry.add(Role.READER).person_id
    refused = attempt(home, "readers", "set", reader, "--home-site", "nowhere", "--json")
    assert (refused.returncode, json.loads(refused.stdout)["code"]) == (2, "not-found")
    registry.enrol("northport")
    run(home, "readers", "set", reader, "--home-site", "northport")
    run(home, "readers", "set", reader, "--home-site", "")
    assert run_json(home, "readers", "show", reader)["home_site"] is None


def test_the_matcher_and_the_months_load(registry: Registry, home: Path) -> None:
    reader = registry.add(Role.READER).person_id
    assert run_json(home, "readers", "match", "--dry-run") == {"assigned": [], "waiting": 0, "readers": 1}
    assert "0 set aside, 0 wait on, 1 readers." in run(home, "readers", "match")
    (alone,) = run_json(home, "readers", "load", "--month", "2026-03")
    assert alone == {"group": "", "readers": 1, "reads": {reader: 0}, "gini": 0.0}
    assert "1 readers" in run(home, "readers", "load", "--month", "2026-03")


def test_a_release_is_built_once_and_exported(registry: Registry, home: Path, tmp_path: Path) -> None:
    for site in ("north-a", "north-b"):
        registry.enrol(site)
        registry.cases(site, 12, week="2025-W30")
    built = run_json(home, "release", "build")
    assert (built["release"], built["new"], built["weeks"]) == (1, True, 1)
    assert built["published"] > 0
    assert run_json(home, "release", "build")["new"] is False
    run(home, "release", "export", "1", "--format", "json", "--out", str(tmp_path / "r.json"))
    run(home, "release", "export", "1", "--format", "csv", "--out", str(tmp_path / "r.csv"))
    assert json.loads((tmp_path / "r.json").read_bytes())["number"] == 1
    for form in ("dhis2", "dhis2-left-out", "fhir-r5", "fhir-r4b"):
        run(home, "release", "export", "1", "--format", form, "--out", str(tmp_path / form))
    assert len(json.loads((tmp_path / "dhis2").read_bytes())["dataValues"]) == built["published"]
    assert json.loads((tmp_path / "dhis2-left-out").read_bytes()) == []
    assert json.loads((tmp_path / "fhir-r4b").read_bytes()) != json.loads((tmp_path / "fhir-r5").read_bytes())
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 1 + built["published"]


ID = "0" * 32
SEEN = ("--until", "2099-12-31", "--verified-by", ID)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["invite", "create", "--site", "North Port", "--region", "XA"], 2, "--site"),
        (["invite", "create", "--site", "northport", "--region", "Narnia"], 2, "--region"),
        (["invite", "revoke", "nobody"], 2, "no invite"),
        (["sites", "revoke", "nobody"], 2, "no site nobody"),
        (["people", "add", "M", "--role", "ministry"], 2, "--region"),
        (["units", "add", "XA-N", "--name", "North"], 2, "--parent"),
        (["units", "population", "XA-N", "--year", "2026", "--persons", "5"], 2, "no unit XA-N"),
        (["people", "add", "M", "--role", "emperor"], 2, "emperor"),
        (["agreements", "add", "--site", "x1", "--reader", "zz"], 2, "--reader"),
        (["agreements", "end", "--site", "x1", "--reader", ID], 2, "no such agreement"),
        (["agreements", "add", "--site", "x1", "--reader", ID, "--group", "G"], 2, "not both"),
        (["agreements", "add", "--site", "x1"], 2, "--reader or --group"),
        (["readers", "add", "R", "--jurisdiction", "XA", "--evidence", "a photo of it", *SEEN], 2, "--evidence"),
        (["readers", "add", "R", "--jurisdiction", "XA", "--evidence", "GMC:1", *SEEN], 2, "coordinator or an auditor"),
        (["readers", "train", ID, "--subspecialty", "thoracic", "--evidence", "X:1", *SEEN], 2, "no reader"),
        (["readers", "show", ID], 4, "not a reader"),
        (["release", "export", "9", "--format", "csv", "--out", "x"], 2, "no such release"),
    ],
)
def test_mistakes(attempt, home: Path, arguments: list[str], exit_code: int, says: str) -> None:
    result = attempt(home, *arguments)
    assert result.returncode == exit_code
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_with_json_a_refusal_is_a_document_too(attempt, home: Path) -> None:
    result = attempt(home, "invite", "revoke", "nobody", "--json")
    assert result.returncode == 2
    refused = json.loads(result.stdout)
    assert (refused["ok"], refused["code"]) == (False, "not-found")


def test_a_region_that_a_site_does_not_have_is_a_conflict(attempt, registry: Registry, home: Path) -> None:
    registry.enrol("northport", "XA-N")
    result = attempt(home, "invite", "create", "--site", "northport", "--region", "XA-S")
    assert result.returncode == 3
    assert "[already-exists]" in result.stderr


def test_without_settings_the_sentence_says_what_to_run(attempt, tmp_path: Path) -> None:
    result = attempt(tmp_path, "sites")
    assert result.returncode == 2
    assert "acinus-centre" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("file", "what"),
    [
        *(
            (file, what)
            for file in ("pki/ca.pem", "pki/ca.key", "secrets/grant.key", "catalogue/metadata/1.root.json")
            for what in ("missing", "damaged")
        ),
        ("secrets/service.token", "missing"),
    ],
)
def test_a_missing_or_damaged_key_is_one_sentence(home: Path, file: str, what: str) -> None:
    for folder in ("pki", "secrets"):
        kept = {path.name: path.read_bytes() for path in (home / folder).iterdir() if path.is_file()}
        (home / folder).unlink()
        (home / folder).mkdir()
        for name, content in kept.items():
            (home / folder / name).write_bytes(content)
    (home / file).unlink() if what == "missing" else (home / file).write_text("not a key")
    with pytest.raises(UnavailableError, match=str(home / file)) as raised:
        build_runtime(home)
    assert (raised.value.code, raised.value.exit_code) == ("missing-certificate", 5)


def test_migrate_says_so_on_standard_error(attempt, home: Path) -> None:
    result = attempt(home, "migrate")
    assert (result.returncode, result.stdout) == (0, "")
    assert "newest schema" in result.stderr


def test_a_reader_joins_a_group_and_leaves_it(registry: Registry, home: Path, attempt) -> None:
    reader = registry.add(Role.READER).person_id
    assert run_json(home, "readers", "group", reader, "Night readers", "--lead") == {
        "reader": reader, "group": "Night readers", "lead": True,
    }  # fmt: skip
    assert "alone" in run(home, "readers", "group", reader)
    with registry.runtime.database.reading() as session:
        row = session.get_one(ReaderRow, reader)
    assert (row.reading_group, row.leads) == (None, False)
    assert attempt(home, "readers", "group", "0" * 32, "Night readers").returncode == 2


def test_webhooks_are_made_listed_and_removed(registry: Registry, home: Path, attempt) -> None:
    person = registry.add(Role.COORDINATOR).person_id
    made = run_json(home, "webhooks", "add", "https://ris.example/acinus", "--person", person)
    assert made["secret"].startswith("whsec_")
    assert run_json(home, "webhooks", "secret", made["id"])["secret"] == made["secret"]
    (shown,) = run_json(home, "webhooks", "list")
    assert (shown["url"], shown["person"], shown["dead"]) == ("https://ris.example/acinus", person, [])
    assert run_json(home, "webhooks", "redeliver", made["id"])["deliveries"] == 0
    assert "Removed" in run(home, "webhooks", "remove", made["id"])
    assert run_json(home, "webhooks", "list") == []
    assert attempt(home, "webhooks", "add", "http://ris.example/", "--person", person).returncode == 2
