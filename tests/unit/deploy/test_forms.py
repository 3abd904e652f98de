import base64

from hypothesis import given
from hypothesis import strategies as st

from deploy.local.forms import needles
from deploy.local.planted import Identifier, Kind, Planted, is_searchable


def contents(identifier: Identifier) -> dict[bytes, str]:
    return {needle.content: needle.form for needle in needles(identifier)}


def test_a_name_is_looked_for_in_both_orders_and_by_its_long_parts() -> None:
    forms = contents(Identifier(Kind.NAME, "Vrouthnaelm^Kvostbrynd^^Dr"))
    assert {b"vrouthnaelm", b"kvostbrynd", b"vrouthnaelm, kvostbrynd", b"dr kvostbrynd vrouthnaelm"} <= forms.keys()
    assert b"dr" not in forms


def test_every_form_is_folded_so_that_case_cannot_hide_it() -> None:
    for needle in needles(Identifier(Kind.NAME, "ÅSKQuerth^Plynx")):
        assert needle.content == needle.content.lower()


@given(st.text("abcdefghijkXYZ0123456789-", min_size=10, max_size=30), st.binary(max_size=9), st.binary(max_size=9))
def test_base64_of_any_surrounding_text_holds_one_of_the_forms(text: str, before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + text.encode() + after).lower()
    assert any(
        form == "base64" and content in encoded for content, form in contents(Identifier(Kind.TEXT, text)).items()
    )


def test_a_date_is_bounded_and_its_encodings_are_not() -> None:
    bounded = {needle.content: needle.bounded for needle in needles(Identifier(Kind.DATE, "20260214"))}
    assert bounded[b"20260214"]
    assert not bounded[b"20260214".hex().encode()]
    assert not bounded[b"2026-02-14"]


def test_values_that_name_nobody_are_not_searched_for() -> None:
    planted = Planted()
    planted.add(
        [Identifier(Kind.NAME, "Anonymous"), Identifier(Kind.NUMBER, "1"), Identifier(Kind.NUMBER, "PID-4071-9938214")]
    )
    assert [one.value for one in planted] == ["PID-4071-9938214"]
    assert len(planted.unsearchable) == 2
    assert not is_searchable("ANONYMIZED^")
