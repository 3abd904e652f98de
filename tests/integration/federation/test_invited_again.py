"""A hospital that was shut out comes back with a new invite, and trains: the SuperLink never takes back the key that it forgot."""

import json
from pathlib import Path

import pytest

from protocol.codes import Code
from protocol.errors import ConflictError
from server.runtime import open_fleet
from tests.fakes.federation import until
from tests.fakes.toy_site import enrol_toy
from tests.integration.federation.conftest import SITES, WEST, Network

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def supernode_files(home: Path) -> set[bytes]:
    return {(home / "keys" / name).read_bytes() for name in ("supernode", "supernode.pub")}


def test_a_hospital_that_was_shut_out_trains_again_with_a_new_invite(network: Network) -> None:
    fleet, home = open_fleet(network.settings), network.sites[WEST].home
    spent = supernode_files(home)
    network.centre.registry("sites", "revoke", WEST)
    until(lambda: WEST not in {node.name for node in fleet.nodes()}, seconds=20, what="the hospital's key is gone")
    fleet.close()

    invite = network.centre.registry("invite", "create", "--site", WEST, "--region", "XA-N")["invite"]
    assert enrol_toy(home, invite) == WEST
    fresh = supernode_files(home)
    assert not fresh & spent
    with pytest.raises(ConflictError) as used:
        enrol_toy(home, invite)
    assert used.value.code is Code.INVITE_USED
    assert supernode_files(home) == fresh, "an invite that is refused changes nothing"

    network.wait_for_sites()
    network.allow_bundle()
    process = network.centre.begin("train", str(network.plan(rounds=1, quorum=3)), "--json")
    out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    (only,) = json.loads(out)["rounds"]
    assert (only["sites"], only["refused"]) == (list(SITES), {})
