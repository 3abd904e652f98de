"""A reader at the hospital's page keeps the read and gets fresh grants for as long as the worklist is open behind it."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import pytest
from selenium import webdriver
from sqlmodel import Session, select

from protocol.parcel import parse_notice
from protocol.reading import GrantRenewed
from registry_api.link.tables import NoticeRow
from registry_api.pages import worklist
from registry_api.reading.tables import GrantRow, SlotRow
from tests.integration.gateway.conftest import wait_for
from tests.integration.gateway.test_viewer_page import wait
from tests.integration.reading.conftest import Network, now
from tests.integration.reading.test_double_read import Person
from tests.integration.reading.test_whole_read import post

pytestmark = pytest.mark.e2e

T = TypeVar("T")
LEFT = timedelta(minutes=2)
"""So little is left of the grant when the test looks: more than half of it is over."""


@pytest.mark.slow
def test_a_long_read_keeps_its_lease_and_its_grant(
    network: Network, browsers: Callable[..., webdriver.Chrome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worklist, "BEAT_MS", 200)
    request_id = post(network)
    reader = Person(network, browsers("reader", size="800,600"), "Dr Long")
    reader.opens()
    wait_for(lambda: look(network, lambda session: session.get_one(SlotRow, (request_id, 1)).state) == "reading")
    ends = age_the_grant(network, reader.browser)
    wait(reader.browser, f"Number(document.getElementById('desk').dataset.expires) > {ends + 300}")
    assert sum(isinstance(one, GrantRenewed) for one in look(network, notices)) == 1
    lease = look(network, lambda session: session.exec(select(SlotRow.lease_until)).one())
    wait_for(lambda: look(network, lambda session: session.exec(select(SlotRow.lease_until)).one()) > lease)
    assert reader.browser.execute_script("return location.pathname").startswith("/view/"), (
        "it was the worklist all along"
    )
    close_the_worklist(reader)
    soon = int((now() + timedelta(seconds=100)).timestamp())
    reader.browser.execute_script("document.getElementById('desk').dataset.expires = arguments[0]", str(soon))
    wait(reader.browser, "document.getElementById('clock').textContent.endsWith('open your worklist to stay')")


def close_the_worklist(reader: Person) -> None:
    reader.turn_to(0)
    reader.browser.close()
    reader.turn_to(0)


def age_the_grant(network: Network, page: webdriver.Chrome) -> int:
    """Let most of the ten minutes be over: at the centre, then at the hospital and on its page. Return when the grant ends."""
    ends, connection = int((now() + LEFT).timestamp()), network.node.book.connection
    with network.runtime.database.writing() as session:
        session.exec(select(GrantRow)).one().expires_at = now() + LEFT
    wait_for(lambda: connection.execute("SELECT count(*) FROM grant_renewals").fetchone()[0] == 1)
    connection.execute("UPDATE gateway_sessions SET expires_s = ?", (ends,))
    page.execute_script("document.getElementById('desk').dataset.expires = arguments[0]", str(ends))
    return ends


def look(network: Network, at: Callable[[Session], T]) -> T:
    with network.runtime.database.reading() as session:
        return at(session)


def notices(session: Session) -> list[object]:
    return [parse_notice(body) for body in session.exec(select(NoticeRow.body))]
