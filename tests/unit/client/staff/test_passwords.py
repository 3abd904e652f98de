"""Passwords: scrypt with its parameters beside it; short, repetitive and telling ones are refused."""

import base64
import hashlib

import pytest

from client.staff.passwords import USUAL, Cost, fits, is_dated, kept_form, refuse_poor
from protocol.codes import Code
from tests.fakes.outcomes import code_of
from tests.unit.client.staff.conftest import CHEAP, PASSWORD


def test_only_the_password_fits_and_it_is_not_kept() -> None:
    kept = kept_form(PASSWORD, CHEAP)
    assert fits(PASSWORD, kept)
    assert not fits(PASSWORD + " ", kept)
    assert PASSWORD not in kept
    assert kept != kept_form(PASSWORD, CHEAP), "each has a salt of its own"


def test_the_kept_form_is_scrypt_by_its_own_parameters() -> None:
    kind, n, r, p, salt, digest = kept_form(PASSWORD, CHEAP).split("$")
    assert (kind, n, r, p) == ("scrypt", "16", "1", "1")
    again = hashlib.scrypt(PASSWORD.encode(), salt=base64.b64decode(salt), n=16, r=1, p=1, dklen=32)
    assert base64.b64decode(digest) == again


def test_the_usual_cost_is_what_the_docs_say_and_works() -> None:
    assert (USUAL.n, USUAL.r, USUAL.p) == (32_768, 8, 3)
    assert 128 * USUAL.n * USUAL.r == 32 << 20
    assert fits(PASSWORD, kept_form(PASSWORD))


def test_parameters_that_changed_are_noticed() -> None:
    assert is_dated(kept_form(PASSWORD, CHEAP))
    assert not is_dated(kept_form(PASSWORD, CHEAP), CHEAP)
    assert is_dated(kept_form(PASSWORD, CHEAP), Cost(n=32, r=1, p=1))


def test_letters_that_keyboards_write_in_two_ways_are_one() -> None:
    assert fits("gru\u0308n-gru\u0308n-gru\u0308n-x", kept_form("gr\u00fcn-gr\u00fcn-gr\u00fcn-x", CHEAP))


@pytest.mark.parametrize(
    "poor", ["", "short", "elevenchars", "x" * 129, "abababababab", "mariamaria-1234", "the-MARIA-word-is"]
)
def test_poor_passwords_are_refused(poor: str) -> None:
    assert code_of(lambda: refuse_poor(poor, name="maria")) is Code.BAD_REQUEST


@pytest.mark.parametrize("good", [PASSWORD, "twelve chars", "ärzte öffnen über"])
def test_long_ones_are_taken_without_rules_of_signs(good: str) -> None:
    refuse_poor(good, name="maria")
