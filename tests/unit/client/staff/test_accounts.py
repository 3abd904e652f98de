"""Accounts: made, changed, closed; what ends sessions; and who owes an account to whom."""

import pytest

from client.staff.accounts import BY_COMMAND, BY_TOKEN, Accounts
from client.staff.roles import GRANTED, Role, roles_of
from protocol.codes import Code
from tests.fakes.outcomes import code_of
from tests.unit.client.staff.conftest import PASSWORD

VIEWER, ADMINISTRATOR = frozenset({Role.VIEWER}), frozenset({Role.ADMINISTRATOR})


def add(accounts: Accounts, name: str, by: str = BY_COMMAND, roles: frozenset[Role] = ADMINISTRATOR) -> str:
    return accounts.add(name, PASSWORD, roles, by=by).account_id


def test_an_account_has_an_opaque_id_and_must_change_its_password(accounts: Accounts) -> None:
    account = accounts.add("maria", PASSWORD, VIEWER, by=BY_TOKEN)
    assert len(account.account_id) == 32
    assert "maria" not in account.account_id
    assert account.must_change
    assert account.roles == VIEWER
    assert accounts.named("maria") == accounts.named(account.account_id) == account
    accounts.set_password(account.account_id, "another long one", by=None)
    assert not accounts.named("maria").must_change
    accounts.set_password(account.account_id, "yet another long one", by=BY_COMMAND)
    assert accounts.named("maria").must_change


@pytest.mark.parametrize("name", ["", "m", "Maria", "9lives", "maria lopez", "a" * 41, "maria;", "ma\nria"])
def test_names_of_other_forms_are_refused(accounts: Accounts, name: str) -> None:
    assert code_of(lambda: accounts.add(name, PASSWORD, VIEWER, by=BY_COMMAND)) is Code.BAD_REQUEST
    assert accounts.all() == []


def test_a_name_is_taken_once(accounts: Accounts) -> None:
    add(accounts, "maria")
    assert code_of(lambda: add(accounts, "maria")) is Code.ALREADY_EXISTS


@pytest.mark.parametrize("words", [[], ["setup"], ["viewer", "setup"], ["owner"]])
def test_no_account_gets_no_role_or_the_tokens(words: list[str]) -> None:
    assert code_of(lambda: roles_of(words)) is Code.BAD_REQUEST
    assert roles_of([role.value for role in GRANTED]) == frozenset(GRANTED)


def test_what_ends_sessions_moves_the_epoch_and_nothing_else_does(accounts: Accounts) -> None:
    maria = add(accounts, "maria")
    epochs = [accounts.get(maria).epoch]
    for act in (
        lambda: accounts.set_roles(maria, VIEWER, by=BY_COMMAND),
        lambda: accounts.set_password(maria, "another long one", by=None),
        lambda: accounts.set_disabled(maria, disabled=True),
        lambda: accounts.set_disabled(maria, disabled=False),
    ):
        act()
        epochs.append(accounts.get(maria).epoch)
    assert epochs == sorted(set(epochs))
    accounts.entered(maria)
    accounts.refresh_password(maria, "another long one")
    assert accounts.get(maria).epoch == epochs[-1]


def test_a_closed_account_has_no_credential(accounts: Accounts) -> None:
    maria = add(accounts, "maria")
    assert accounts.credential("maria") is not None
    accounts.set_disabled(maria, disabled=True)
    assert accounts.credential("maria") is None
    assert accounts.credential("nobody") is None


def test_whom_the_provider_vouches_for_is_made_once_and_follows_it(accounts: Accounts) -> None:
    first = accounts.meet("f" * 64, name="Dr X", roles=VIEWER)
    assert not first.local
    same = accounts.meet("f" * 64, name="Dr X", roles=VIEWER)
    assert (same.account_id, same.epoch) == (first.account_id, first.epoch)
    promoted = accounts.meet("f" * 64, name="Dr\x00 X\u202e", roles=ADMINISTRATOR)
    assert promoted.account_id == first.account_id
    assert promoted.roles == ADMINISTRATOR
    assert promoted.epoch > first.epoch
    assert promoted.name == "Dr X"
    assert accounts.credential("Dr X") is None
    for act in (
        lambda: accounts.set_roles(first.account_id, VIEWER, by=BY_COMMAND),
        lambda: accounts.set_password(first.account_id, PASSWORD, by=BY_COMMAND),
    ):
        assert code_of(act) is Code.ILLEGAL_TRANSITION


