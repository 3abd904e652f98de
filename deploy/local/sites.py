"""The hospitals of the story: where they are, what they scan with, whom they see, what they allow."""

from dataclasses import dataclass, replace
from typing import Literal

Oddity = Literal["localizer", "missing-slices", "unreadable"]
TransferSyntax = Literal["explicit", "implicit", "rle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """One site as the story casts it.

    `scanner` names a profile of `models.phantom`; `disease` is the range that sick phantoms are drawn from, `healthy` the share of the others. `weeks` says how many studies
    fall into each of the past weeks, oldest first: the busy ones may be published, the last are too few. `patients` is the
    number of persons behind them; the other studies are second visits. `epsilon_total` is what the site writes into its own policy; without
    `whole_plan` it begins runs that this does not let it finish.
    """

    site: str
    title: str
    region: str
    scanner: str
    disease: tuple[float, float]
    spacing_mm: tuple[float, float, float]
    weeks: tuple[int, ...]
    patients: int
    healthy: float = 0.25
    epsilon_total: float = 8.0
    whole_plan: bool = True
    syntax: TransferSyntax = "explicit"
    oddities: tuple[Oddity, ...] = ()

    @property
    def studies(self) -> int:
        """How many measurable studies the hospital sends."""
        return sum(self.weeks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """All sites of one playing of the story, and how long its scenes are. `shape` is (Z, Y, X) of every phantom."""

    hospitals: tuple[Hospital, ...]
    shape: tuple[int, int, int]
    rounds: int
    quorum: int
    steps_per_round: int
    phantoms: int
    """On how many the centre measures every round; two would let the noise of one run in forty look like harm, which refuses its release."""
    refuser: str
    """The site whose own policy runs out of ε part-way."""

    def hospital(self, site: str) -> Hospital:
        """Return the hospital called `site`."""
        return next(hospital for hospital in self.hospitals if hospital.site == site)


_NORTHPORT = Hospital(
    site="northport", title="Northport General", region="XA-N", scanner="siemens-b31f", disease=(0.0, 0.25), spacing_mm=(8.0, 2.8, 2.8),
    weeks=(8, 6, 3, 1), patients=16,
)  # fmt: skip
_HIGHFELL = Hospital(
    site="highfell", title="Highfell Infirmary", region="XA-N", scanner="ge-standard", disease=(0.1, 0.5), spacing_mm=(7.5, 2.7, 2.7),
    weeks=(8, 6, 3, 1), patients=16, syntax="implicit", oddities=("localizer",),
)  # fmt: skip
_SOUTHBAY = Hospital(
    site="southbay", title="Southbay University Hospital", region="XA-S", scanner="philips-b", disease=(0.05, 0.7), spacing_mm=(8.0, 2.9, 2.9),
    weeks=(8, 6, 3, 1), patients=16, syntax="rle", oddities=("missing-slices",),
)  # fmt: skip
_LOWMOOR = Hospital(
    site="lowmoor", title="Lowmoor District", region="XA-S", scanner="canon-fc08", disease=(0.0, 0.4), spacing_mm=(7.0, 2.8, 2.8),
    weeks=(8, 6, 3, 1), patients=16, epsilon_total=5.5, whole_plan=False, oddities=("unreadable",),
)  # fmt: skip

FULL = Cast(
    hospitals=(_NORTHPORT, _HIGHFELL, _SOUTHBAY, _LOWMOOR),
    shape=(36, 128, 128),
    rounds=4,
    quorum=3,
    steps_per_round=3,
    phantoms=6,
    refuser="lowmoor",
)
"""Four hospitals in two regions. At noise 1.5 and rate 0.5 three steps a round cost ε 3.7, 5.0, 6.1, 7.1: a limit of 5.5 ends before round 3."""

SMALL = Cast(
    hospitals=(
        replace(_NORTHPORT, weeks=(6, 1), patients=6),
        replace(_HIGHFELL, weeks=(6, 1), patients=6),
        replace(_SOUTHBAY, region="XA-N", weeks=(5, 1), patients=5, epsilon_total=3.5, whole_plan=False, oddities=("unreadable",)),
    ),
    shape=(24, 96, 96), rounds=2, quorum=2, steps_per_round=2, phantoms=3, refuser="southbay",
)  # fmt: skip
"""Three hospitals of one region: so few that a second region would hide the first by subtraction. Two steps a round cost ε 2.9, 4.2: a limit of 3.5 ends before round 2."""
