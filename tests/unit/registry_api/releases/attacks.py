"""Attacks on what is published, each aimed at one cell. An attack answers with two chances of naming the true count: its own, and that
of a guess which knows the zeros and the masks and no number. Chances are computed, not drawn, so that a score has no luck in it.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from statistics import mean

from registry_api.releases.cube import is_country, is_published
from registry_api.releases.disclosure import Bounds, Cell, Key, Rule, Status, Tally, behind, implied, narrowed, rounded
from registry_api.releases.document import Document, WeekTable, published_cells, read, write
from registry_api.releases.query import answers, ask
from registry_api.releases.steady import steady
from registry_api.releases.window import rule_of
from registry_api.units.tree import country_of
from tests.unit.registry_api.releases.formats import Coordinates, Shown, read_all
from tests.unit.registry_api.releases.tables_of_studies import RULE, Protection, Studies, Week, random_studies, week_of

WEEK = "2026-W08"
REPEATS = 20
OTHER = Rule(minimum=14, rounding=7, sites=2, dominance=0.85)
"""Thresholds that the settings are changed to: stricter, on another grid."""
REVISIONS = 4
"""So often a release may revise a week."""
Chances = tuple[float, float]
Keeping = Callable[[Mapping[Key, Cell], Mapping[Key, Cell], Rule], dict[Key, Cell]]
"""What a version of a week shows, of its cells by themselves and those of the version before."""
UNBOUNDED = 10**6


def anew(cells: Mapping[Key, Cell], _before: Mapping[Key, Cell], _rule: Rule) -> dict[Key, Cell]:
    """Publish every version as if it were the first."""
    return dict(cells)


@dataclass(frozen=True)
class Version:
    """One version of a week as it was published, and what its cells say of themselves to who knows the versions before."""

    week: Week
    cells: dict[Key, Cell]
    own: dict[Key, Bounds]

    @cached_property
    def bounds(self) -> dict[Key, Bounds]:
        return narrowed(self.own, self.week.lines)

    @cached_property
    def zeros(self) -> dict[Key, Bounds]:
        return implied(without_numbers(self.week), self.week.lines, RULE)


@dataclass(frozen=True)
class World:
    """Releases of one week, each a single study from the next. The attacker knows the rule and all of them."""

    earlier: tuple[Week, ...]
    """The last one before `after` first."""
    after: Week
    protection: Protection
    rule: Rule = RULE
    """What the attacker takes the published numbers for: rounded, or exact."""
    keep: Keeping = steady
    """How a version takes the numbers of the one before into account."""
    again: Callable[[str, Document, Rule], Rule] = field(default=rule_of)
    """By which rule a published week is published again after the thresholds were changed."""
    formats: Callable[[Document, Sequence], dict[str, dict[Coordinates, Shown]]] = field(default=read_all)

    @cached_property
    def versions(self) -> list[Version]:
        """The oldest first."""
        found, last = [], {}
        for week in (*reversed(self.earlier), self.after):
            before = found[-1].cells if found else {}
            cells = self.keep(self.protection(week.tallies, week.lines, RULE), before, RULE)
            own = {key: self._own(cell, kept=last.get(key) == cell.count) for key, cell in cells.items()}
            last |= {key: cell.count for key, cell in cells.items() if cell.count is not None}
            found.append(Version(week, cells, own))
        return found

    def _own(self, cell: Cell, *, kept: bool) -> Bounds:
        if cell.status is Status.MASKED:
            return 1, RULE.minimum
        if cell.count is None:
            return RULE.minimum + 1, UNBOUNDED
        return behind(cell.count, self.rule, kept=kept and self.keep is steady)

    @property
    def shown(self) -> dict[Key, Cell]:
        return self.versions[-1].cells

    def behind(self, key: Key) -> Bounds:
        """Return what the last version says of a cell that it shows."""
        return self.versions[-1].own[key]

    @cached_property
    def shown_again(self) -> tuple[Rule, dict[Key, Cell]]:
        """The rule that the week goes through after the thresholds were changed, and what it shows then."""
        rule = self.again(WEEK, self.document, OTHER)
        return rule, self.shown if rule == RULE else self.protection(self.after.tallies, self.after.lines, rule)

    @property
    def bounds(self) -> dict[Key, Bounds]:
        return self.versions[-1].bounds

    @property
    def zeros(self) -> dict[Key, Bounds]:
        return self.versions[-1].zeros

    @cached_property
    def of_all_versions(self) -> dict[Key, Bounds]:
        """What is left of the last version's counts to who knows all of them, and that a study came or went between any two."""
        return narrowed(_together([version.bounds for version in self.versions]), self.after.lines)

    @cached_property
    def zeros_of_all_versions(self) -> dict[Key, Bounds]:
        return narrowed(_together([version.zeros for version in self.versions]), self.after.lines)

    @cached_property
    def document(self) -> Document:
        places = sorted({place for place, _ in self.shown if is_published(place)})
        return read(write(1, RULE, places, [WeekTable(WEEK, 1, published_cells(self.shown))]))

    @cached_property
    def left_over(self) -> dict[Key, int]:
        """What subtraction leaves for every cell that is the only one hidden in a line."""
        left = {}
        for line in self.after.lines:
            hidden = [one for one in (line.total, *line.parts) if one in self.shown and self.shown[one].count is None]
            if len(hidden) == 1:
                parts = sum(self.shown[one].count or 0 for one in line.parts if one in self.shown)
                left[hidden[0]] = parts if hidden[0] == line.total else (self.shown[line.total].count or 0) - parts
        return left

    def in_all_formats(self, *by: str) -> dict[str, dict[Coordinates, Shown]]:
        """Return a table of the release as every format has it."""
        if by not in self._tables:
            found = answers(self.document, ask(["week", *by], {}), region=None)
            self._tables[by] = self.formats(self.document, found)
        return self._tables[by]

    @cached_property
    def _tables(self) -> dict[tuple[str, ...], dict[str, dict[Coordinates, Shown]]]:
        return {}

    @cached_property
    def small(self) -> list[Key]:
        """Cells of 1 to 10 that a release speaks of."""
        return self._published(lambda key: 1 <= self.after.count(key) <= RULE.minimum)

    @cached_property
    def lonely(self) -> list[Key]:
        """Cells above the minimum that one hospital alone fills."""
        return self._published(
            lambda key: (
                self.after.count(key) > RULE.minimum and max(self.after.tallies[key].values()) == self.after.count(key)
            )
        )

    @cached_property
    def numbered(self) -> list[Key]:
        """Cells of more than one hospital that may be shown as a number, beside the totals of places."""
        return self._published(lambda key: bool(key[1]) and bool(self.shown[key].count))

    def _published(self, wanted: Callable[[Key], bool]) -> list[Key]:
        return [key for key in sorted(self.after.tallies) if is_published(key[0]) and wanted(key)]


