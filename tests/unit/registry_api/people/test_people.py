"""People: a key shown once and kept as a hash, sessions that end, readers and agreements."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.people.attempts import WINDOW, Attempts
from registry_api.people.roles import Role
from registry_api.people.service import (
    SESSION_HOURS,
    add_person,
    add_reader,
    close_page_session,
    disable_person,
    list_people,
    open_page_session,
    person_by_cookie,
    person_by_key,
)
from registry_api.people.tables import CredentialRow, PageSessionRow, PersonRow
from tests.unit.registry_api.conftest import Registry

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def test_a_key_finds_its_person_and_is_not_kept(registry: Registry) -> None:
    added = registry.add(Role.AUDITOR)
    with registry.runtime.database.reading() as session:
        found = person_by_key(session, added.api_key)
        assert found is not None
        assert found.id == added.person_id
        assert added.api_key not in found.model_dump_json()
        assert person_by_key(session, added.api_key[:-1]) is None


def test_keys_are_of_256_bits_and_all_different(registry: Registry) -> None:
    keys = {registry.add(Role.AUDITOR).api_key for _ in range(5)}
    assert len(keys) == 5
    assert all(len(key) == len("acn_") + 43 for key in keys)


@pytest.mark.parametrize(
    ("name", "role", "region"),
    [(" ", Role.AUDITOR, None), ("x" * 201, Role.AUDITOR, None), ("x", Role.SERVICE, None), ("x", Role.MINISTRY, None)],
)
def test_who_cannot_be_added(registry: Registry, name: str, role: Role, region: str | None) -> None:
    with pytest.raises(InvalidInputError) as raised, registry.runtime.database.writing() as session:
        add_person(session, name, role=role, region=region, now=registry.clock())
    assert raised.value.code is Code.BAD_REQUEST


def test_a_removed_person_has_neither_key_nor_session(registry: Registry) -> None:
    added = registry.add(Role.AUDITOR)
    with registry.runtime.database.writing() as session:
        opened = open_page_session(session, added.person_id, now=registry.clock())
        disable_person(session, added.person_id, now=registry.clock())
    with registry.runtime.database.reading() as session:
        assert person_by_key(session, added.api_key) is None
        assert person_by_cookie(session, opened.cookie, now=registry.clock()) is None
        assert [row.id for row in list_people(session)] == [added.person_id]


def test_only_somebody_can_be_removed(registry: Registry) -> None:
    with pytest.raises(InvalidInputError), registry.runtime.database.writing() as session:
        disable_person(session, "0" * 32, now=registry.clock())


def test_a_session_lasts_its_hours_and_is_then_forgotten(registry: Registry) -> None:
    added = registry.add(Role.READER)
    database, clock = registry.runtime.database, registry.clock
    with database.writing() as session:
        opened = open_page_session(session, added.person_id, now=clock())
    clock.pass_(hours=SESSION_HOURS, seconds=-1)
    with database.reading() as session:
        found = person_by_cookie(session, opened.cookie, now=clock())
        assert found is not None
        assert (found[0].id, found[1]) == (added.person_id, opened.csrf)
        assert opened.cookie not in session.exec(select(PageSessionRow)).one().model_dump_json()
    clock.pass_(seconds=1)
    with database.reading() as session:
        assert person_by_cookie(session, opened.cookie, now=clock()) is None
    with database.writing() as session:
        open_page_session(session, added.person_id, now=clock())
        assert len(session.exec(select(PageSessionRow)).all()) == 1


def test_logging_out_ends_the_session(registry: Registry) -> None:
    added = registry.add(Role.READER)
    with registry.runtime.database.writing() as session:
        opened = open_page_session(session, added.person_id, now=registry.clock())
        close_page_session(session, opened.cookie)
        assert person_by_cookie(session, opened.cookie, now=registry.clock()) is None


def test_a_reader_has_a_credential(registry: Registry) -> None:
    database, now = registry.runtime.database, registry.clock()
    with database.writing() as session:
        reader = add_reader(session, "R", jurisdiction="XA", language="en", now=now)
    with database.reading() as session:
        credential = session.exec(select(CredentialRow)).one()
        assert (credential.reader_id, credential.jurisdiction, credential.language) == (reader.person_id, "XA", "en")
        assert session.exec(select(PersonRow)).one().role == "reader"


def test_failures_count_for_a_quarter_of_an_hour_and_per_address() -> None:
    attempts = Attempts()
    for minute in range(3):
        attempts.failed("a", now=NOON + timedelta(minutes=minute))
    assert attempts.count("a", now=NOON + timedelta(minutes=2)) == 3
    assert attempts.count("b", now=NOON) == 0
    assert attempts.count("a", now=NOON + WINDOW) == 2
    assert attempts.count("a", now=NOON + WINDOW + timedelta(minutes=2)) == 0


def test_a_flood_of_addresses_does_not_fill_the_memory() -> None:
    attempts = Attempts()
    for number in range(10_050):
        attempts.failed(str(number), now=NOON)
    assert len(attempts._failures) <= 10_000
    assert attempts.count("10049", now=NOON) == 1
