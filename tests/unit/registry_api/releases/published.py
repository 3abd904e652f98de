"""A small release by hand: three weeks with a gap, a country with two regions, one number of every kind."""

from registry_api.releases.disclosure import Cell, Status
from registry_api.releases.document import Document, WeekTable
from tests.unit.registry_api.releases.tables_of_studies import RULE

MASKED = Cell(None, Status.MASKED, "1-10")
WITHHELD = Cell(None, Status.WITHHELD)


def number(count: int) -> Cell:
    return Cell(count, Status.PUBLISHED)


DOCUMENT = Document(
    number=3,
    rule=RULE,
    places=("XA", "XA-N", "XA-S"),
    weeks={
        "2025-W52": WeekTable("2025-W52", 1, {("XA", ()): number(40), ("XA-N", ()): number(20), ("XA-S", ()): MASKED}),
        "2026-W02": WeekTable("2026-W02", 2, {("XA", ()): number(60), ("XA-N", ()): number(30), ("XA-S", ()): number(30)}),
        "2026-W03": WeekTable(
            "2026-W03",
            1,
            {
                ("XA", ()): number(100),
                ("XA", (("ggo", "0"),)): number(35),
                ("XA", (("ggo", "5-25"),)): number(65),
                ("XA", (("ggo", "51-75"),)): MASKED,
                ("XA-N", ()): number(35),
                ("XA-S", ()): WITHHELD,
            },
        ),
    },
)  # fmt: skip
