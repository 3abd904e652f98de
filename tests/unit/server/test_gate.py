"""The loop that follows the registry, and the ways in which the gateway does not start."""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.codes import Code
from protocol.enrolment import SiteEntry
from protocol.errors import FederationError, UnavailableError
from server import gate
from server.fleet import HOLD_SECONDS
from server.gate import follow, serve_fleet
from server.reconcile import Reconciler
from server.roster import REFRESH_SECONDS, STALE_SECONDS, Roster
from server.settings import CentreSettings
from strategies.flower.fleet import ConnectedNode, key_bytes
from tests.fakes.centre_home import supernode_key
from tests.fakes.outcomes import code_of
from tests.fakes.ports import free_port
from tests.unit.server.test_reconcile import Keys

PROMISE_SECONDS = 60
NORTH = SiteEntry(site="north", region="XA", supernode_key=None, active=True, certificate_serials=("ab" * 16,))


@dataclass
class Script:
    """A registry and a SuperLink that answer what the script says; the loop ends with it."""

    turns: list[Callable[[], Any]]
    applied: list[list[SiteEntry]] = field(default_factory=list)

    def sites(self) -> list[SiteEntry]:
        if not self.turns:
            raise EndOfScriptError
        found: list[SiteEntry] = self.turns.pop(0)()
        return found

    def apply(self, entries: list[SiteEntry]) -> None:
        self.applied.append(entries)


class EndOfScriptError(Exception):
    pass


def silence() -> Any:
    raise UnavailableError(Code.PEER_UNREACHABLE, "The registry does not answer.")


def followed(script: Script, monkeypatch: pytest.MonkeyPatch) -> Roster:
    monkeypatch.setattr(gate, "REFRESH_SECONDS", 0)
    roster = Roster()
    with pytest.raises(EndOfScriptError):
        asyncio.run(follow(script, roster, script))
    return roster


def test_what_the_registry_says_is_heard_and_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script([lambda: [NORTH], list])
    roster = followed(script, monkeypatch)
    assert script.applied == [[NORTH], []]
    assert roster.site_of("ab" * 16) is None


def test_a_silent_registry_is_asked_again_and_complained_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    roster = followed(Script([silence, silence, silence, lambda: [NORTH], silence]), monkeypatch)
    assert roster.site_of("ab" * 16) == "north", "what was heard before still counts"
    assert [record.getMessage() for record in caplog.records] == ["fleet.waiting"] * 2


def test_the_roster_hears_also_while_the_superlink_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script([lambda: [NORTH]])
    monkeypatch.setattr(script, "apply", lambda _: silence())
    assert followed(script, monkeypatch).site_of("ab" * 16) == "north"


def test_at_the_first_look_after_a_revocation_way_and_key_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    key = supernode_key()
    member = NORTH.model_copy(update={"supernode_key": key})
    keys = Keys(held={7: ConnectedNode(7, "north", online=True, public_key=key_bytes(key))})
    script = Script([lambda: [member], lambda: [member.model_copy(update={"active": False})]])
    reconciler = Reconciler(keys)  # type: ignore[arg-type] # of a fleet it needs no more
    monkeypatch.setattr(script, "apply", reconciler.apply)
    assert followed(script, monkeypatch).site_of("ab" * 16) is None
    assert (keys.calls, keys.held) == (["unregister north"], {})


def test_whatever_answers_or_not_a_revoked_site_is_out_within_a_minute() -> None:
    """A look, and the longest time that a question may be held; or a registry that does not answer at all."""
    assert REFRESH_SECONDS + HOLD_SECONDS < PROMISE_SECONDS / 2
    assert STALE_SECONDS <= PROMISE_SECONDS


# Starting.


def serve(settings: CentreSettings, follower: Any = None) -> None:
    asyncio.run(serve_fleet(settings, follower, follower))


def test_a_taken_port_is_one_sentence(settings: CentreSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = settings.model_copy(update={"fleet": settings.fleet.model_copy(update={"port": port})})
        with pytest.raises(UnavailableError, match=rf"Port {port} \(fleet gateway\)") as caught:
            serve(taken)
    assert caught.value.code is Code.PORT_TAKEN


@pytest.mark.parametrize("content", [None, "", "not a certificate"])
@pytest.mark.parametrize("name", ["fleet.pem", "fleet.key", "ca.pem"])
def test_a_certificate_that_cannot_be_read_is_named(settings: CentreSettings, name: str, content: str | None) -> None:
    path = settings.home / "pki" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(FederationError, match=name.replace(".", r"\.")) as caught:
        serve(settings)
    assert caught.value.code is Code.MISSING_CERTIFICATE


def test_a_key_of_another_certificate_is_refused(settings: CentreSettings) -> None:
    (settings.home / "pki" / "fleet.key").write_bytes((settings.home / "pki" / "registry.key").read_bytes())
    assert code_of(lambda: serve(settings)) is Code.MISSING_CERTIFICATE


def test_a_loop_that_ends_in_a_fault_ends_the_gateway_with_it(settings: CentreSettings) -> None:
    """Nobody would hear of new or revoked sites otherwise; the supervisor starts it again."""
    free = settings.model_copy(update={"fleet": settings.fleet.model_copy(update={"port": free_port()})})
    with pytest.raises(EndOfScriptError):
        serve(free, Script([]))


def test_the_witness_is_only_there_when_it_is_wanted(settings: CentreSettings, tmp_path: Path) -> None:
    assert gate._witness(settings) is None
    wanted = settings.model_copy(update={"witness": settings.witness.model_copy(update={"directory": "seen"})})
    assert gate._witness(wanted) is not None
    assert (settings.home / "seen").is_dir()


def test_an_answer_does_not_wait_for_the_nodes_machine_to_say_that_it_has_its_beginning() -> None:
    """It leaves in two pieces; by default the second waits for the first to be acknowledged, forty milliseconds later."""
    settings = SimpleNamespace(fleet=SimpleNamespace(host="127.0.0.1", port=0))
    with gate._listener(settings) as listener, socket.create_connection(listener.getsockname()):  # type: ignore[arg-type]
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
