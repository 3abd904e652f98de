"""Two reads agree or differ by four rules, whichever of them came first."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.case import RsnaClass
from registry_api.reading.comparison import Coded, Difference, Thresholds, differences

READ = Coded(RsnaClass.TYPICAL, corads=4, severity_score=9, critical=False)

coded = st.builds(Coded, st.sampled_from(RsnaClass), st.integers(0, 6), st.integers(0, 24), st.booleans())


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (replace(READ, rsna_class=RsnaClass.ATYPICAL), (Difference.RSNA_CLASS,)),
        (replace(READ, corads=5), ()),
        (replace(READ, corads=6), (Difference.CORADS,)),
        (replace(READ, corads=2), (Difference.CORADS,)),
        (replace(READ, severity_score=13), ()),
        (replace(READ, severity_score=14), (Difference.SEVERITY_SCORE,)),
        (replace(READ, severity_score=4), (Difference.SEVERITY_SCORE,)),
        (replace(READ, critical=True), (Difference.CRITICAL,)),
        (Coded(RsnaClass.NEGATIVE, 1, 0, critical=True), tuple(Difference)),
    ],
)
def test_each_rule_by_itself(other: Coded, expected: tuple[Difference, ...]) -> None:
    assert differences(READ, other) == expected


@given(coded, coded)
def test_the_order_of_the_reads_does_not_matter(first: Coded, second: Coded) -> None:
    assert differences(first, second) == differences(second, first)


@given(coded)
def test_a_read_agrees_with_itself(read: Coded) -> None:
    assert differences(read, read) == ()


def test_the_thresholds_are_data() -> None:
    other = replace(READ, corads=5, severity_score=10)
    assert differences(READ, other, Thresholds(corads=1, severity_score=1)) == (
        Difference.CORADS,
        Difference.SEVERITY_SCORE,
    )
