"""Every code has one family; every family has one status and one exit code."""

import pytest

from protocol.codes import MEANINGS, Code, Family
from protocol.errors import FAMILIES, FederationError, InvalidInputError, RefusedError, error_for


def test_every_code_has_a_meaning_and_a_family() -> None:
    assert set(MEANINGS) == set(Code)
    assert set(FAMILIES) == set(Family)


@pytest.mark.parametrize("code", list(Code))
def test_error_for_gives_the_family_and_speaks_a_sentence(code: Code) -> None:
    error = error_for(code)
    assert isinstance(error, FederationError)
    assert error.code is code
    assert str(error).endswith(".")
    assert error_for(code, "Said otherwise.").args == ("Said otherwise.",)


def test_statuses_and_exit_codes_are_those_that_scripts_depend_on() -> None:
    seen = {family: (kind.http_status, kind.exit_code) for family, kind in FAMILIES.items()}
    assert seen == {
        Family.INVALID: (422, 2),
        Family.CONFLICT: (409, 3),
        Family.REFUSED: (403, 4),
        Family.UNAVAILABLE: (503, 5),
    }


def test_a_code_of_another_family_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="not to RefusedError"):
        RefusedError(Code.NOT_CT)
    assert InvalidInputError(Code.NOT_CT).code == "not-ct"
