"""An invite is one word that survives a copy, and nothing else passes for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codes import Code
from protocol.enrolment import Invite, decode_invite, encode_invite
from protocol.errors import RefusedError

INVITE = Invite(registry="https://localhost:8443", ca_sha256="a" * 64, site="alpha", token="b" * 43)


def test_an_invite_survives_its_word() -> None:
    word = encode_invite(INVITE)
    assert word.isascii()
    assert not set(word) & set(" \n=+/")
    assert decode_invite(f"  {word}\n") == INVITE


@given(st.text(max_size=60))
def test_any_other_word_is_refused(word: str) -> None:
    with pytest.raises(RefusedError) as refused:
        decode_invite(word)
    assert refused.value.code is Code.INVITE_INVALID


@given(st.integers(min_value=0, max_value=len(encode_invite(INVITE)) - 2))
def test_a_shortened_word_is_refused(length: int) -> None:
    with pytest.raises(RefusedError):
        decode_invite(encode_invite(INVITE)[:length])
