"""The tree of administrative units: countries, their regions, and what lies below those. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

ISO_COUNTRIES = "iso-3166-1"
ISO_REGIONS = "iso-3166-2"
_URIS = {ISO_COUNTRIES: "urn:iso:std:iso:3166", ISO_REGIONS: "urn:iso:std:iso:3166:-2"}
PUBLISHED_LEVELS = 2
"""Counts are published of countries and their regions. What lies below is counted in its region (ADR 0100)."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One node of the tree. `population` is by year; `parent` is None for a country."""

    code: str
    parent: str | None
    system: str
    name: str
    population: Mapping[int, int] = field(default_factory=dict)

    def persons(self, year: int) -> int | None:
        """Return the population of `year`, or of the last year before it that is known; None where none is."""
        known = [one for one in self.population if one <= year]
        return self.population[max(known)] if known else None


class Tree:
    """Finds a unit's way up. Every unit's parent must be among the units."""

    def __init__(self, units: Iterable[Unit]) -> None:
        self.units = {unit.code: unit for unit in units}

    def path(self, code: str) -> list[str]:
        """Return the unit and everything above it, the country last.

        Raises:
            KeyError: If there is no such unit.
        """
        path, parent = [code], self.units[code].parent
        while parent is not None:
            path.append(parent)
            parent = self.units[parent].parent
        return path

    def place_of(self, code: str) -> str:
        """Return the country or region whose counts the unit's studies belong to: the unit itself, or the region above it."""
        return self.path(code)[-PUBLISHED_LEVELS:][0]


def iso_system(code: str) -> str:
    """Return the list of ISO 3166 in which a unit stands of which nothing else is said."""
    return ISO_COUNTRIES if code == country_of(code) else ISO_REGIONS


def system_uri(system: str) -> str:
    """Return the list of codes as FHIR names it; of a country's own list the name becomes one of ours, unless it is a URI itself.

    >>> system_uri("iso-3166-2"), system_uri("urn:oid:1.2.3"), system_uri("nuts")
    ('urn:iso:std:iso:3166:-2', 'urn:oid:1.2.3', 'urn:acinus:registry:units:nuts')
    """
    return _URIS.get(system) or (system if ":" in system else f"urn:acinus:registry:units:{system}")


@lru_cache(maxsize=10_000)
def country_of(code: str) -> str:
    """Return the country of a unit: XA of XA-N. Codes of whatever system begin with it. Asked of each of millions of studies."""
    return code.partition("-")[0]