def world_of(seed: int, protection: Protection, *, rule: Rule = RULE, keep: Keeping = steady, most: int = 1) -> World:
    """Return five hospitals in three regions (so one of them is alone in its own), and their week in five versions.

    Args:
        seed: Of the studies and of what comes and goes.
        protection: The rule.
        rule: What the attacker takes the published numbers for.
        keep: What a version does with the numbers of the one before.
        most: So many studies, of one hospital, come or go at most between two versions.
    """
    source = random.Random(seed)
    versions = [random_studies(seed, per_site=(60, 50, 45, 40, 30))]
    for _ in range(REVISIONS):
        after = versions[-1].copy()
        change(after, source, most=most)
        versions.append(+after)
    *earlier, last = (week_of(studies, regions=3) for studies in versions)
    return World(tuple(reversed(earlier)), last, protection, rule, keep)


def change(studies: Studies, source: random.Random, *, most: int) -> None:
    """Let studies of one hospital come or go."""
    first = source.choice(sorted(studies))
    sign = source.choice((-1, 1))
    studies[first] += sign
    for _ in range(source.randint(1, most) - 1 if most > 1 else 0):
        if there := sorted(one for one in studies if one[0] == first[0] and studies[one] > 0):
            studies[source.choice(there)] += sign


def without_numbers(week: Week) -> dict[Key, Cell]:
    """Return what is known to somebody who sees zeros and masks only."""
    cells = {}
    for key in week.tallies:
        count = week.count(key)
        masked = 1 <= count <= RULE.minimum
        cells[key] = (
            Cell(0, Status.PUBLISHED)
            if count == 0
            else Cell(None, Status.MASKED if masked else Status.WITHHELD, RULE.bound if masked else None)
        )
    return cells