def test_a_provided_name_does_not_take_a_local_one(accounts: Accounts) -> None:
    local = add(accounts, "maria")
    accounts.meet("f" * 64, name="maria", roles=VIEWER)
    assert accounts.named("maria").account_id == local


def test_an_account_owes_itself_to_whoever_gave_role_or_password_at_any_distance(accounts: Accounts) -> None:
    one, two = add(accounts, "one"), add(accounts, "two", by=BY_TOKEN)
    three = add(accounts, "three", by=one)
    four = add(accounts, "four", by=three)
    assert accounts.owes_to(one, one)
    assert accounts.owes_to(three, one)
    assert accounts.owes_to(four, one)
    assert not accounts.owes_to(one, three)
    assert not accounts.owes_to(two, one)
    accounts.set_password(three, "my very own words", by=None)
    assert accounts.owes_to(three, one), "one's own password does not undo where the account came from"
    accounts.set_roles(three, ADMINISTRATOR, by=two)
    accounts.set_password(three, "of two alone and new", by=two)
    assert not accounts.owes_to(four, one)
    accounts.set_password(two, "taken over by one", by=one)
    assert accounts.owes_to(four, one)


def test_a_role_that_somebody_else_gave_does_not_hide_who_knows_the_password(accounts: Accounts) -> None:
    one, two = add(accounts, "one"), add(accounts, "two", by=BY_TOKEN)
    second_self = add(accounts, "helen", by=one)
    accounts.set_roles(second_self, ADMINISTRATOR, by=two)
    assert accounts.owes_to(second_self, one)
    assert accounts.owes_to(second_self, two)
    accounts.set_password(second_self, "chosen by herself", by=None)
    assert accounts.owes_to(second_self, one), "who had the first one may have chosen the next"


def test_nor_does_a_new_password_hide_who_gave_the_role(accounts: Accounts) -> None:
    one, two, three = add(accounts, "one"), add(accounts, "two", by=BY_TOKEN), add(accounts, "three")
    accounts.set_roles(three, ADMINISTRATOR, by=one)
    accounts.set_password(three, "of two and for a day", by=two)
    assert accounts.owes_to(three, one)
    assert accounts.owes_to(three, two)


def test_from_the_command_line_an_account_is_made_independent_again(accounts: Accounts) -> None:
    one = add(accounts, "one")
    other = add(accounts, "other", by=one)
    accounts.set_roles(other, ADMINISTRATOR, by=BY_COMMAND)
    assert accounts.owes_to(other, one)
    accounts.set_password(other, "out of the envelope", by=BY_COMMAND)
    assert not accounts.owes_to(other, one)


def test_an_account_of_before_owes_its_password_to_whom_it_owed_it(accounts: Accounts) -> None:
    """The table once knew one of the two givers only; whose password it is, is not forgotten with the next role."""
    one, two = add(accounts, "one"), add(accounts, "two", by=BY_TOKEN)
    three = add(accounts, "three", by=one)
    accounts._connection.execute("UPDATE staff_account SET password_by = NULL")
    assert accounts.owes_to(three, one)
    accounts.set_roles(three, VIEWER, by=two)
    assert accounts.owes_to(three, one)


def test_a_ring_of_grants_is_nobody_of_their_own(accounts: Accounts) -> None:
    one, two, other = add(accounts, "one"), add(accounts, "two"), add(accounts, "other")
    accounts.set_roles(one, VIEWER, by=two)
    accounts.set_roles(two, VIEWER, by=one)
    assert accounts.owes_to(one, other)


@pytest.mark.parametrize("act", ["get", "named"])
def test_nobody_is_not_found(accounts: Accounts, act: str) -> None:
    assert code_of(lambda: getattr(accounts, act)("0" * 32)) is Code.NOT_FOUND
    assert code_of(lambda: accounts.set_disabled("0" * 32, disabled=True)) is Code.NOT_FOUND
