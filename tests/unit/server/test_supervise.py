"""The supervisor, with small programs in place of the parts: it starts them, starts them again, says why not, and ends them all."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, UnavailableError
from server.family import family
from server.parts import FLEET, PARTS, REGISTRY, SUPERLINK
from server.settings import CentreSettings
from server.supervise import last_words, port_of, refuse_taken_ports
from tests.fakes.outcomes import code_of
from tests.fakes.ports import free_port

ROOT = Path(__file__).resolve().parents[3]

SUPERVISE = """
import sys
from pathlib import Path
from protocol.errors import FederationError
from server import parts, supervise
from server.settings import CentreSettings

home, scripts = Path(sys.argv[1]), {scripts}
ports = {ports}
supervise.command = lambda part, settings: [sys.executable, "-c", scripts[part], str(ports[part])]
supervise.port_of = lambda part, settings: ports[part]
supervise._FIRST_WAIT_SECONDS, supervise.GRACE_SECONDS, supervise._FRESH_SECONDS = 0.05, 2.0, {fresh_seconds}
supervise.renew_lists = lambda settings: (home / "signed").touch()
try:
    supervise.Supervisor(CentreSettings.model_validate({{"home": home, **{settings}}})).run()
except FederationError as error:
    sys.stderr.write(f"{{error}} [{{error.code}}]")
    raise SystemExit(error.exit_code)
