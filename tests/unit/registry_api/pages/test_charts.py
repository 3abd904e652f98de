"""Charts: as high as their numbers, hidden ones all alike, told in words, escaped, and never two with one id."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_api.pages.charts.columns import columns
from registry_api.pages.charts.drawing import Bar, ceiling_of, grid_step
from registry_api.pages.charts.pyramid import pyramid
from registry_api.pages.charts.rows import rows

BARS = [
    Bar("W01", 100),
    Bar("W02", 50),
    Bar("W03", None, "1–10"),
    Bar("W04", None, "withheld"),
    Bar("W05", 0),
    Bar("W06", None),
]


def sizes(chart: str, side: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"bar": [], "hidden": []}
    for kind, size in re.findall(rf'<rect class="(bar|hidden)"[^>]* {side}="([\d.]+)"', chart):
        found[kind].append(float(size))
    return found


@pytest.mark.parametrize(("draw", "side"), [(columns, "height"), (rows, "width")])
def test_bars_are_as_long_as_their_numbers_and_hidden_ones_all_alike(draw, side: str) -> None:
    drawn = sizes(draw("t", BARS[:5], title="t"), side)
    assert drawn["bar"][0] == pytest.approx(2 * drawn["bar"][1], abs=0.2)
    assert drawn["bar"][2] == 0
    assert len(drawn["hidden"]) == 2
    assert len(set(drawn["hidden"])) == 1


def test_a_week_of_which_nothing_came_is_a_gap() -> None:
    drawn = sizes(columns("t", BARS, title="t"), "height")
    assert (len(drawn["bar"]), len(drawn["hidden"])) == (3, 2)
    assert "W06: –" in columns("t", BARS, title="t")


def test_the_sides_of_a_pyramid_share_one_scale() -> None:
    left, right = [Bar("80+", 40), Bar("70–79", None, "1–10")], [Bar("80+", 20), Bar("70–79", None, "withheld")]
    chart = pyramid("ages", left, right, title="t", sides=("women", "men"))
    drawn = sizes(chart, "width")
    assert drawn["bar"][0] == pytest.approx(2 * drawn["bar"][1], abs=0.2)
    assert len(set(drawn["hidden"])) == 1
    assert "80+: women 40, men 20" in chart


@pytest.mark.parametrize("draw", [columns, rows])
def test_a_chart_is_told_in_words_and_escaped(draw) -> None:
    chart = draw("one", [Bar("<W>", None, "1–10"), Bar("W02", 15)], title="Studies & weeks")
    assert '<desc id="one-text">&lt;W&gt;: 1–10; W02: 15</desc>' in chart
    assert '<title id="one-title">Studies &amp; weeks</title>' in chart
    assert 'role="img"' in chart
    assert 'aria-labelledby="one-title one-text"' in chart


def test_charts_of_one_page_share_no_id() -> None:
    both = columns("one", BARS, title="t") + rows("two", BARS, title="t")
    ids = re.findall(r' id="([^"]+)"', both)
    assert len(ids) == len(set(ids)) == 6
    assert set(re.findall(r"url\(#([^)]+)\)", both)) <= set(ids)


@given(st.integers(0, 10**7))
def test_the_scale_has_few_lines_and_reaches_the_highest_bar(top: int) -> None:
    ceiling = ceiling_of([Bar("W01", top)])
    assert ceiling >= top
    assert 1 <= ceiling / grid_step(top) <= 6


@given(st.lists(st.one_of(st.none(), st.integers(0, 5000)), max_size=60))
def test_no_bar_leaves_the_picture(counts: list[int | None]) -> None:
    bars = [Bar(f"W{number}", count, "" if count is not None else "1–10") for number, count in enumerate(counts)]
    for top, height in re.findall(
        r'<rect class="\w+" x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', columns("t", bars, title="t")
    ):
        assert 0 < float(top) + float(height) <= 250


def test_many_columns_keep_the_last_label_and_lose_the_crowd() -> None:
    chart = columns("t", [Bar(f"W{number:02d}", 15) for number in range(1, 53)], title="t")
    labels = re.findall(r">(W\d\d)</text>", chart)
    assert labels[-1] == "W52"
    assert len(labels) == 13


@pytest.mark.parametrize("draw", [columns, rows])
def test_an_empty_chart_is_still_one(draw) -> None:
    assert draw("t", [], title="t").startswith("<svg")
