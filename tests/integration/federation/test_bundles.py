"""What a bundle holds is never executed at a hospital, and what goes wrong there leaves as a code."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from protocol.codes import Code
from protocol.release import Scores
from server.bundle import INCLUDED, Bundle, _descriptions, _sources
from server.runtime import open_catalogue, open_fleet
from server.training import Trainer, read_plan
from strategies.arrays import Arrays
from strategies.flower.fleet import build_bundle
from tests.fakes.federation import ROOT
from tests.fakes.toy_site import NAME
from tests.integration.federation.conftest import NORTH, SOUTH, WEST, Network

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@dataclass
class Tampered:
    """A bundle whose every file for the node writes a note when it is executed."""

    bundle: Bundle
    canary: Path


def tampered(folder: Path) -> Tampered:
    canary = folder / "executed"
    mine = f"open({str(canary)!r}, 'a').write(__name__)\n".encode()
    included = [*INCLUDED, "client/__init__.py", "sitecustomize.py", "torch.py"]
    files = _sources(ROOT, list(INCLUDED)) | _descriptions(included)
    files |= dict.fromkeys(("client/__init__.py", "client/app.py", "sitecustomize.py", "torch.py"), mine)
    content = build_bundle(files)
    return Tampered(Bundle(content, hashlib.sha256(content).hexdigest()), canary)


def test_what_a_bundle_holds_is_never_executed_and_what_an_exception_says_never_leaves(
    network: Network, tmp_path: Path
) -> None:
    """One round: north allows the bundle (and runs its own wheel), south too (and fails), west does not allow it."""
    evil = tampered(tmp_path)
    for name in (NORTH, SOUTH):
        network.sites[name].allow(evil.bundle.sha256)
    (network.sites[SOUTH].home / "break").touch()
    settings = network.settings
    trainer = Trainer(
        catalogue=open_catalogue(settings), fleet=open_fleet(settings), bundle=evil.bundle, runs=settings.runs, measure=any_scores,
        say=lambda _: None, pause=time.sleep,
    )  # fmt: skip
    run = trainer.begin(read_plan(network.plan(rounds=1, quorum=1)))
    trainer.run(run)
    (record,) = run.records()
    assert record.sites == (NORTH,)
    assert record.refused == {SOUTH: Code.NODE_FAULT, WEST: Code.POLICY_BUNDLE}
    assert not evil.canary.exists()
    assert network.sites[WEST].audit()[-1] == f"bundle.judged {evil.bundle.sha256} policy-bundle"
    assert network.sites[NORTH].audit()[-1] == f"bundle.judged {evil.bundle.sha256} clear"
    assert not list(network.sites[NORTH].home.rglob("*.fab"))
    everywhere = [path for path in network.centre.home.rglob("*") if path.is_file()]
    assert [path for path in everywhere if NAME.encode() in path.read_bytes()] == []
    assert (network.centre.home / "witness" / "fleet-http.bin").stat().st_size > 0


def any_scores(_: Arrays) -> Scores:
    return Scores(cases=1, dice=0.5, ggo_error_points=1, false_opacity_points=1)
