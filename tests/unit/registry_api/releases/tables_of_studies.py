"""Random weeks of studies for the disclosure tests, and the attacks on what is published of them."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from registry_api.releases.cube import DIMENSIONS, Group, lines, tally
from registry_api.releases.disclosure import Cell, Key, Line, Rule, Status, Tally, implied, protect

RULE = Rule(minimum=10, rounding=5, sites=2, dominance=0.85)
_WEIGHTS = {
    "severity": (4, 3, 2, 1),
    "age": (1, 2, 3, 4, 4, 3, 2, 0),
    "sex": (10, 10, 0, 1),
    "pcr": (3, 2, 5),
    "rsna": (2, 1, 1, 1, 5),
    "ggo": (4, 3, 3, 2, 1, 1),
}

Protection = Callable[[Mapping[Key, Tally], Sequence[Line], Rule], dict[Key, Cell]]


@dataclass(frozen=True)
class Week:
    """True tallies of one week and the lines among them."""

    tallies: dict[Key, dict[str, int]]
    lines: list[Line]

    def count(self, key: Key) -> int:
        return sum(self.tallies[key].values())


Studies = Counter[tuple[str, tuple[str, ...]]]
"""How many studies a site has of each combination of values, in the order of `DIMENSIONS`."""


def random_week(seed: int, *, per_site: Sequence[int] = (30, 25, 20, 15, 12, 9), regions: int = 3) -> Week:
    return week_of(random_studies(seed, per_site=per_site), regions=regions)


def random_studies(seed: int, *, per_site: Sequence[int]) -> Studies:
    source = random.Random(seed)
    studies: Studies = Counter()
    for index, size in enumerate(per_site):
        for _ in range(source.randint(size // 2, size * 2)):
            studies[f"site-{index}", tuple(source.choices(DIMENSIONS[name], w)[0] for name, w in _WEIGHTS.items())] += 1
    return studies


def week_of(studies: Studies, *, regions: int) -> Week:
    groups = [Group(site, f"XA-{int(site[5:]) % regions}", values, count) for (site, values), count in studies.items()]
    tallies = tally(groups)
    return Week(tallies, lines(tallies))


def plain_threshold(tallies: Mapping[Key, Tally], _: Sequence[Line], rule: Rule) -> dict[Key, Cell]:
    """What many registries do, and what must not pass: hide 1 to 10, show the rest as it is."""
    cells = {}
    for key, one in tallies.items():
        count = sum(one.values())
        hidden = 1 <= count <= rule.minimum
        cells[key] = Cell(None, Status.MASKED, rule.bound) if hidden else Cell(count, Status.PUBLISHED)
    return cells


EXACT = Rule(minimum=10, rounding=1, sites=2, dominance=0.85)
"""What an attacker assumes of numbers that were not rounded."""


def only_zeros(tallies: Mapping[Key, Tally], all_lines: Sequence[Line], rule: Rule) -> dict[Key, Cell]:
    """What no rule hides that publishes zeros and says which cells are 1 to 10: the yardstick for a guess."""
    cells = protect(tallies, all_lines, rule)
    return {key: Cell(None, Status.WITHHELD) if cell.count else cell for key, cell in cells.items()}


@dataclass(frozen=True)
class Loot:
    """What an attack on masked cells got."""

    tries: int
    hits: int

    @property
    def rate(self) -> float:
        return self.hits / self.tries if self.tries else 0.0


def subtract(week: Week, protection: Protection) -> Loot:
    """Attack every masked cell that is the only hidden member of one of its lines: total minus the others."""
    cells = protection(week.tallies, week.lines, RULE)
    found = {}
    for line in week.lines:
        members = [key for key in (line.total, *line.parts) if key in cells]
        hidden = [key for key in members if cells[key].count is None]
        if len(hidden) == 1 and cells[hidden[0]].status is Status.MASKED:
            shown = sum(cells[key].count or 0 for key in line.parts if key in cells)
            found[hidden[0]] = shown if hidden[0] == line.total else (cells[line.total].count or 0) - shown
    return Loot(len(found), sum(week.count(key) == min(max(guess, 1), 10) for key, guess in found.items()))


def squeeze(week: Week, protection: Protection, *, source: random.Random, rule: Rule = RULE, times: int = 3) -> Loot:
    """Attack every masked cell with all lines at once: narrow its bounds until nothing moves, then guess within them."""
    cells = protection(week.tallies, week.lines, RULE)
    bounds = implied(cells, week.lines, rule)
    masked = [key for key, cell in cells.items() if cell.status is Status.MASKED] * times
    return Loot(len(masked), sum(source.randint(*bounds[key]) == week.count(key) for key in masked))
