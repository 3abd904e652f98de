"""Patients beside studies: how many of a place's studies of a week are not a further one of the same patient at the same hospital. Pure."""

from collections.abc import Mapping

from registry_api.releases.cube import PATIENTS, is_country, is_published
from registry_api.releases.disclosure import Cell, Key, Line, Rule, Status, Tally, keep_company, primary
from registry_api.units.tree import country_of


def protect_patients(
    studies: Mapping[Key, Cell], tallies: Mapping[Key, Tally], further: Mapping[str, Tally], rule: Rule
) -> dict[Key, Cell]:
    """Return what may be published of the patients of each place, by the rule for every other cell.

    Studies less patients is a count as well, of further studies. No cell shows it, but whoever subtracts has it as near as the rounding lets
    them. So patients are shown where that count could be shown too, or is zero, and where the studies are; and no hidden number stands alone
    between a country and its regions.

    Args:
        studies: The protected cells of one country's week, its hidden rest included.
        tallies: The true counts of studies behind them.
        further: By place, how many studies each hospital calls a further one of a patient whom it counted before.
        rule: The thresholds.
    """
    counts: dict[Key, int] = {}
    statuses: dict[Key, Status] = {}
    for place in sorted({place for place, categories in tallies if not categories}):
        again = further.get(place, {})
        patients = {site: count - again.get(site, 0) for site, count in tallies[place, ()].items()}
        counts[place, PATIENTS] = sum(patients.values())
        statuses[place, PATIENTS] = _status(studies[place, ()].status, patients, again, rule)
    return keep_company(counts, statuses, _lines(counts), rule)


def _status(studies: Status, patients: Tally, further: Tally, rule: Rule) -> Status:
    """Return how the number of patients of one place would be shown if it stood alone beside its studies."""
    own = primary(patients, rule)
    if own is not Status.PUBLISHED or not sum(patients.values()):
        return own
    seen = studies is Status.PUBLISHED and primary(further, rule) is Status.PUBLISHED
    return own if seen else Status.WITHHELD


def _lines(keys: Mapping[Key, int]) -> list[Line]:
    """Return each country with its regions."""
    countries = [place for place, _ in keys if is_country(place) and is_published(place)]
    return [
        Line(
            (one, PATIENTS), tuple((place, PATIENTS) for place, _ in keys if place != one and country_of(place) == one)
        )
        for one in countries
    ]
