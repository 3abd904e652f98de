"""What `status` and `doctor` look at, and what they say when something is not well."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.codes import Code
from protocol.enrolment import SiteEntry
from protocol.errors import UnavailableError
from protocol.standing import Standing
from server import status
from server.bundle import make_bundle
from server.parts import PARTS, RUNNING, PartState, only_supervisor, write_parts
from server.settings import CentreSettings
from server.status import Finding, examine, status_of
from strategies.flower.fleet import ConnectedNode

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say that there is room, whatever this machine's disk."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 1024**3))


def ill(settings: CentreSettings, now: datetime = NOW) -> list[Finding]:
    return [finding for finding in examine(settings, now) if not finding.well]


def test_a_new_centre_is_well(settings: CentreSettings) -> None:
    assert ill(settings) == []
    assert len(examine(settings, NOW)) == 4 + 9 + 3 + 3


DAMAGE: dict[str, Callable[[Path], object]] = {
    "pki/ca.pem": Path.unlink,
    "pki/superlink.pem": lambda path: path.write_text("no certificate"),
    "secrets/grant.key": Path.unlink,
    "secrets/service.token": lambda path: path.chmod(0o640),
    "pki/ca.key": lambda path: path.chmod(0o604),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_missing_damaged_or_open_is_named_with_what_to_do(settings: CentreSettings, name: str) -> None:
    DAMAGE[name](settings.home / name)
    (finding,) = ill(settings)
    assert Path(name).name in finding.what
    assert str(settings.home / name) in finding.advice


def test_a_certificate_that_ends_soon_is_told(settings: CentreSettings) -> None:
    found = ill(settings, NOW + timedelta(days=825 - 29))
    assert {finding.what.split()[0] for finding in found} == {"registry.pem", "fleet.pem", "superlink.pem", "the"}
    assert all("Start the centre" in finding.advice for finding in found)


def test_little_room_is_told(settings: CentreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5 * 1024**2))
    (finding,) = ill(settings)
    assert finding.advice == f"{settings.home} has 5 MiB left."


def test_a_missing_program_is_told(settings: CentreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "program", lambda name: f"no-such-{name}")
    assert len(ill(settings)) == 3


def test_a_tampered_catalogue_is_told(settings: CentreSettings) -> None:
    (settings.home / "catalogue" / "ggo@0" / "weights.safetensors").write_bytes(b"others")
    (finding,) = ill(settings)
    assert finding.what == "the catalogue verifies"
    assert "ggo@0" in finding.advice


# Status.


class Answering:
    """Registry and SuperLink as far as `status` asks them."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.closed = 0

    def sites(self) -> list[SiteEntry]:
        return [
            SiteEntry(site="north", region="XA-N", supernode_key=None, active=True),
            SiteEntry(site="south", region="XA-S", supernode_key=None, active=True),
            SiteEntry(site="west", region="XA-W", supernode_key=None, active=False),
        ]

    def nodes(self) -> list[ConnectedNode]:
        if self.silent:
            raise UnavailableError(Code.PEER_UNREACHABLE)
        return [
            ConnectedNode(1, "north", online=True, public_key=b""),
            ConnectedNode(2, "south", online=False, public_key=b""),
            ConnectedNode(3, "west", online=True, public_key=b""),
        ]

    def standings(self) -> dict[str, dict[Standing, int]]:
        if self.silent:
            raise UnavailableError(Code.PEER_UNREACHABLE)
        return {"ggo@0": {Standing.STEADY: 2, Standing.WORSE: 1}, "ggo@7": {Standing.WATCH: 5}}

    def close(self) -> None:
        self.closed += 1


def status_with(
    settings: CentreSettings, monkeypatch: pytest.MonkeyPatch, answering: Answering, state: str = RUNNING
) -> Any:
    monkeypatch.setattr(status, "open_registry", lambda _: answering)
    monkeypatch.setattr(status, "open_fleet", lambda _: answering)
    with only_supervisor(settings.home):
        write_parts(
            settings.home, {part: PartState(state=state, pid=number) for number, part in enumerate(PARTS, start=1)}
        )
        return status_of(settings)


def test_a_running_centre_says_which_sites_are_connected(
    settings: CentreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = Answering()
    document = status_with(settings, monkeypatch, answering)
    assert document["running"] is True
    assert [(site["site"], site["active"], site["connected"]) for site in document["sites"]] == [
        ("north", True, True), ("south", True, False), ("west", False, False),
    ]  # fmt: skip
    assert document["pids"] == {"superlink": 1, "registry": 2, "fleet": 3}
    assert document["bundle_sha256"] == make_bundle().sha256
    assert answering.closed == 3


def test_it_says_how_many_sites_say_what_of_the_promoted_release_and_not_which(
    settings: CentreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = status_with(settings, monkeypatch, Answering())
    assert document["standings"] == {"steady": 2, "watch": 0, "worse": 1, "refused": 0}


def test_a_part_that_does_not_answer_leaves_the_sites_unknown(
    settings: CentreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = Answering(silent=True)
    document = status_with(settings, monkeypatch, answering)
    assert (document["sites"], document["standings"]) == (None, None)
    assert answering.closed == 3


def test_a_centre_that_is_starting_asks_nobody(settings: CentreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    document = status_with(settings, monkeypatch, Answering(silent=True), state="starting")
    assert (document["running"], document["sites"], document["parts"]["fleet"]) == (False, None, "starting")
