"""The SuperLink knows the keys of active sites and no others, whatever sites write into their requests."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from protocol.codes import Code
from protocol.enrolment import SiteEntry
from protocol.errors import ConflictError, UnavailableError
from server.reconcile import Changes, Reconciler, changes
from strategies.flower.fleet import ConnectedNode, key_bytes
from tests.fakes.centre_home import supernode_key
from tests.fakes.outcomes import code_of

A, B, C = supernode_key(), supernode_key(), supernode_key()


def entry(site: str, key: str | None, *, active: bool = True) -> SiteEntry:
    return SiteEntry(site=site, region="XA", supernode_key=key, active=active)


def node(number: int, site: str, key: str) -> ConnectedNode:
    return ConnectedNode(number, site, online=True, public_key=key_bytes(key))


def test_where_both_agree_nothing_is_to_be_done() -> None:
    assert not changes([entry("north", A), entry("south", B)], [node(1, "north", A), node(2, "south", B)])
    assert not changes([], [])


def test_new_keys_are_let_in_and_others_shut_out() -> None:
    todo = changes([entry("north", A), entry("south", B)], [node(1, "north", A), node(3, "west", C)])
    assert todo == Changes(register=(("south", B),), unregister=(node(3, "west", C),))


@pytest.mark.parametrize("gone", [entry("north", A, active=False), entry("north", None), entry("north", B)])
def test_a_site_that_left_or_took_a_new_key_loses_the_old_one(gone: SiteEntry) -> None:
    assert node(1, "north", A) in changes([gone], [node(1, "north", A)]).unregister


def test_a_new_key_is_let_in_beside_the_going_of_the_old_one() -> None:
    todo = changes([entry("north", B)], [node(1, "north", A)])
    assert (todo.register, todo.unregister) == ((("north", B),), (node(1, "north", A),))


def test_a_key_that_moved_to_another_site_is_shut_out_and_not_let_in_again() -> None:
    todo = changes([entry("south", A)], [node(1, "north", A)])
    assert (todo.register, todo.unregister) == ((), (node(1, "north", A),))


def written_otherwise(key: str) -> str:
    """The same key in other characters: the last ones of base64 carry bits that nobody reads."""
    kind, _, text = key.partition(" ")
    other = f"{kind} {text}AAAA" if key_is_same(key, f"{kind} {text}AAAA") else f"{kind} {text}="
    assert other != key
    return other


def key_is_same(one: str, other: str) -> bool:
    try:
        return key_bytes(one) == key_bytes(other)
    except ValueError:
        return False


def test_nobody_takes_a_key_from_its_site_by_claiming_it_too() -> None:
    twice = written_otherwise(A)
    assert key_is_same(A, twice)
    for entries in ([entry("north", A), entry("thief", twice)], [entry("thief", twice), entry("north", A)]):
        assert not changes(entries, [node(1, "north", A)])
        assert not changes(entries, []), "and of two claims to a new key neither is believed"


@pytest.mark.parametrize(
    "text", ["ecdsa-sha2-nistp384 AAAA", "ecdsa-sha2-nistp384 =", "ecdsa-sha2-nistp384 " + "A" * 380]
)
def test_what_is_no_key_is_left_out_and_the_others_go_on(text: str) -> None:
    assert changes([entry("odd", text), entry("north", A)], []).register == (("north", A),)


@dataclass
class Keys:
    """What the SuperLink holds. `spent` keys it does not take; `silent` it does not answer."""

    held: dict[int, ConnectedNode] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    silent: Callable[[str], bool] = lambda _: False
    calls: list[str] = field(default_factory=list)

    def nodes(self) -> list[ConnectedNode]:
        return list(self.held.values())

    def register(self, site: str, key: str) -> None:
        self._call(f"register {site}")
        if key in self.spent:
            raise ConflictError(Code.ALREADY_EXISTS)
        number = len(self.held) + 1
        self.held[number] = node(number, site, key)

    def unregister(self, number: int) -> None:
        self._call(f"unregister {self.held[number].name}")
        del self.held[number]

    def _call(self, what: str) -> None:
        if self.silent(what):
            raise UnavailableError(Code.PEER_UNREACHABLE)
        self.calls.append(what)


def test_the_superlink_is_made_to_agree_and_then_left_alone() -> None:
    keys = Keys({7: node(7, "west", C)})
    reconciler = Reconciler(keys)
    for _ in range(3):
        reconciler.apply([entry("north", A), entry("south", B)])
    assert sorted(keys.calls) == ["register north", "register south", "unregister west"]
    assert {one.name for one in keys.nodes()} == {"north", "south"}


def test_a_key_that_flower_does_not_take_back_is_asked_for_once() -> None:
    keys = Keys(spent={A})
    reconciler = Reconciler(keys)
    for _ in range(3):
        reconciler.apply([entry("north", A), entry("south", B)])
    assert keys.calls.count("register north") == 1
    assert [one.name for one in keys.nodes()] == ["south"]


def test_what_was_not_done_is_done_the_next_time() -> None:
    keys = Keys(silent=lambda what: what == "register south")
    reconciler = Reconciler(keys)
    entries = [entry("north", A), entry("south", B)]
    assert code_of(lambda: reconciler.apply(entries)) is Code.PEER_UNREACHABLE
    keys.silent = lambda _: False
    reconciler.apply(entries)
    assert sorted(keys.calls) == ["register north", "register south"]
