"""Reads the figures of the release in use from what the node keeps. Without torch, so that `status` may look too."""

from collections.abc import Sequence

from client.gate.policy import SitePolicy
from client.store.monitoring import MonitorBook
from client.store.records import HeldOutCase
from client.train.drift import RECENT, REFERENCE, Seen
from client.train.standing import Figures, Releases, figures


def figures_of(book: MonitorBook, releases: Releases, cases: Sequence[HeldOutCase], policy: SitePolicy) -> Figures:
    """Return the figures of the release in use from what is kept."""
    seen = [
        Seen(flags=one.flags, maker=one.maker, slice_mm=one.slice_mm, lung_hu=one.lung_hu)
        for one in book.measured(first=REFERENCE, last=RECENT)
    ]
    scored = (book.scores(releases.used), book.scores(releases.before))
    return figures(releases, scored, cases, seen, minimum=policy.training.minimum_held_out)
