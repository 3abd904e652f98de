"""A gateway with one claimed study."""

from pathlib import Path

import pytest

from tests.fakes.gateway import GatewayUnderTest


@pytest.fixture
def gateway(tmp_path: Path) -> GatewayUnderTest:
    made = GatewayUnderTest(tmp_path)
    made.write_study()
    (tmp_path / "niivue.umd.js").write_text("/* viewer */", encoding="utf-8")
    return made
