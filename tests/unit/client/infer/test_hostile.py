"""The kept corpus, and mutants of it, through reading and through intake: in a child with bounds on memory and time, and never a crash."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.corpus.hostile import ANY, content, corpus
from tests.unit.client.infer.test_fuzz import CODES, EDITS, mutated

ROOT = Path(__file__).resolve().parents[4]
SMALL = {name: file for name, (file, _) in corpus().items() if isinstance(file, bytes) and len(file) < 20_000}


class Probe:
    """The child; it starts anew after a death."""

    def __init__(self, mode: str, folder: Path) -> None:
        self.mode, self.folder = mode, folder
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.probe", self.mode, str(self.folder / "home")], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def read(self, name: str, content: bytes) -> dict[str, float | str | None]:
        path = self.folder / name
        path.write_bytes(content)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            died = self.process.wait()
            self.process = self._start()
            pytest.fail(f"{self.mode} of {name} ended the child ({died})")
        path.unlink()
        answer: dict[str, float | str | None] = json.loads(line)
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module", params=["scan", "intake"])
def probe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    probe = Probe(request.param, tmp_path_factory.mktemp("hostile"))
    yield probe
    probe.end()


@pytest.mark.parametrize("name", corpus())
def test_a_hostile_file_ends_in_its_code_quickly_and_in_little_memory(probe: Probe, name: str) -> None:
    case = corpus()[name]
    answer = probe.read(name, content(case))
    if probe.mode == "scan":
        assert answer["code"] in {code.value if code is not None else None for code in case[1]}
    assert float(str(answer["seconds"])) < 10
    assert float(str(answer["mib"])) < 700


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(SMALL)), edits=EDITS)
def test_mutants_end_in_a_code(probe: Probe, name: str, edits: list[tuple[str, float, bytes]]) -> None:
    answer = probe.read(name, mutated(SMALL[name] or b"\0", edits, 1600))
    known = {code.value if code is not None else None for code in CODES | ANY}
    assert answer["code"] in known | {"already-exists"}
    assert float(str(answer["seconds"])) < 10


def test_nothing_was_written_outside(probe: Probe) -> None:
    assert not Path("/tmp/evil.dcm").exists()
    assert {path.name for path in probe.folder.iterdir()} <= {"home"}
