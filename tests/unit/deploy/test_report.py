import copy
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.local.charts import agreement_chart, counts_chart, timeline_chart, training_chart
from deploy.local.report import write_report, write_summary

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
ROUNDS = [
    {
        "round": 1,
        "sites": ["a", "b"],
        "refused": {},
        "epsilon": {"a": 3.7, "b": 3.7},
        "dice": 0.71,
        "ggo_error_points": 1.9,
    },
    {
        "round": 2,
        "sites": ["a"],
        "refused": {"b": "budget-spent"},
        "epsilon": {"a": 5.0},
        "dice": 0.73,
        "ggo_error_points": 1.5,
    },
]
START = {"dice": 0.69, "ggo_error_points": 2.1}
CASES = [
    {
        "site": "a",
        "source": "phantom",
        "study": "0" * 32,
        "week": "2026-W01",
        "outcome": "measured",
        "code": None,
        "ggo_fraction": 0.12,
        "truth_fraction": 0.1,
        "model_release": "ggo@0",
    },
    {
        "site": "b",
        "source": "phantom",
        "study": None,
        "week": None,
        "outcome": "refused",
        "code": "localizer",
        "ggo_fraction": None,
        "truth_fraction": None,
        "model_release": None,
    },
]
CELLS = [
    {
        "week": week,
        "region": region,
        "severity": band,
        "count": count,
        "status": "published" if count is not None else "masked",
    }
    for week in ("2026-W01", "2026-W02")
    for region in ("XA-N", "XA-S")
    for band, count in (("none", 15), ("mild", None), ("moderate", 0), ("severe", None))
]
BY_REGION = [
    {"week": "2026-W01", "region": "XA-N", "count": 35, "status": "published"},
    {"week": "2026-W01", "region": "XA-S", "count": None, "status": "withheld"},
]
BY_COUNTRY = [{"week": "2026-W01", "region": "XA", "count": 45, "status": "published"}]
TIMELINE = [
    {"seconds": 0.0, "what": "posted", "who": "hospital"},
    {"seconds": 2.5, "what": "claimed", "who": "centre"},
    {"seconds": 9.0, "what": "report", "who": "reader"},
]


def facts() -> dict[str, Any]:
    return copy.deepcopy(
        {
            "ok": True, "failure": None, "started": "2026-01-14T10:00:00Z", "total_seconds": 312.4,
            "sites": [{"site": site, "title": site.upper(), "region": "XA-N", "studies": 1, "epsilon_total": 4.0} for site in "ab"],
            "rounds_completed": 2, "rounds": ROUNDS, "training_start": START, "refused_sites": {"b": "budget-spent"}, "epsilon": {"a": 5.0, "b": 3.7},
            "release": {"name": "ggo@1", "version": 1, "sha256": "ab" * 32, "signature_verified": True}, "cases": CASES,
            "counts": {"release": 1, "published": 8, "masked": 9, "cells": CELLS, "by_region": BY_REGION, "by_country": BY_COUNTRY},
            "read": {"state": "closed", "slots": [], "report_sha256": "cd" * 32, "timeline": TIMELINE}, "leaks": 0,
            "leak_search": {"identifiers": 9, "forms": 90, "files": 3, "searched_bytes": 4_000_000, "control": "3 places", "hits": []},
            "held": [{"step": "s", "what": "a used invite is refused"}], "seconds": {"centre": 3.0}, "killed": [],
        }
    )  # fmt: skip


def written(tmp_path: Path, content: dict[str, Any], **more: Any) -> str:
    write_report(
        content, tmp_path / "report.html", pictures=more.get("pictures", []), screenshot=more.get("screenshot")
    )
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_summary_is_json_and_leaves_no_half_written_file(tmp_path: Path) -> None:
    write_summary(facts(), tmp_path / "summary.json")
    assert json.loads((tmp_path / "summary.json").read_text()) == facts()
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_the_page_shows_every_part_and_fetches_nothing(tmp_path: Path) -> None:
    (tmp_path / "overlay.png").write_bytes(PNG)
    page = written(
        tmp_path, facts(), pictures=[("a, 12 %", tmp_path / "overlay.png")], screenshot=tmp_path / "overlay.png"
    )
    assert page.count("<svg") == 4
    assert page.count("data:image/png;base64,") == 2
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]+"', page) == []
    for text in ("5:12", "budget-spent", "closed", "a used invite is refused", "12.0 %", "localizer"):
        assert text in page


