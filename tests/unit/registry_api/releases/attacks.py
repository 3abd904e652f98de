"""Attacks on what is published, each aimed at one cell. An attack answers with two chances of naming the true count: its own, and that
of a guess which knows the zeros and the masks and no number. Chances are computed, not drawn, so that a score has no luck in it.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import mean

from registry_api.releases.cube import is_country, is_published
from registry_api.releases.disclosure import Cell, Key, Rule, Status, Tally, behind, implied, rounded
from registry_api.releases.document import Document, WeekTable, published_cells, read, write
from registry_api.releases.query import answers, ask
from registry_api.releases.window import rule_of
from tests.unit.registry_api.releases.formats import Coordinates, Shown, read_all
from tests.unit.registry_api.releases.tables_of_studies import RULE, Protection, Week, random_studies, week_of

WEEK = "2026-W08"
REPEATS = 20
OTHER = Rule(minimum=14, rounding=7, sites=2, dominance=0.85)
"""Thresholds that the settings are changed to: stricter, on another grid."""
REVISIONS = 4
"""So often a release may revise a week."""
Chances = tuple[float, float]
Bounds = Mapping[Key, tuple[int, int]]


@dataclass(frozen=True)
class World:
    """Releases of one week, each a single study from the next. The attacker knows the rule and all of them."""

    earlier: tuple[Week, ...]
    """The last one before `after` first."""
    after: Week
    protection: Protection
    rule: Rule = RULE
    """What the attacker takes the published numbers for: rounded, or exact."""
    again: Callable[[str, Document, Rule], Rule] = field(default=rule_of)
    """By which rule a published week is published again after the thresholds were changed."""
    formats: Callable[[Document, Sequence], dict[str, dict[Coordinates, Shown]]] = field(default=read_all)

    @cached_property
    def shown(self) -> dict[Key, Cell]:
        return self.protection(self.after.tallies, self.after.lines, RULE)

    @cached_property
    def shown_again(self) -> tuple[Rule, dict[Key, Cell]]:
        """The rule that the week goes through after the thresholds were changed, and what it shows then."""
        rule = self.again(WEEK, self.document, OTHER)
        return rule, self.shown if rule == RULE else self.protection(self.after.tallies, self.after.lines, rule)

    @cached_property
    def bounds(self) -> Bounds:
        return implied(self.shown, self.after.lines, self.rule)

    @cached_property
    def shown_earlier(self) -> list[dict[Key, Cell]]:
        return [self.protection(week.tallies, week.lines, RULE) for week in self.earlier]

    @cached_property
    def bounds_earlier(self) -> list[Bounds]:
        both = zip(self.earlier, self.shown_earlier, strict=True)
        return [implied(cells, week.lines, self.rule) for week, cells in both]

    @cached_property
    def zeros(self) -> Bounds:
        return implied(without_numbers(self.after), self.after.lines, RULE)

    @cached_property
    def zeros_earlier(self) -> list[Bounds]:
        return [implied(without_numbers(week), week.lines, RULE) for week in self.earlier]

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


def world_of(seed: int, protection: Protection, *, rule: Rule = RULE) -> World:
    """Return five hospitals in three regions (so one of them is alone in its own), and their week in five versions."""
    source = random.Random(seed)
    versions = [random_studies(seed, per_site=(60, 50, 45, 40, 30))]
    for _ in range(REVISIONS):
        after = versions[-1].copy()
        after[source.choice(sorted(after))] += source.choice((-1, 1))
        versions.append(+after)
    *earlier, last = (week_of(studies, regions=3) for studies in versions)
    return World(tuple(reversed(earlier)), last, protection, rule)


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
    """Know that one study came or went between releases: what holds of either narrows the others."""
    return (
        _within(_all_releases(key, world.bounds, world.bounds_earlier)),
        _within(_all_releases(key, world.zeros, world.zeros_earlier)),
    )


def single_site(world: World, key: Key) -> Chances:
    """Name the count of a hospital that fills the cell alone. It must stay at least as open as a number that is published."""
    return _within(world.bounds[key]), _within(behind(rounded(world.after.count(key), RULE), RULE))


def version_differences(world: World, key: Key) -> Chances:
    """As `release_differences`, of a number that is shown in every version: it crosses an edge of the grid where the study came or went."""
    low, high = behind(world.shown[key].count or 0, world.rule)
    for steps, shown in enumerate(world.shown_earlier, start=1):
        before = shown.get(key)
        if before is not None and before.count is not None:
            least, greatest = behind(before.count, world.rule)
            low, high = max(low, least - steps), min(high, greatest + steps)
    return _within((low, high)), _rounded(world, key)


def averaging_versions(world: World, key: Key) -> Chances:
    """Take the mean of what all versions of the week show, instead of what one shows: a grid drawn anew for each would average away."""
    cells = (shown.get(key) for shown in (world.shown, *world.shown_earlier))
    numbers = [cell.count for cell in cells if cell is not None and cell.count is not None]
    count = world.after.count(key)
    return float(round(mean(numbers)) == count), float(rounded(count, RULE) == count)


def rerounding(world: World, key: Key) -> Chances:
    """Wait for other thresholds, and take where the two grids of one number meet."""
    rule, shown = world.shown_again
    again = shown[key].count
    low, high = behind(world.shown[key].count or 0, world.rule)
    if again is not None:
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
    low, high = behind(round(part / total * total), world.rule)
    return 1 / (high - low + 1), yardstick


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


def _all_releases(key: Key, now: Bounds, earlier: Sequence[Bounds]) -> tuple[int, int]:
    """Return the bounds of a cell that differs from what it was by as many studies at most as there were releases in between."""
    low, high = now[key]
    for steps, bounds in enumerate(earlier, start=1):
        before = bounds.get(key, (0, 0))
        low, high = max(low, before[0] - steps), min(high, before[1] + steps)
    return low, high


ATTACKS: dict[str, tuple[Callable[[World, Key], Chances], str]] = {
    "averaging": (averaging, "small"),
    "subtraction": (subtraction, "small"),
    "overlapping bands": (overlapping, "small"),
    "release differences": (release_differences, "small"),
    "single-site cells": (single_site, "lonely"),
    "percentages inverted": (percentages, "numbered"),
    "version differences": (version_differences, "numbered"),
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