def averaging(world: World, key: Key) -> Chances:
    """Ask for the cell again and again and take the mean."""
    tally: Mapping[Key, Tally] = {key: world.after.tallies[key]}
    counts = [world.protection(tally, [], RULE)[key].count for _ in range(REPEATS)]
    numbers = [count for count in counts if count is not None]
    if not numbers:
        return _blind(), _blind()
    return float(round(mean(numbers)) == world.after.count(key)), _blind()


def subtraction(world: World, key: Key) -> Chances:
    """Find a line in which the cell is the only one hidden, and take the rest from the total."""
    if key not in world.left_over:
        return _blind(), _blind()
    return float(min(max(world.left_over[key], 1), RULE.minimum) == world.after.count(key)), _blind()


def overlapping(world: World, key: Key) -> Chances:
    """Take all lines together, over every band and every place, and guess within what they leave."""
    return _within(world.bounds[key]), _within(world.zeros[key])


def release_differences(world: World, key: Key) -> Chances:
    """Know that one study came or went between releases: what holds of either narrows the others, and all lines then narrow the rest."""
    return _within(world.of_all_versions[key]), _within(world.zeros_of_all_versions[key])


def single_site(world: World, key: Key) -> Chances:
    """Name the count of a hospital that fills the cell alone. It must stay at least as open as a number that is published."""
    return _within(world.bounds[key]), _within(behind(rounded(world.after.count(key), RULE), RULE))


def version_differences(world: World, key: Key) -> Chances:
    """Know that one study came or went between releases, and with what chance it is one of the cell: a number that moves says where the count stands."""
    number, whole = world.shown[key].count or 0, world.shown[country_of(key[0]), ()].count
    chance = min(number / whole, 1.0) if whole else 0.5
    steps = {-1: chance / 2, 0: 1 - chance, 1: chance / 2}
    return _best(world, key, [steps] * REVISIONS), _rounded(world, key)


def known_changes(world: World, key: Key) -> Chances:
    """Know of every study that came or went whether it is one of the cell, as the hospital that sent it may."""
    counts = [sum(version.week.tallies.get(key, {}).values()) for version in world.versions]
    return _best(world, key, [{after - before: 1.0} for before, after in pairwise(counts)]), _rounded(world, key)


def _best(world: World, key: Key, steps: Sequence[Mapping[int, float]]) -> float:
    """Return with what chance the likeliest count of the last version is the true one.

    Args:
        world: The releases; all counts behind the first number of a cell are equally likely.
        key: The cell.
        steps: How likely the count changes by how many from each version to the next.
    """
    bounds = [version.own.get(key, (0, 0)) for version in world.versions]
    start = next(number for number, (_, most) in enumerate(bounds) if most < UNBOUNDED)
    weights = dict.fromkeys(range(bounds[start][0], bounds[start][1] + 1), 1.0)
    for (least, most), step in zip(bounds[start + 1 :], steps[start:], strict=True):
        moved: dict[int, float] = {}
        for count, weight in weights.items():
            for by, chance in step.items():
                if least <= count + by <= most:
                    moved[count + by] = moved.get(count + by, 0.0) + weight * chance
        weights = moved
    return max(weights.values()) / sum(weights.values())


def averaging_versions(world: World, key: Key) -> Chances:
    """Take the mean of what all versions of the week show, instead of what one shows: a grid drawn anew for each would average away."""
    cells = (version.cells.get(key) for version in world.versions)
    numbers = [cell.count for cell in cells if cell is not None and cell.count is not None]
    count = world.after.count(key)
    return float(round(mean(numbers)) == count), float(rounded(count, RULE) == count)


