"""The command line: one JSON document on standard output, exit codes by family, one clear sentence for each mistake."""

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError
from server import cli, runtime
from server.catalogue import Catalogue
from server.settings import load_settings
from strategies.flower.fleet import RunState
from tests.fakes.evaluations import an_evaluation
from tests.fakes.ports import free_port
from tests.unit.server.test_run import SCORES
from tests.unit.server.test_training import MemoryFleet

ROOT = Path(__file__).resolve().parents[3]

PLAN = """
base = "ggo@0"
sites = ["northport", "southbay"]
rounds = 3
quorum = 2
learning_rate = 0.1
[privacy]
noise_multiplier = 1.0
clipping_norm = 0.5
sample_rate = 0.25
expected_batch = 8
steps_per_round = 2
"""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        assert self.out.endswith("}\n")
        assert self.out.count("\n") == 1
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The one line on standard error."""
        (line,) = self.err.splitlines()
        return line


Call = Callable[..., Outcome]


@pytest.fixture
def call(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Run the program's own `main`, the rim that turns errors into exit codes."""
    mask, environment = os.umask(0o077), dict(os.environ)

    def run_main(*words: str, at: Path = home) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["acinus-centre", "--home", str(at), *words])
        with pytest.raises(SystemExit) as raised:
            cli.main()
        code = raised.value.code
        return Outcome(code if isinstance(code, int) else 0, *capsys.readouterr())

    yield run_main
    os.umask(mask)
    os.environ.clear()
    os.environ.update(environment)


def started(home: Path, *words: str, **variables: str) -> Outcome:
    """Start the program as a user does."""
    command = [sys.executable, "-m", "server.cli", "--home", str(home), *words]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **variables}
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


# What goes well.


def test_init_makes_a_centre_and_says_how_to_go_on(call: Call, tmp_path: Path) -> None:
    outcome = call("init", "--base-port", "20000", "--json", at=tmp_path / "new")
    assert outcome.code == 0
    assert outcome.document == {"ok": True, "home": str(tmp_path / "new")}
    assert "acinus-centre --home" in outcome.sentence
    assert load_settings(tmp_path / "new").superlink.port == 20003


def test_status_of_a_centre_that_is_not_running(call: Call) -> None:
    document = call("status", "--json").document
    assert document["ok"] is True
    assert document["running"] is False
    assert document["parts"] == {"superlink": "stopped", "registry": "stopped", "fleet": "stopped"}
    assert (document["sites"], document["promoted"]) == (None, "ggo@0")
    assert [release["name"] for release in document["releases"]] == ["ggo@0"]
    assert len(document["bundle_sha256"]) == 64
    assert "superlink  stopped" in call("status").out


def test_the_catalogue_is_listed(call: Call) -> None:
    document = call("catalogue", "list", "--json").document
    assert (document["ok"], document["promoted"]) == (True, "ggo@0")
    assert document["releases"][0]["promoted"] is True
    assert call("catalogue", "list").out.startswith("* ggo@0")


def test_doctor_finds_a_new_centre_well_or_says_what_is_not(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.status._LEAST_FREE_BYTES", 0)
    outcome = call("doctor", "--json")
    assert outcome.code == 0
    assert outcome.document["ok"] is True
    assert outcome.sentence == "All is well."


def test_doctor_says_what_is_missing_and_ends_as_unavailable(call: Call, home: Path) -> None:
    (home / "pki" / "fleet.pem").unlink()
    (home / "secrets" / "release.key").chmod(0o644)
    outcome = call("doctor", "--json")
    assert outcome.code == 5
    ill = {finding["what"]: finding["advice"] for finding in outcome.document["findings"] if not finding["well"]}
    assert any("fleet.pem" in what for what in ill)
    assert any("release.key" in what for what in ill)
    assert all(line.startswith("not so: ") for line in outcome.err.splitlines())


# Mistakes, and what is said of them.


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["train", "plan.toml"], 2, "There is no plan at plan.toml."),
        (["train"], 2, "Give either a plan or --resume"),
        (["train", "plan.toml", "--resume", "a" * 32], 2, "Give either a plan or --resume"),
        (["train", "--resume", "../../etc"], 2, "There is no run etc in"),
        (["catalogue", "promote", "ggo@9"], 2, "There is no release ggo@9."),
        (["catalogue", "promote", "../secrets"], 2, "There is no release ../secrets."),
        (["catalogue", "rollback"], 3, "ggo@0 is the first release"),
        (["init"], 3, "is not empty. Nothing was changed"),
        (["init", "--base-port", "70000"], 2, "--base-port 70000: four ports"),
        (["init", "--host-name", "not a name"], 2, "--host-name must be a DNS name"),
        (["run", "--only", "kitchen"], 2, "There is no part kitchen"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_code(call: Call, words: list[str], code: int, says: str) -> None:
    outcome = call(*words)
    assert (outcome.code, outcome.out) == (code, "")
    assert says in outcome.sentence
    assert outcome.sentence.endswith("]")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["train", "plan.toml"], "not-found"), (["train"], "bad-request"), (["catalogue", "promote", "ggo@9"], "not-found"),
        (["catalogue", "rollback"], "illegal-transition"), (["init"], "already-exists"), (["init", "--base-port", "0"], "bad-setting"),
    ],
)  # fmt: skip
def test_with_json_a_mistake_is_one_document_too(call: Call, words: list[str], code: str) -> None:
    plain, outcome = call(*words), call(*words, "--json")
    assert outcome.code == plain.code
    assert (outcome.document["ok"], outcome.document["code"]) == (False, code)
    assert outcome.document["message"] in plain.err


