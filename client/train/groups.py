"""Which groups a held-out patient is in, from the words of the store. Pure."""

from client.store.records import HeldOutCase
from protocol.case import AgeBand, Sex
from protocol.evaluation import Group

_SEXES = {Sex.FEMALE.value: Group.FEMALE, Sex.MALE.value: Group.MALE}
_AGES = {
    AgeBand.UNDER_20.value: Group.UNDER_50, AgeBand.FROM_20.value: Group.UNDER_50, AgeBand.FROM_40.value: Group.UNDER_50,
    AgeBand.FROM_50.value: Group.FROM_50, AgeBand.FROM_60.value: Group.FROM_50,
    AgeBand.FROM_70.value: Group.FROM_70, AgeBand.FROM_80.value: Group.FROM_70,
}  # fmt: skip
_MAKERS = {
    "CANON": Group.CANON, "TOSHIBA": Group.CANON, "GE": Group.GE, "PHILIPS": Group.PHILIPS, "SIEMENS": Group.SIEMENS,
}  # fmt: skip
"""By the first word of Manufacturer (0008,0070)."""


def groups_of(case: HeldOutCase) -> frozenset[Group]:
    """Return the groups that a study puts its patient in; what is unknown puts them in none of its kind."""
    found = {_SEXES.get(case.sex), _AGES.get(case.age_band), maker_of(case.maker)}
    return frozenset({Group.ALL, *(group for group in found if group is not None)})


def maker_of(manufacturer: str) -> Group | None:
    """Return the group of a scanner's maker; `None` where the header is silent.

    >>> maker_of("GE MEDICAL SYSTEMS").value
    'maker-ge'
    """
    words = manufacturer.upper().split()
    return _MAKERS.get(words[0], Group.OTHER_MAKER) if words else None