def rerounding(world: World, key: Key) -> Chances:
    """Wait for other thresholds, and take where the two grids of one number meet."""
    rule, shown = world.shown_again
    again = shown[key].count
    low, high = world.behind(key)
    if again is not None and rule != RULE:
        least, greatest = behind(again, world.rule if world.rule.rounding == 1 else rule)
        low, high = max(low, least), min(high, greatest)
    return _within((low, high)), _rounded(world, key)


def _rounded(world: World, key: Key) -> float:
    """Return the chance of a guess that knows the rounded number of one release."""
    return _within(behind(rounded(world.after.count(key), RULE), RULE))


def percentages(world: World, key: Key) -> Chances:
    """Turn the share of a cell in its place, which readers form of two shown numbers, back into the count."""
    total = world.shown[key[0], ()].count
    yardstick = _within(behind(rounded(world.after.count(key), RULE), RULE))
    part = world.shown[key].count
    if part is None or not total:
        return yardstick, yardstick
    assert round(part / total * total) == part
    return _within(world.behind(key)), yardstick


def parts_of_true_share(part: int, total: int, *, share: float, rule: Rule, digits: int) -> list[int]:
    """Return the true parts that are possible when `part` of `total` is shown beside their true share, rounded to `digits`."""
    (least, greatest), (low, high) = behind(part, rule), behind(total, rule)
    return [
        one
        for one in range(least, greatest + 1)
        if any(round(one / whole, digits) == round(share, digits) for whole in range(low, high + 1))
    ]


def export_mismatch(world: World, key: Key) -> Chances:
    """Look for a format that shows what another hides, or another number."""
    place, categories = key
    formats = world.in_all_formats("country" if is_country(place) else "region", *(name for name, _ in categories))
    code = ";".join(f"{name}:{value}" for name, value in categories) or "all"
    numbers = {cells[WEEK, place, code][0] for cells in formats.values()} - {None}
    return float(world.after.count(key) in numbers) if numbers else _blind(), _blind()


def _blind() -> float:
    return 1 / RULE.minimum


def _within(bounds: tuple[int, int]) -> float:
    return 1 / (bounds[1] - bounds[0] + 1)


def _together(versions: Sequence[Mapping[Key, Bounds]]) -> dict[Key, Bounds]:
    """Return the bounds of cells that differ from what they were by as many studies at most as there were versions in between."""
    *earlier, now = versions
    found = dict(now)
    for steps, bounds in enumerate(reversed(earlier), start=1):
        for key, (low, high) in found.items():
            least, most = bounds.get(key, (0, 0))
            found[key] = max(low, least - steps), min(high, most + steps)
    return found


ATTACKS: dict[str, tuple[Callable[[World, Key], Chances], str]] = {
    "averaging": (averaging, "small"),
    "subtraction": (subtraction, "small"),
    "overlapping bands": (overlapping, "small"),
    "release differences": (release_differences, "small"),
    "single-site cells": (single_site, "lonely"),
    "percentages inverted": (percentages, "numbered"),
    "version differences": (version_differences, "numbered"),
    "known changes": (known_changes, "numbered"),
    "averaging over versions": (averaging_versions, "numbered"),
    "re-rounding": (rerounding, "numbered"),
    "export mismatch": (export_mismatch, "small"),
}
"""By name: the attack, and the cells that it is aimed at."""


@dataclass(frozen=True)
class Score:
    """How often an attack names the count, and how often a guess does."""

    tries: int
    rate: float
    guess: float

    @property
    def gain(self) -> float:
        return self.rate - self.guess


def play(worlds: Sequence[World], name: str, *, tries: int, seed: int = 7) -> Score:
    """Aim an attack at `tries` random cells of random worlds."""
    attack, aimed_at = ATTACKS[name]
    source = random.Random(f"{name} {seed}")
    known: dict[tuple[int, Key], Chances] = {}
    chances = []
    for _ in range(tries):
        number = source.randrange(len(worlds))
        key = source.choice(getattr(worlds[number], aimed_at))
        if (number, key) not in known:
            known[number, key] = attack(worlds[number], key)
        chances.append(known[number, key])
    return Score(tries, mean(own for own, _ in chances), mean(guess for _, guess in chances))