def test_real_studies_are_told_apart_and_the_page_says_that_they_are_real(tmp_path: Path) -> None:
    content = facts()
    assert "phantoms with invented names" in written(tmp_path, content)
    content["cases"].append(content["cases"][0] | {"source": "real", "study": "f" * 32, "truth_fraction": None})
    content["real_instances"] = {"sent": 84, "refused": 0}
    page = written(tmp_path, content)
    assert "84 instances" in page
    assert "1 real studies stand among the phantoms" in page
    assert "phantoms with invented names" not in page


def test_a_story_that_failed_early_still_has_a_page(tmp_path: Path) -> None:
    content = facts() | {
        "ok": False, "failure": {"step": "2 Hospitals join", "what": "no invite", "logs": "here"}, "rounds": [], "cases": [], "counts": {}, "epsilon": {},
        "read": {"state": None, "slots": [], "timeline": [], "report_sha256": None}, "leaks": None, "leak_search": None, "release": None, "refused_sites": {},
    }  # fmt: skip
    page = written(tmp_path, content)
    assert "2 Hospitals join did not hold" in page
    assert "<svg" not in page


def test_text_is_escaped(tmp_path: Path) -> None:
    content = facts()
    content["held"] = [{"step": "s", "what": "<script>alert(1)</script>"}]
    assert "<script>" not in written(tmp_path, content)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: training_chart(ROUNDS, {"b": 4.0}),
        lambda: training_chart(ROUNDS, {"b": 4.0}, START),
        lambda: agreement_chart(CASES),
        lambda: agreement_chart([]),
        lambda: counts_chart([*BY_COUNTRY, *BY_REGION, *CELLS]),
        lambda: timeline_chart(TIMELINE),
    ],
    ids=["training", "training-from-start", "agreement", "agreement-empty", "counts", "timeline"],
)
def test_charts_are_well_formed_svg(draw: Callable[[], str]) -> None:
    assert ET.fromstring(draw()).tag.endswith("svg")


def numbers(drawing: str) -> list[str]:
    """Return the numbers that stand above the bars: the small ones, which only they are."""
    small = [
        one for one in ET.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text") if "7px" in one.get("style", "")
    ]
    return [str(one.text) for one in small]


def test_a_published_cell_has_its_number_and_one_that_is_not_shown_has_a_hatched_box_without() -> None:
    drawing = counts_chart([*BY_COUNTRY, *BY_REGION, *CELLS])
    assert sorted(numbers(drawing)) == sorted(["45", "35", *["15"] * 4, *["0"] * 4])
    assert drawing.count("fill: url(#") == 8 + 1 + 2, "masked, withheld, and the two in the legend"
    published = [cell | {"count": 15, "status": "published"} for cell in CELLS]
    assert counts_chart(published).count("fill: url(#") == 2


def test_labels_of_the_timeline_alternate_within_their_lane() -> None:
    events = [{"seconds": float(at), "what": f"event {at}", "who": "hospital"} for at in range(4)]
    texts = {
        one.text: float(one.get("y") or str(one.get("transform")).rpartition(" ")[2].rstrip(")"))
        for one in ET.fromstring(timeline_chart(events)).iter("{http://www.w3.org/2000/svg}text")
        if str(one.text).startswith("event")
    }
    assert texts["event 0"] == texts["event 2"] < texts["event 1"] == texts["event 3"]


def test_the_limit_and_the_refusal_are_drawn() -> None:
    assert "own limit 4" in training_chart(ROUNDS, {"b": 4.0})
