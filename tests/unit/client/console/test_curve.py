"""The curve of the ledger: a step for each charge, the limit above, words for who cannot see it."""

import re
import xml.etree.ElementTree as ET

from client.console.curve import curve


def test_without_a_charge_there_is_nothing_to_draw() -> None:
    assert curve([], limit=8.0) == ""


def test_it_rises_at_each_charge_and_stays_below_the_limit() -> None:
    drawn = ET.fromstring(curve([2.0, 3.0, 5.0], limit=8.0))
    path = drawn.find("path")
    assert path is not None
    heights = [float(y) for y in re.findall(r"V ([\d.]+)", path.attrib["d"])]
    assert len(heights) == 3
    assert heights == sorted(heights, reverse=True)
    (limit,) = [line for line in drawn.findall("line") if line.attrib["class"] == "limit"]
    assert float(limit.attrib["y1"]) < min(heights)
    assert drawn.attrib["aria-label"] == "ε rose to 5.00 over 3 charges; the limit is 8"


def test_more_than_the_limit_is_still_on_the_page() -> None:
    drawn = ET.fromstring(curve([9.0], limit=8.0))
    path = drawn.find("path")
    assert path is not None
    assert min(float(y) for y in re.findall(r"V ([\d.]+)", path.attrib["d"])) > 0


def test_no_limit_at_all_divides_by_nothing() -> None:
    assert "ε rose to 1.00" in curve([1.0], limit=0.0)


def test_one_charge_is_numbered_once_and_the_last_of_several_too() -> None:
    marks = [
        [text.text for text in ET.fromstring(curve(course, limit=8.0)).findall("text")]
        for course in ([2.0], [2.0, 3.0])
    ]
    assert [[mark for mark in said if mark and mark.startswith("charge")] for said in marks] == [
        ["charge 1"], ["charge 1", "charge 2"],
    ]  # fmt: skip
