"""Keys of programs: kept as hashes, limited in what they open and how long, ended one by one."""

import pytest

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.people.keys import OPENS, PREFIX_LENGTH, NewKey, add_key, caller_by_key, list_keys, revoke_key
from registry_api.people.roles import Role, Scope
from registry_api.people.service import disable_person
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import Registry

COUNTS = "/v1/registry/counts"


def make(registry: Registry, person_id: str, *scopes: Scope, days: int | None = None) -> NewKey:
    with registry.runtime.database.writing() as session:
        return add_key(session, person_id, label="nightly import", scopes=scopes, days=days, now=registry.clock())


def status(client: AsgiClient, path: str, key: str) -> int:
    return client.get(path, headers={"Authorization": f"Bearer {key}"}).status_code


def test_a_key_is_kept_as_a_hash_with_its_beginning(registry: Registry) -> None:
    made = make(registry, registry.add(Role.AUDITOR).person_id, Scope.COUNTS)
    with registry.runtime.database.reading() as session:
        [row] = list_keys(session)
    assert made.api_key.startswith(row.prefix)
    assert len(row.prefix) == PREFIX_LENGTH < len(made.api_key) / 2
    assert made.api_key not in row.model_dump_json()


def test_a_key_opens_what_it_was_made_for_and_nothing_else(registry: Registry, client: AsgiClient) -> None:
    auditor = registry.add(Role.AUDITOR)
    made = make(registry, auditor.person_id, Scope.COUNTS)
    assert status(client, COUNTS, made.api_key) == 404  # nothing is released yet
    assert status(client, "/v1/registry/read-log", made.api_key) == 403
    assert status(client, "/v1/registry/read-log", auditor.api_key) == 200


def test_a_route_without_a_scope_opens_to_no_key_of_a_program(registry: Registry, client: AsgiClient) -> None:
    coordinator = registry.add(Role.COORDINATOR)
    made = make(registry, coordinator.person_id, *OPENS[Role.COORDINATOR])
    assert (status(client, "/v1/sites", coordinator.api_key), status(client, "/v1/sites", made.api_key)) == (200, 403)


def test_a_key_of_a_program_does_not_log_in(registry: Registry, client: AsgiClient) -> None:
    made = make(registry, registry.add(Role.AUDITOR).person_id, Scope.COUNTS)
    assert client.post("/login", data={"api_key": made.api_key}).status_code == 401


def test_a_key_ends_by_its_time_by_hand_and_with_its_person(registry: Registry, client: AsgiClient) -> None:
    person = registry.add(Role.AUDITOR).person_id
    short, revoked, orphan = (
        make(registry, person, Scope.COUNTS, days=1),
        *(make(registry, person, Scope.COUNTS) for _ in "ab"),
    )
    assert {status(client, COUNTS, one.api_key) for one in (short, revoked, orphan)} == {404}
    registry.clock.pass_(days=1)
    with registry.runtime.database.writing() as session:
        revoke_key(session, revoked.key_id, now=registry.clock())
    assert [status(client, COUNTS, one.api_key) for one in (short, revoked, orphan)] == [401, 401, 404]
    with registry.runtime.database.writing() as session:
        disable_person(session, person, now=registry.clock())
    with registry.runtime.database.reading() as session:
        assert caller_by_key(session, orphan.api_key, now=registry.clock()) is None


@pytest.mark.parametrize(
    ("role", "scopes", "label"),
    [
        (Role.MINISTRY, [Scope.READ_LOG], "x"), (Role.AUDITOR, [], "x"), (Role.READER, [Scope.COUNTS], "x"),
        (Role.HOSPITAL, [Scope.COUNTS], "x"), (Role.AUDITOR, [Scope.COUNTS], " "), (Role.AUDITOR, [Scope.COUNTS], "x" * 101),
    ],
)  # fmt: skip
def test_a_key_cannot_open_more_than_its_person(
    registry: Registry, role: Role, scopes: list[Scope], label: str
) -> None:
    person = registry.add(role, region="XA" if role is Role.MINISTRY else None).person_id
    with pytest.raises(InvalidInputError) as raised, registry.runtime.database.writing() as session:
        add_key(session, person, label=label, scopes=scopes, days=None, now=registry.clock())
    assert raised.value.code is Code.BAD_REQUEST


def test_a_key_of_nobody_cannot_be_made_or_ended(registry: Registry) -> None:
    with pytest.raises(InvalidInputError), registry.runtime.database.writing() as session:
        add_key(session, "nobody", label="x", scopes=[Scope.COUNTS], days=None, now=registry.clock())
    with pytest.raises(InvalidInputError), registry.runtime.database.writing() as session:
        revoke_key(session, "none", now=registry.clock())


def test_every_role_has_its_scopes_decided() -> None:
    assert OPENS.keys() == set(Role) - {Role.SERVICE}