@pytest.mark.parametrize("verb", [["status"], ["doctor"], ["catalogue", "list"], ["train", "plan.toml"], ["run"]])
def test_where_there_is_no_centre_it_says_what_to_run(
    call: Call, tmp_path: Path, verb: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plan.toml").write_text(PLAN)
    outcome = call(*verb, at=tmp_path / "nowhere")
    assert outcome.code == 2
    assert "acinus-centre --home" in outcome.sentence


def test_a_wrong_setting_names_file_and_key(call: Call, home: Path) -> None:
    (home / "centre.toml").write_text("[fleet]\nport = 0\n")
    for verb in (["status"], ["run"], ["catalogue", "list"]):
        outcome = call(*verb)
        assert outcome.code == 2
        assert f"{home / 'centre.toml'}: fleet.port" in outcome.sentence
        assert outcome.sentence.endswith("[bad-setting]")


NEEDS = [
    ("secrets/release.key", ["catalogue", "list"]), ("secrets/release.key", ["status"]), ("pki/ca.pem", ["train", "plan.toml"]),
    ("secrets/service.token", ["catalogue", "promote", "ggo@0"]), ("pki/fleet.pem", ["run", "--only", "fleet"]),
]  # fmt: skip
"""Files, and a verb that cannot do without."""


@pytest.mark.parametrize(("name", "words"), NEEDS)
def test_a_missing_key_is_named(
    call: Call, home: Path, name: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    (home / "plan.toml").write_text(PLAN)
    (home / name).unlink()
    outcome = call(*words)
    assert outcome.code == 5
    assert str(home / name) in outcome.err
    assert outcome.err.splitlines()[-1].endswith("[missing-certificate]")


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, words in NEEDS if not name.endswith(".token")])
def test_a_damaged_key_is_named(
    call: Call, home: Path, name: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token is any word: the registry refuses a wrong one."""
    monkeypatch.chdir(home)
    (home / "plan.toml").write_text(PLAN)
    (home / name).write_text("not a key")
    outcome = call(*words)
    assert outcome.code == 5
    assert str(home / name) in outcome.err
    assert outcome.err.splitlines()[-1].endswith("[missing-certificate]")


def test_a_tampered_release_is_refused(call: Call, home: Path) -> None:
    path = home / "catalogue" / "ggo@0" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    outcome = call("catalogue", "promote", "ggo@0", "--json")
    assert (outcome.code, outcome.document["code"]) == (4, "signature-invalid")
    manifest = home / "catalogue" / "ggo@0" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"rounds":0', '"rounds":9'))
    assert call("catalogue", "list", "--json").code == 4
    assert call("status", "--json").code == 4


def test_without_a_running_centre_nothing_can_be_trained_or_promoted(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACINUS_CENTRE_SUPERLINK__PORT", str(free_port()))
    monkeypatch.setenv("ACINUS_CENTRE_REGISTRY__ORIGIN", f"https://localhost:{free_port()}")
    (home / "plan.toml").write_text(PLAN)
    for words in (["train", str(home / "plan.toml")], ["catalogue", "promote", "ggo@0"]):
        outcome = call(*words, "--json")
        assert (outcome.code, outcome.document["code"]) == (5, "peer-unreachable")
    assert [path.name for path in (home / "runs").iterdir()] == [".lock"]


def test_two_runs_at_a_time_are_a_conflict(call: Call, home: Path) -> None:
    (home / "plan.toml").write_text(PLAN)
    with (home / "runs" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = call("train", str(home / "plan.toml"), "--json")
    assert (outcome.code, outcome.document["code"]) == (3, "run-in-progress")


@pytest.mark.parametrize("part", ["fleet", "superlink"])
def test_a_taken_port_is_named_before_anything_starts(home: Path, part: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ports = {
            "ACINUS_CENTRE_FLEET__PORT": str(free_port()), "ACINUS_CENTRE_SUPERLINK__PORT": str(free_port()),
            "ACINUS_CENTRE_REGISTRY__ORIGIN": f"https://localhost:{free_port()}", f"ACINUS_CENTRE_{part.upper()}__PORT": port,
        }  # fmt: skip
        outcome = started(home, "run", **ports)
    assert (outcome.code, outcome.out) == (5, "")
    assert outcome.sentence == (
        f"Another program listens on port {port}, which the {part} needs. Stop it or set another port in {home}. [port-taken]"
    )
    assert not (home / "superlink" / "state.db").exists()


@pytest.mark.slow
def test_a_registry_that_cannot_start_ends_the_centre_with_its_own_sentence(home: Path) -> None:
    """A real start: the parts come up, the registry says what it lacks, everything ends and nobody is left."""
    (home / "pki" / "registry.key").unlink()
    ports = {
        "ACINUS_CENTRE_FLEET__PORT": str(free_port()), "ACINUS_CENTRE_SUPERLINK__PORT": str(free_port()),
    }  # fmt: skip
    outcome = started(home, "run", **ports)
    assert outcome.code == 5
    assert outcome.err.splitlines()[-1].endswith("[missing-certificate]")
    assert "registry.key" in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err


# Full disks, produced for real.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_init_on_a_full_disk_leaves_nothing(small_disk: Path) -> None:
    outcome = started(small_disk / "centre", "init", "--json")
    assert outcome.code == 5
    assert outcome.document["code"] == "disk-full"
    assert "No space left on device" in outcome.sentence
    assert list(small_disk.iterdir()) == []


def test_train_on_a_full_disk_leaves_nothing(
    call: Call, home: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "runs").rmdir()
    (home / "runs").symlink_to(small_disk)
    (home / "plan.toml").write_text(PLAN)
    monkeypatch.setattr(runtime, "open_fleet", lambda _: MemoryFleet())
    outcome = call("train", str(home / "plan.toml"), "--json")
    assert (outcome.code, outcome.document["code"]) == (5, "disk-full")
    assert [path.name for path in small_disk.iterdir()] == [".lock"]


def test_run_on_a_full_disk_is_one_sentence(home: Path, small_disk: Path) -> None:
    (home / "logs").rmdir()
    (home / "logs").symlink_to(small_disk / "logs")
    (small_disk / "filler").write_bytes(b"x" * 256 * 1024)
    inodes = subprocess.run(["mount", "-o", "remount,nr_inodes=2", str(small_disk)], check=False)
    if inodes.returncode:
        pytest.skip("this kernel does not count inodes of tmpfs")
    outcome = started(home, "run")
    assert outcome.code == 5
    assert outcome.sentence.endswith("[disk-full]")


# The rim.


def test_ctrl_c_stops_the_serverapp_and_ends_as_interrupted(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(MemoryFleet):
        def run_state(self, number: int) -> RunState:
            if not self.paused:
                self.paused = True
                raise KeyboardInterrupt
            return RunState("", "")

        paused = False

    fleet = Interrupted()
    (home / "plan.toml").write_text(PLAN)
    monkeypatch.setattr(runtime, "open_fleet", lambda _: fleet)
    monkeypatch.setattr("server.training.phantom_measure", lambda _: lambda _: SCORES)
    outcome = call("train", str(home / "plan.toml"), "--json")
    assert (outcome.code, outcome.out) == (130, "")
    assert fleet.stopped == [101]
    assert "Traceback" not in outcome.err


def test_every_family_has_its_exit_code(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: Exception) -> Callable[..., Any]:
        def raising(*_: object) -> Any:
            raise error

        return raising

    for error, code in ((RefusedError(Code.QUORUM_MISSED), 4), (UnavailableError(Code.DISK_FULL), 5)):
        monkeypatch.setattr(runtime, "open_catalogue", fail(error))
        assert call("catalogue", "list").code == code
        assert call("catalogue", "list", "--json").code == code


def test_a_programs_proxy_never_stands_before_loopback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org")
    call("catalogue", "list")
    assert os.environ["NO_PROXY"] == "example.org,localhost,127.0.0.1"
    assert os.environ["FLWR_TELEMETRY_ENABLED"] == "0"


def test_as_a_user_starts_it(home: Path) -> None:
    outcome = started(home, "catalogue", "rollback")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.sentence == "ggo@0 is the first release; there is none before it. [illegal-transition]"


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["catalogue", "--help"]])
def test_help_is_there(call: Call, words: list[str]) -> None:
    outcome = call(*words)
    assert outcome.code == 0
    assert "Usage" in outcome.out


def test_an_unknown_option_is_a_usage_error(call: Call) -> None:
    outcome = call("status", "--jsn")
    assert (outcome.code, outcome.out) == (2, "")


# Promotion, with a registry in memory.


@dataclass
class MemoryRegistry:
    published: list[str]
    refusal: UnavailableError | None = None
    listed: str = ""
    """The newest list of releases that was handed over."""

    def publish_lists(self, files: dict[str, str]) -> None:
        self.listed = max((name, body) for name, body in files.items() if name.endswith("targets.json"))[1]

    def publish(self, signed: Any, weights: bytes) -> None:
        if self.refusal:
            raise self.refusal
        self.published.append(signed.manifest.name)


def test_promote_and_roll_back(call: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = MemoryRegistry([])
    monkeypatch.setattr(runtime, "open_registry", lambda _: registry)
    shelf = runtime.open_catalogue(load_settings(home))
    other(shelf)
    assert call("catalogue", "promote", "ggo@1", "--json").document == {"ok": True, "promoted": "ggo@1"}
    assert call("catalogue", "promote", "ggo@0").code == 3
    assert call("catalogue", "rollback", "--json").document == {"ok": True, "promoted": "ggo@2"}
    assert registry.published == ["ggo@1", "ggo@2"]
    assert [name in registry.listed for name in ("ggo@0/", "ggo@1/", "ggo@2/")] == [True, False, True]
    assert shelf.weights("ggo@2") == shelf.weights("ggo@0")


def test_an_override_is_written_down_before_the_release_leaves(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = MemoryRegistry([], UnavailableError(Code.PEER_UNREACHABLE))
    monkeypatch.setattr(runtime, "open_registry", lambda _: registry)
    monkeypatch.setattr(runtime.getpass, "getuser", lambda: "ada")
    shelf = runtime.open_catalogue(load_settings(home))
    other(shelf, evaluation=an_evaluation(Code.WORSE_THAN_PRESENT))
    refused = call("catalogue", "promote", "ggo@1", "--json")
    assert (refused.code, refused.document["code"]) == (4, "worse-than-present")
    assert call("catalogue", "list", "--json").document["overrides"] == []
    despite = ("catalogue", "promote", "ggo@1", "--despite", "worse-than-present")
    assert call(*despite).code == 5
    written = call("catalogue", "list", "--json").document["overrides"]
    assert [(one["release"], one["code"], one["who"]) for one in written] == [("ggo@1", "worse-than-present", "ada")]
    registry.refusal = None
    assert call(*despite, "--json").document == {"ok": True, "promoted": "ggo@1", "despite": "worse-than-present"}
    assert "ggo@1 was promoted in spite of worse-than-present by ada" in call("catalogue", "list").out


def test_there_is_nothing_to_override_where_nothing_refuses(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "open_registry", lambda _: MemoryRegistry([]))
    other(runtime.open_catalogue(load_settings(home)))
    assert call("catalogue", "promote", "ggo@1", "--despite", "worse-than-present").code == 2
    assert call("catalogue", "list", "--json").document["overrides"] == []


def test_what_the_registry_does_not_take_is_not_promoted(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = MemoryRegistry([], UnavailableError(Code.PEER_UNREACHABLE))
    monkeypatch.setattr(runtime, "open_registry", lambda _: registry)
    shelf = runtime.open_catalogue(load_settings(home))
    other(shelf)
    assert call("catalogue", "promote", "ggo@1").code == 5
    assert shelf.promoted() == "ggo@0"
    shelf.note_promotion("ggo@1")
    for _ in range(2):
        assert call("catalogue", "rollback").code == 5
    assert shelf.promoted() == "ggo@1"
    registry.refusal = None
    assert call("catalogue", "rollback", "--json").document["promoted"] == "ggo@2", "three attempts are one release"


def other(shelf: Catalogue, **more: Any) -> None:
    shelf.add(
        b"other",
        lineage="ggo",
        parent="ggo@0",
        architecture="x",
        run_id=None,
        rounds=0,
        sites=0,
        epsilon_max=None,
        scores=None,
        **more,
    )