"""

LISTENS = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
ENDS = "raise SystemExit(3)"
REFUSES = "import sys; sys.stderr.write('Some noise\\nThe key is missing. Restore it. [missing-certificate]\\n'); raise SystemExit(5)"
NEVER_LISTENS = "import time; time.sleep(600)"


def until(question: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not question():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


class Running:
    """A supervisor of three small programs in a process of its own."""

    def __init__(
        self, home: Path, *, settings: dict[str, Any] | None = None, fresh_seconds: float = 60.0, **scripts: str
    ) -> None:
        self.home = home
        (home / "logs").mkdir(exist_ok=True)
        self.ports = {part: free_port() for part in PARTS}
        words = {"scripts": dict.fromkeys(PARTS, LISTENS) | scripts, "ports": self.ports, "settings": settings or {}}
        script = SUPERVISE.format(fresh_seconds=fresh_seconds, **{name: repr(word) for name, word in words.items()})
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(home)], cwd=ROOT, stderr=(home / "err").open("w")
        )

    def said(self) -> str:
        return (self.home / "err").read_text()

    def parts(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads((self.home / "runtime.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return content

    def ready(self) -> bool:
        return "The centre is up" in self.said()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(**words: Any) -> Running:
        started.append(Running(tmp_path, **words))
        return started[-1]

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.end()


def test_it_says_when_all_parts_are_up_and_ends_them_all(start: Callable[..., Running]) -> None:
    running = start()
    until(running.ready)
    assert {part["state"] for part in running.parts().values()} == {"running"}
    pids = [part["pid"] for part in running.parts().values()]
    assert set(pids) <= family(running.process.pid)
    assert running.end() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert running.parts() == {}


@pytest.mark.parametrize(
    ("part", "settings"),
    [("fleet", {"fleet": {"host": "127.0.0.2"}}), ("registry", {"registry": {"origin": "https://127.0.0.2:8443"}})],
)
def test_a_part_that_listens_at_one_address_of_several_is_seen_to_be_up(
    start: Callable[..., Running], part: str, settings: dict[str, Any]
) -> None:
    """As the registry does beside a relay that has port 443 of another address."""
    running = start(settings=settings, **{part: LISTENS.replace("127.0.0.1", "127.0.0.2")})
    until(running.ready)


@pytest.mark.parametrize(("silent", "fresh_seconds"), [("fleet", 60.0), ("superlink", 60.0), ("registry", 0.5)])
def test_the_lists_of_releases_are_signed_whatever_else_is_not_up(
    start: Callable[..., Running], tmp_path: Path, silent: str, fresh_seconds: float
) -> None:
    """Every hospital would take the lists for held back after a week."""
    running = start(fresh_seconds=fresh_seconds, **{silent: NEVER_LISTENS})
    until((tmp_path / "signed").exists)
    assert not running.ready()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_end_it_well_also_while_parts_are_starting(start: Callable[..., Running], number: int) -> None:
    running = start(fleet=NEVER_LISTENS)
    until(lambda: running.parts().get("registry", {}).get("state") == "running")
    assert not running.ready()
    pids = [part["pid"] for part in running.parts().values()]
    assert running.end(number) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_part_that_is_killed_is_started_again(start: Callable[..., Running]) -> None:
    running = start()
    until(running.ready)
    before = running.parts()["fleet"]["pid"]
    os.kill(before, signal.SIGKILL)
    until(lambda: running.parts()["fleet"]["state"] == "running" and running.parts()["fleet"]["pid"] != before)
    assert running.parts()["fleet"]["restarts"] == 1
    assert running.said().count("The centre is up") == 1


def test_a_part_that_ends_again_and_again_is_waited_for_longer_each_time(start: Callable[..., Running]) -> None:
    running = start(fleet=ENDS)
    until(lambda: running.parts().get("fleet", {}).get("restarts", 0) >= 4)
    assert running.parts()["fleet"]["exit_code"] == 3
    assert running.parts()["registry"]["state"] == "running", "the others go on"
    assert running.process.poll() is None


def test_a_part_that_says_why_it_cannot_start_ends_all_with_its_sentence(start: Callable[..., Running]) -> None:
    running = start(registry=REFUSES)
    assert running.process.wait(30) == 5
    assert running.said() == "The key is missing. Restore it. [missing-certificate]"
    assert running.parts() == {}
    assert family(running.process.pid) == {running.process.pid}


def test_an_old_refusal_in_the_log_is_not_taken_for_a_new_one(start: Callable[..., Running], tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "fleet.log").write_text("Port 1 is taken. Stop the other program. [port-taken]\n")
    running = start(fleet=ENDS)
    until(lambda: running.parts().get("fleet", {}).get("restarts", 0) >= 2)
    assert running.process.poll() is None


def test_a_second_supervisor_of_the_same_home_is_refused_and_the_first_goes_on(start: Callable[..., Running]) -> None:
    first = start()
    until(first.ready)
    second = Running(first.home)
    assert second.process.wait(30) == ConflictError.exit_code
    assert "A centre runs in" in second.said()
    assert first.process.poll() is None


def test_a_taken_port_is_found_before_anything_is_started(start: Callable[..., Running], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = CentreSettings.model_validate({"home": tmp_path, "fleet": {"port": other.getsockname()[1]}})
        with pytest.raises(UnavailableError, match="which the fleet needs") as caught:
            refuse_taken_ports(settings)
    assert caught.value.code is Code.PORT_TAKEN


def test_a_taken_port_is_found_at_the_address_that_is_set(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        fleet = {"port": other.getsockname()[1], "host": "127.0.0.2"}
        settings = CentreSettings.model_validate({"home": tmp_path, "fleet": fleet})
        assert code_of(lambda: refuse_taken_ports(settings)) is Code.PORT_TAKEN


def test_killing_the_supervisor_leaves_nobody(start: Callable[..., Running]) -> None:
    running = start()
    until(running.ready)
    pids = [part["pid"] for part in running.parts().values()]
    running.process.kill()
    running.process.wait(30)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.mark.parametrize(
    ("origin", "port"),
    [("https://localhost:8443", 8443), ("https://centre.example", 443), ("https://10.0.0.1:9000", 9000)],
)
def test_the_port_by_which_one_sees_each_part(tmp_path: Path, origin: str, port: int) -> None:
    settings = CentreSettings.model_validate({"home": tmp_path, "registry": {"origin": origin}})
    assert [port_of(part, settings) for part in (SUPERLINK, FLEET, REGISTRY)] == [8446, 8445, port]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("It is full. [disk-full]\n", Code.DISK_FULL),
        ("noise\nIt is full. [disk-full]", Code.DISK_FULL),
        ("It is full. [disk-full]\nnoise\n", None),
        ("It is full. [no-such-code]\n", None),
        ("[disk-full]\n", None),
        ("", None),
        ("\n", None),
        ("\xff It is [disk-full]", Code.DISK_FULL),
    ],
)
def test_last_words(tmp_path: Path, text: str, code: Code | None) -> None:
    (tmp_path / "log").write_text(text, encoding="latin-1")
    found = last_words(tmp_path / "log", start=0)
    assert (found.code if found else None) is code


def test_last_words_are_an_error_of_their_family(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("old. [disk-full]\nSet the port. [bad-setting]\n")
    assert isinstance(last_words(tmp_path / "log", start=0), InvalidInputError)
    assert last_words(tmp_path / "log", start=(tmp_path / "log").stat().st_size) is None


def test_the_home_of_nobody_can_be_supervised_by_nobody(tmp_path: Path) -> None:
    from server.supervise import Supervisor

    assert code_of(Supervisor(CentreSettings(home=tmp_path / "none")).run) is Code.DISK_FULL
