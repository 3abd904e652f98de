"""How the release in use does at this site: its score on held-out patients, the one before on the same, drift of the scans. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, stdev

from client.store.records import HeldOutCase, MaskLabel
from client.train.drift import Drift, Seen, drifts
from protocol.standing import Standing

MARGIN = 0.02
"""So much less Dice than the release before is worse, if it is surely less at all."""

_SURELY = 2.0
"""Standard errors."""

Scored = Mapping[tuple[str, str], float | None]
"""Smoothed Dice by study and its mask's SHA-256; None for a study that could not be read."""


@dataclass(frozen=True, slots=True)
class Releases:
    """Of which releases to speak.

    Attributes:
        taken: The newest that the centre announced and this node took.
        used: Measured with: the same, unless it does not verify any more.
        before: The newest one before that; the same as `used` where there is none.
    """

    taken: str
    used: str
    before: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All that the node knows of its release. It stays at the site; only `standing` may leave.

    Attributes:
        taken: The newest one; of it `standing` speaks.
        release: In use.
        before: The release before it; the same where there was none.
        patients: Held out and scored with both.
        score: Mean smoothed Dice over them; None without any.
        score_before: That of the release before.
        change: Mean difference; negative is worse.
        error: Its standard error; None below two patients.
        drifts: Of the scans.
        standing: What follows; None while too little is known.
    """

    taken: str
    release: str
    before: str
    patients: int
    score: float | None
    score_before: float | None
    change: float | None
    error: float | None
    drifts: tuple[Drift, ...]
    standing: Standing | None


def figures(
    releases: Releases,
    scored: tuple[Scored, Scored],
    cases: Sequence[HeldOutCase],
    seen: Sequence[Seen],
    *,
    minimum: int,
) -> Figures:
    """Return the figures of a release.

    Args:
        releases: The one in use, the one before, and whether the one in use is the one that should be.
        scored: Scores of both.
        cases: The held-out studies.
        seen: All measured studies, the first first.
        minimum: With fewer patients nothing is concluded from scores.
    """
    pairs = _patients(cases, *scored)
    differences = [now - before for now, before in pairs]
    found = tuple(drifts(seen))
    error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else None
    change = fmean(differences) if differences else None
    standing = standing_of(change, error, found, enough=len(pairs) >= minimum)
    return Figures(
        taken=releases.taken, release=releases.used, before=releases.before, patients=len(pairs), change=change, error=error, drifts=found,
        score=fmean(now for now, _ in pairs) if pairs else None, score_before=fmean(old for _, old in pairs) if pairs else None,
        standing=standing if releases.used == releases.taken else Standing.REFUSED,
    )  # fmt: skip


def standing_of(change: float | None, error: float | None, found: Sequence[Drift], *, enough: bool) -> Standing | None:
    """Return what follows: worse by the margin and surely, perhaps worse or other scans, neither, or nothing where too little is known."""
    judged = enough and change is not None and error is not None
    low = judged and change is not None and change < -MARGIN
    if low and change is not None and error is not None and change + _SURELY * error < 0:
        return Standing.WORSE
    if low or any(one.changed for one in found):
        return Standing.WATCH
    return Standing.STEADY if judged or found else None


def key_of(case: HeldOutCase) -> tuple[str, str]:
    """Return under what a held-out study's score is kept: another mask needs another score."""
    label = case.case.label
    return case.case.study_key, label.sha256 if isinstance(label, MaskLabel) else label.identity


def _patients(cases: Sequence[HeldOutCase], now: Scored, before: Scored) -> list[tuple[float, float]]:
    """Return both scores of each patient, the mean of the studies that have both."""
    rows = []
    for _, own in groupby(sorted(cases, key=_subject), key=_subject):
        both = [(now.get(key_of(one)), before.get(key_of(one))) for one in own]
        known = [(one, other) for one, other in both if one is not None and other is not None]
        if known:
            rows.append((fmean(one for one, _ in known), fmean(other for _, other in known)))
    return rows


def _subject(case: HeldOutCase) -> str:
    return case.case.subject_key
