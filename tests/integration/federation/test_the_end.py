"""The last test of this folder by its name: Ctrl-C in the midst of a run ends the centre and everything that it started."""

import signal

import pytest

from tests.integration.federation.conftest import Network, running
from tests.integration.federation.test_deaths import Training, command_of

pytestmark = pytest.mark.e2e


def test_ctrl_c_ends_everything_that_the_centre_started(network: Network) -> None:
    network.hold()
    training = Training(network, str(network.plan(rounds=1, quorum=3)))
    training.held()
    everybody = network.centre.processes()
    assert any("flwr-serverapp" in command_of(pid) for pid in everybody)
    assert network.centre.stop(signal.SIGINT) == 0
    assert [command_of(pid) for pid in everybody if running(pid)] == []
    network.release()
    code, document, _ = training.ended()
    assert (code, document["code"]) == (5, "run-failed")
