"""A gateway with one claimed study, and a stand-in for the viewer's script."""

import hashlib
from pathlib import Path

import pytest

from client.gateway import viewer
from tests.fakes.gateway import GatewayUnderTest


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GatewayUnderTest:
    script = tmp_path / "viewer" / viewer.BUNDLE.name
    script.parent.mkdir()
    script.write_text("/* viewer */", encoding="utf-8")
    monkeypatch.setattr(viewer, "BUNDLE_SHA256", hashlib.sha256(script.read_bytes()).hexdigest())
    made = GatewayUnderTest(tmp_path)
    made.write_study()
    return made
