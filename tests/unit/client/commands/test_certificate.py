"""What `doctor` and `status` say of the node's own certificate: how long it is good, and whether its renewal goes as it should."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from client.commands.checkup import Check, _certificate
from client.commands.network import _certificate_lines
from client.rooms.border import open_renewals, utc_now
from client.rooms.state import certificate_state
from client.settings import NodeSettings
from protocol.codes import Code
from protocol.errors import UnavailableError
from tests.fakes.enrolled import EnrolledNode, RealLink


@pytest.fixture
def node(tmp_path: Path) -> Iterator[EnrolledNode]:
    centre = RealLink(tmp_path / "centre")
    yield EnrolledNode(tmp_path / "node", centre)
    centre.close()


def settings(node: EnrolledNode) -> NodeSettings:
    return NodeSettings(home=node.folder)


def checked(node: EnrolledNode) -> Check:
    return _certificate(settings(node))


def said(node: EnrolledNode) -> str:
    [line] = _certificate_lines(certificate_state(settings(node)))
    return line


def test_a_young_certificate_is_good_and_says_when_it_will_be_renewed(node: EnrolledNode) -> None:
    node.enrol(days_ago=1)
    due = f"{utc_now() + timedelta(days=19):%Y-%m-%d}"
    check = checked(node)
    assert (check.holds, check.advice) == (True, False)
    assert "valid for 28 days" in check.said
    assert due in check.said
    assert "good for 28 days" in said(node)
    assert due in said(node)


def test_a_renewal_that_fails_is_named_with_its_reason_and_the_days_left(node: EnrolledNode) -> None:
    node.enrol(days_ago=22)
    open_renewals(settings(node)).note(Code.PEER_UNREACHABLE)
    check = checked(node)
    assert (check.holds, check.advice) == (True, True)
    assert "valid for 7 days" in check.said
    assert "fails since" in check.said
    assert "peer-unreachable" in check.said
    assert said(node).endswith("peer-unreachable")


def test_a_renewal_that_went_well_is_not_mentioned(node: EnrolledNode) -> None:
    node.enrol()
    open_renewals(settings(node)).note(None)
    assert not checked(node).advice
    assert said(node).endswith(f"renewed from {utc_now() + timedelta(days=20):%Y-%m-%d}")


def test_a_failure_of_an_earlier_certificate_says_nothing_of_this_one(node: EnrolledNode) -> None:
    node.enrol(days_ago=22)
    open_renewals(settings(node)).note(Code.FORBIDDEN)
    node.enrol()
    assert not checked(node).advice
    assert "forbidden" not in said(node)


def test_a_node_that_never_runs_is_told_to(node: EnrolledNode) -> None:
    node.enrol(days_ago=22)
    check = checked(node)
    assert (check.holds, check.advice) == (True, True)
    assert "`acinus-node run`" in check.said


def test_an_expired_certificate_fails(node: EnrolledNode) -> None:
    node.enrol(days_ago=31)
    with pytest.raises(UnavailableError, match="Enrol again"):
        checked(node)
    assert "-2 days" not in said(node)


def test_a_certificate_that_cannot_be_read_is_no_reason_for_status_to_fail(node: EnrolledNode) -> None:
    node.enrol()
    (node.trust / "node.pem").write_text("nothing")
    assert certificate_state(settings(node)) is None
    assert _certificate_lines(None) == []
