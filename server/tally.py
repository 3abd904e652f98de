"""What the sites said in one round, and which of their updates count."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.plan import RoundOrder, UpdateNotice
from strategies.arrays import Arrays, arrays_sha256, check_update, within_reach
from strategies.norms import sent_part

Weights = dict[str, NDArray[np.float32]]

Said = tuple[UpdateNotice, Arrays] | Code
"""A site's update with its notice, or why there is none."""


@dataclass(slots=True)
class Tally:
    """What the sites said in one round."""

    order: RoundOrder
    base: Arrays
    asked: tuple[str, ...]
    sites: list[str] = field(default_factory=list)
    refused: dict[str, Code] = field(default_factory=dict)
    epsilon: dict[str, float] = field(default_factory=dict)

    def counted(self, answers: Iterator[tuple[str, Said]]) -> Iterator[tuple[str, Arrays]]:
        """Yield site and update of those that count, one by one, and note what became of every other answer. A site has one answer."""
        for site, said in answers:
            if site not in self.asked or site in self.sites or site in self.refused:
                continue
            if isinstance(said, Code):
                self.refused[site] = said
                continue
            notice, update = said
            try:
                check_answer(self.order, site, self.base, notice=notice, update=update)
            except RefusedError as error:
                self.refused[site] = error.code
                continue
            self.sites.append(site)
            self.epsilon[site] = notice.epsilon
            yield site, update
        self.refused |= {site: Code.ROUND_LATE for site in self.asked if site not in {*self.sites, *self.refused}}

    def screen(self, sites: tuple[str, ...]) -> None:
        """Note whose updates were left out by the plan's screening. They were charged like the others, and go on being asked."""
        self.sites = [site for site in self.sites if site not in sites]
        self.refused |= dict.fromkeys(sites, Code.SCREENED_UPDATE)

    def spoil(self) -> None:
        """Leave everybody out: what their updates make together is no weights that a site would take."""
        self.refused |= dict.fromkeys(self.sites, Code.BAD_UPDATE)
        self.sites = []


def check_answer(order: RoundOrder, site: str, base: Arrays, *, notice: UpdateNotice, update: Arrays) -> None:
    """Accept an update that is well formed, leads to weights that sites would take, and is bound to this run, round, site, base and content.

    Raises:
        RefusedError: `bad-update`.
    """
    asked = (order.run_id, order.round, site, order.base_sha256)
    if (notice.run_id, notice.round, notice.site, notice.base_sha256) != asked:
        raise RefusedError(Code.BAD_UPDATE, f"The update from {site} is bound to another run, round, site or base.")
    check_update(update, sent_part(order.plan, base))
    if not all(within_reach({name: base[name] + array}) for name, array in update.items()):
        raise RefusedError(
            Code.BAD_UPDATE, f"The update from {site} makes weights that no training makes, and no site takes."
        )
    if arrays_sha256(update) != notice.update_sha256:
        raise RefusedError(Code.BAD_UPDATE, f"The update from {site} is not the one that its notice names.")
