"""Pages of thousands of studies: each filter, each order, against the same done in memory."""

import json
import time
from pathlib import Path

import pytest

from client.store.database import connect
from client.store.records import StudyState
from client.store.search import SIZE, Order, Search, StudyQuery
from client.store.tables import SCHEMA

BANDS = ("none", "mild", "moderate", "severe")


def fill(path: Path, count: int) -> list[dict[str, object]]:
    """Studies in every state; a refused one keeps its finding of before, which must not show."""
    connection, made = connect(path, SCHEMA), []
    connection.execute("BEGIN")
    for at in range(count):
        state = ("measured", "measured", "received", "refused")[at % 4]
        key, ggo = f"{(at * 7919) % (1 << 32):032x}", (at * 37 % 100) / 100
        row = (
            key,
            "subject",
            "case",
            state,
            "localizer" if state == "refused" else None,
            1,
            0,
            None,
            float(at),
            float(at),
        )
        connection.execute("INSERT INTO study VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        document = {
            "ggo_fraction": ggo,
            "severity": {"band": BANDS[at % 3]},
            "quality": ["contrast"] if at % 5 == 0 else [],
        }
        if state != "received":
            connection.execute(
                "INSERT INTO finding VALUES (?, 'ggo@0', ?, '{}', 1, NULL, 1.0)", (key, json.dumps(document))
            )
        made.append({"key": key, "state": state, "at": at, "ggo": ggo, "band": BANDS[at % 3], "flagged": at % 5 == 0})
    connection.commit()
    return made


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Search, list[dict[str, object]]]:
    path = tmp_path_factory.mktemp("search") / "node.db"
    return Search(connect(path, SCHEMA)), fill(path, 330)


QUERIES = {
    "all": (StudyQuery(), lambda _: True),
    "measured": (StudyQuery(state=StudyState.MEASURED), lambda one: one["state"] == "measured"),
    "refused": (StudyQuery(state=StudyState.REFUSED), lambda one: one["state"] == "refused"),
    "mild": (StudyQuery(band="mild"), lambda one: one["state"] == "measured" and one["band"] == "mild"),
    "flagged": (StudyQuery(flagged=True), lambda one: one["state"] == "measured" and one["flagged"]),
    "from 40 %": (StudyQuery(least_ggo=0.4), lambda one: one["state"] == "measured" and one["ggo"] >= 0.4),
    "key": (StudyQuery(key="0" * 26), lambda one: str(one["key"]).startswith("0" * 26)),
    "all together": (
        StudyQuery(state=StudyState.MEASURED, band="mild", flagged=True, least_ggo=0.1, key="0"),
        lambda one: one["state"] == "measured" and one["band"] == "mild" and one["flagged"] and one["ggo"] >= 0.1,
    ),
    "none": (StudyQuery(key="f"), lambda _: False),
}  # fmt: skip


@pytest.mark.parametrize("name", QUERIES)
def test_pages_hold_what_was_asked_for_each_once(many: tuple[Search, list[dict[str, object]]], name: str) -> None:
    (search, made), (query, wanted) = many, QUERIES[name]
    expected = sorted((one for one in made if wanted(one)), key=lambda one: -int(str(one["at"])))
    first = search.studies(query)
    assert first.total == len(expected)
    found = [pair for number in range(1, first.last + 1) for pair in search.studies(query, number).rows]
    assert [study.study_key for study, _ in found] == [one["key"] for one in expected]
    assert all((finding is not None) == (study.state is StudyState.MEASURED) for study, finding in found)


def test_a_page_is_a_page(many: tuple[Search, list[dict[str, object]]]) -> None:
    search, _ = many
    assert [len(search.studies(StudyQuery(), number).rows) for number in (1, 6, 7, 8)] == [SIZE, SIZE, 30, 0]


def test_sorting_by_ground_glass_puts_what_has_none_last(many: tuple[Search, list[dict[str, object]]]) -> None:
    search, made = many
    measured = sorted(float(str(one["ggo"])) for one in made if one["state"] == "measured")
    for order, expected in ((Order.MOST, measured[::-1]), (Order.LEAST, measured)):
        query = StudyQuery(order=order)
        found = [finding for number in range(1, 8) for _, finding in search.studies(query, number).rows]
        shares = [json.loads(finding.document)["ggo_fraction"] for finding in found[: len(measured)] if finding]
        assert shares == expected
        assert found[len(measured) :] == [None] * (len(made) - len(measured))


def test_the_mean_is_of_every_measured_study(many: tuple[Search, list[dict[str, object]]]) -> None:
    search, made = many
    shares = [float(str(one["ggo"])) for one in made if one["state"] == "measured"]
    assert search.mean_ggo() == pytest.approx(sum(shares) / len(shares))


def test_an_empty_node_has_one_empty_page(tmp_path: Path) -> None:
    page = Search(connect(tmp_path / "node.db", SCHEMA)).studies(StudyQuery())
    assert (page.rows, page.total, page.last) == ([], 0, 1)
    assert Search(connect(tmp_path / "node.db", SCHEMA)).mean_ggo() is None


def test_a_filter_is_no_statement(many: tuple[Search, list[dict[str, object]]]) -> None:
    search, made = many
    assert search.studies(StudyQuery(band="' OR 1=1 --")).total == 0
    assert search.studies(StudyQuery()).total == len(made)


def test_ten_thousand_studies_are_sorted_within_a_second(tmp_path: Path) -> None:
    fill(tmp_path / "node.db", 10_000)
    search = Search(connect(tmp_path / "node.db", SCHEMA))
    started = time.process_time()
    page = search.studies(StudyQuery(order=Order.MOST, least_ggo=0.2, state=StudyState.MEASURED), 50)
    assert len(page.rows) == SIZE
    assert time.process_time() - started < 1
