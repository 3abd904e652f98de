"""What a site says of its held-out patients: clipped differences between two networks, added up by group, and noise over all of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

import numpy as np

from client.store.records import HeldOutCase, TrainingCase
from client.train.groups import groups_of
from client.train.noise import Randomness
from client.train.private import Patient
from models.net import GgoNet
from models.overlap import smoothed_dice
from protocol.evaluation import CLIP, COUNT_WEIGHT, KINDS, SENSITIVITY, Group, GroupSum
from protocol.plan import EvaluationPlan

_MOST = 1_000_000
"""The largest number of a `GroupSum`."""


@dataclass(frozen=True, slots=True)
class HeldOutPatient:
    """One person, all their held-out studies, and the groups that the newest of those puts them in."""

    subject_key: str
    patient: Patient
    groups: frozenset[Group]


def held_out_patients(
    cases: Sequence[HeldOutCase], prepared: Callable[[Sequence[TrainingCase]], list[Patient]]
) -> list[HeldOutPatient]:
    """Return one patient for each subject; nothing is read yet.

    Args:
        cases: The studies, for each subject the newest last.
        prepared: Makes patients of studies (`client.train.cohort.Cohort.patients`).
    """
    by_subject = groupby(sorted(cases, key=_subject), key=_subject)
    grouped = [list(own) for _, own in by_subject]
    return [
        HeldOutPatient(_subject(own[-1]), prepared([one.case for one in own])[0], groups_of(own[-1])) for own in grouped
    ]


def differences(
    patients: Iterable[HeldOutPatient], candidate: GgoNet, present: GgoNet, *, device: str
) -> list[tuple[float, frozenset[Group]]]:
    """Return by how much the candidate does better on each patient, in Dice, the mean of their studies; and the patient's groups."""
    return [
        (
            fmean(
                smoothed_dice(candidate, study, device=device) - smoothed_dice(present, study, device=device)
                for study in one.patient.studies
            ),
            one.groups,
        )
        for one in patients
    ]


def noised_sums(
    found: Iterable[tuple[float, frozenset[Group]]], plan: EvaluationPlan, randomness: Randomness
) -> tuple[GroupSum, ...]:
    """Return what may leave: sums of clipped differences and counts by group, with Gaussian noise, rounded to whole numbers.

    The Gaussian mechanism with noise multiplier z over one vector: for each group its gain and its count times `COUNT_WEIGHT`. One patient
    adds at most ±1 and `COUNT_WEIGHT` in at most `KINDS` groups, so the vector moves by `SENSITIVITY` at most, and every value has noise
    of standard deviation z times that. Rounding and leaving small groups out look at noised numbers only, so they cost nothing.

    Raises:
        ValueError: If a patient is in more groups than the noise is made for.
    """
    place = {group: at for at, group in enumerate(Group)}
    sums = np.zeros((2, len(place)))  # gains, counts
    for difference, groups in found:
        if len(groups) > KINDS:
            raise ValueError("a patient is in more groups than there are kinds")
        for group in groups:
            sums[:, place[group]] += (max(-1.0, min(1.0, difference / CLIP)), 1.0)
    noise = randomness.normal64(sums.shape, std=plan.noise_multiplier * SENSITIVITY).numpy()
    said = np.clip(np.rint(sums + noise / [[1.0], [COUNT_WEIGHT]]), -_MOST, _MOST).astype(int)
    return tuple(
        GroupSum(group=group, gain=int(said[0, at]), cases=int(said[1, at]))
        for group, at in place.items()
        if group is Group.ALL or said[1, at] >= plan.minimum_group
    )


def _subject(case: HeldOutCase) -> str:
    return case.case.subject_key
