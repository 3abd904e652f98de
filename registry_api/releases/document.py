"""The bytes of a count release, and the reading of them. Whatever is published anywhere is read from here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from protocol.shape import canonical_json
from registry_api.releases.cube import DIMENSIONS, is_published
from registry_api.releases.disclosure import Cell, Key, Rule, Status
from registry_api.units.tree import Unit, iso_system

SCHEMA = 4

Quality = Mapping[str, Mapping[str, tuple[int, int]]]
"""By place and word of `reporting.QUALITY`: so many hospitals, of so many."""


@dataclass(frozen=True, slots=True)
class WeekTable:
    """One closed week as it is published. A cell that is not in `cells` is zero."""

    week: str
    version: int
    cells: Mapping[Key, Cell]
    reporting: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By place: how many hospitals sent a record of this week, of how many that were expected to."""
    quality: Quality = field(default_factory=dict)
    """How the records of this week came; releases of before schema 3 say nothing."""
    rule: Rule | None = None
    """The thresholds that the week went through; None is those of its release."""

    def cell(self, place: str, categories: tuple[tuple[str, str], ...]) -> Cell:
        """Return a cell, zero if nothing was counted there."""
        return self.cells.get((place, categories), Cell(0, Status.PUBLISHED))


@dataclass(frozen=True, slots=True)
class Document:
    """A release as it is read back from its bytes."""

    number: int
    rule: Rule
    places: tuple[str, ...]
    weeks: Mapping[str, WeekTable]
    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: DIMENSIONS)
    """The dimensions and values of the cube at the time the release was built."""
    units: Mapping[str, Unit] = field(default_factory=dict)
    """What the release says of its places; releases of before schema 2 say nothing."""

    def rule_of(self, week: str) -> Rule:
        """Return the thresholds that a week went through; those of the release for one that it does not hold."""
        table = self.weeks.get(week)
        return self.rule if table is None or table.rule is None else table.rule

    def system(self, place: str) -> str:
        """Return the list that the code of a place comes from; what releases of before schema 2 hold is of ISO 3166."""
        unit = self.units.get(place)
        return unit.system if unit else iso_system(place)

    def persons(self, place: str, week: str) -> int | None:
        """Return how many people lived in a place in the ISO year of a week, as far as the release says."""
        unit = self.units.get(place)
        return unit.persons(int(week[:4])) if unit else None


def write(
    number: int, rule: Rule, places: Sequence[str], weeks: Iterable[WeekTable], units: Mapping[str, Unit] | None = None
) -> bytes:
    """Return the canonical bytes of a release. Weeks of one number differ between releases by their `version` only if their cells do.

    They are put together week by week: `weeks` is the last name in the order of canonical JSON.
    """
    known = units or {}
    head = canonical_json(
        {
            "kind": "count-release",
            "schema": SCHEMA,
            "number": number,
            "week_system": "ISO 8601",
            "place_systems": sorted({known[place].system if place in known else iso_system(place) for place in places}),
            "unit": "studies",
            "absent_cells": 0,
            "rule": asdict(rule),
            "dimensions": {name: list(values) for name, values in DIMENSIONS.items()},
            "places": sorted(places),
            "units": {place: _unit_content(unit) for place, unit in known.items() if place in places},
        }
    )
    tables = (canonical_json(_week_content(table, rule)) for table in sorted(weeks, key=lambda table: table.week))
    return head.removesuffix(b"}") + b',"weeks":[' + b",".join(tables) + b"]}"


def renumbered(body: bytes, number: int) -> bytes:
    """Return the same release under another number, as `write` would: the head names it once, after what holds no number."""
    before, name, rest = body.partition(b',"number":')
    return before + name + str(number).encode() + rest[rest.index(b",") :]


def read(body: bytes) -> Document:
    """Return the release that `write` wrote. Equal keys and cells become one object: a release repeats them from week to week."""
    known: dict[object, Any] = {}
    content = json.loads(body, object_hook=lambda found: _cell_of(found, known) if "status" in found else found)
    rule = Rule(**content["rule"])
    return Document(
        number=content["number"],
        rule=rule,
        places=tuple(content["places"]),
        weeks={one["week"]: _week_of(one, rule) for one in content["weeks"]},
        dimensions={name: tuple(values) for name, values in content["dimensions"].items()},
        units={place: _unit_of(place, one) for place, one in content.get("units", {}).items()},
    )


def published_cells(cells: Mapping[Key, Cell]) -> dict[Key, Cell]:
    """Return the cells that a release lists: no zeros, nothing of the hidden rest of a country."""
    return {key: cell for key, cell in cells.items() if cell.count != 0 and is_published(key[0])}


def _unit_content(unit: Unit) -> dict[str, Any]:
    population = {str(year): persons for year, persons in unit.population.items()}
    return {"parent": unit.parent, "system": unit.system, "name": unit.name, "population": population}


def _unit_of(place: str, content: dict[str, Any]) -> Unit:
    population = {int(year): persons for year, persons in content["population"].items()}
    return Unit(place, content["parent"], content["system"], content["name"], population)


def _week_content(table: WeekTable, rule: Rule) -> dict[str, Any]:
    """Return a week as it is written; its rule only where that is another than its release's."""
    cells = [
        {
            "place": place,
            "by": dict(categories),
            "count": cell.count,
            "status": cell.status.value,
            "bound": cell.bound,
            **({} if cell.earlier is None else {"earlier": cell.earlier}),
        }
        for (place, categories), cell in sorted(table.cells.items(), key=lambda item: item[0])
    ]
    reporting = {place: list(sites) for place, sites in table.reporting.items()}
    quality = {place: {name: list(sites) for name, sites in words.items()} for place, words in table.quality.items()}
    own = {} if table.rule is None or table.rule == rule else {"rule": asdict(table.rule)}
    return {
        "week": table.week,
        "version": table.version,
        "reporting": reporting,
        "quality": quality,
        "cells": cells,
        **own,
    }


def _week_of(content: dict[str, Any], rule: Rule) -> WeekTable:
    reporting = {place: (sites[0], sites[1]) for place, sites in content.get("reporting", {}).items()}
    quality = {
        place: {name: (sites[0], sites[1]) for name, sites in words.items()}
        for place, words in content.get("quality", {}).items()
    }
    own = Rule(**content["rule"]) if "rule" in content else rule
    return WeekTable(content["week"], content["version"], dict(content["cells"]), reporting, quality, own)


def _cell_of(content: dict[str, Any], known: dict[object, Any]) -> tuple[Key, Cell]:
    """Return a cell with its key, each the object of before if there was an equal one."""
    by = content["by"]
    key = content["place"], tuple((name, by[name]) for name in DIMENSIONS if name in by)
    cell = Cell(content["count"], Status(content["status"]), content["bound"], content.get("earlier"))
    return known.setdefault(key, key), known.setdefault(cell, cell)
