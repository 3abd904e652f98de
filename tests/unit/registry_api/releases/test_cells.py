"""Cells written piece by piece: the very bytes of the plain way, whichever part is asked for."""

import json

from hypothesis import given
from hypothesis import strategies as st

from registry_api.releases.cells import cells_as_json
from registry_api.releases.cube import DIMENSIONS
from registry_api.releases.disclosure import Cell, Status
from registry_api.releases.document import Document, WeekTable
from registry_api.releases.export import as_json
from registry_api.releases.query import Table, ask
from registry_api.units.tree import Unit
from tests.unit.registry_api.releases.tables_of_studies import RULE

WEEKS = ("2026-W06", "2026-W07", "2026-W08")
PLACES = ("XA", "XA-N", "XA-S")
SHOWN = (
    Cell(15, Status.PUBLISHED), Cell(1200, Status.PUBLISHED), Cell(None, Status.MASKED, "1-10"), Cell(None, Status.WITHHELD),
)  # fmt: skip
keys = st.tuples(
    st.sampled_from(PLACES), st.sampled_from([(), *((("severity", value),) for value in DIMENSIONS["severity"])])
)
documents = st.builds(
    lambda tables, persons: Document(
        number=1, rule=RULE, places=PLACES,
        weeks={week: WeekTable(week, 1, cells) for week, cells in zip(WEEKS, tables, strict=True)},
        units={"XA-N": Unit("XA-N", "XA", "iso-3166-2", "North", {2025: persons})},
    ),
    tables=st.lists(st.dictionaries(keys, st.sampled_from(SHOWN), max_size=6), min_size=3, max_size=3),
    persons=st.integers(1, 10**8),
)  # fmt: skip


@given(documents, st.sampled_from(["region", "country", "region,severity"]), st.integers(0, 40), st.integers(0, 40))
def test_the_bytes_are_those_of_every_cell_by_itself(document: Document, by: str, start: int, length: int) -> None:
    table = Table(document, ask(by.split(","), {}), region=None)
    stop = min(start + length, len(table))
    one_by_one = [as_json(table[number]) for number in range(start, stop)]
    assert cells_as_json(table.runs(start, stop)) == json.dumps(one_by_one, separators=(",", ":"))


@given(documents, st.integers(-30, 30), st.integers(-30, 30), st.sampled_from([None, 1, 2, -1]))
def test_a_part_of_a_table_is_that_part_of_its_list(
    document: Document, start: int, stop: int, step: int | None
) -> None:
    table = Table(document, ask(["region", "severity"], {}), region="XA")
    everything = [table[number] for number in range(len(table))]
    assert table[start:stop:step] == everything[start:stop:step]
    assert len(table) == len(everything) == len(WEEKS) * 2 * len(DIMENSIONS["severity"])
