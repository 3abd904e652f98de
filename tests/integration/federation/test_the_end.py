"""The last test of this folder by its name: Ctrl-C ends the centre and everything that it started."""

import signal

import pytest

from tests.integration.federation.conftest import Network, running
from tests.integration.federation.test_deaths import command_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_ctrl_c_ends_everything_that_the_centre_started(network: Network) -> None:
    everybody = network.centre.processes()
    commands = [command_of(pid) for pid in everybody]
    for name in ("strategies.flower.superlink", "flower-superexec", "acinus-registry", "--only fleet"):
        assert any(name in command for command in commands), name
    assert network.centre.stop(signal.SIGINT) == 0
    assert [command_of(pid) for pid in everybody if running(pid)] == []
