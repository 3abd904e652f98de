"""Finds the series that suits lung measurement among all that a person or a study brings, and says why it was chosen."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Any

from client.infer.flags import is_sharp
from client.infer.pixels import pixel_sha256
from client.infer.slices import Slice, read_slices
from client.infer.stack import Stack, assemble, groups_of, without_repeats
from client.store.part10 import Content
from protocol.codes import Code
from protocol.errors import InvalidInputError

MOST_SLICES = 20_000
"""Bound on what is read before one series is chosen, as on the files of a folder (`client.infer.source`); one file may hold thousands."""

_ENOUGH = 0.9
_SPARSE = 2.5
_THIN_MM, _MEDIUM_MM = 3.0, 5.0
_CHEST_MM = 350.0
"""What lies beyond the height of a grown-up's lungs is another region, and no merit."""

_ELSEWHERE = {
    "ABDOMEN",
    "ABDOMENPELVIS",
    "PELVIS",
    "HEAD",
    "BRAIN",
    "SKULL",
    "NECK",
    "HEADNECK",
    "SPINE",
    "LSPINE",
    "EXTREMITY",
    "KNEE",
    "LEG",
}
"""Values of Body Part Examined (PS3.16 annex L) without the lungs. Absent or anything else says nothing against a series."""

_DERIVED = {"DERIVED", "SECONDARY", "MIP", "MINIP", "MAX_IP", "MIN_IP", "MPR", "REFORMATTED", "AVERAGE"}


@dataclass(frozen=True, slots=True)
class Choice:
    """The stack to measure, why it was taken, and how many others were passed over with which codes (`usable` for rivals).

    `rivals` says of each other stack that could have been measured what it is and why it was not taken.
    """

    stack: Stack
    why: str
    passed_over: dict[str, int]
    rivals: tuple[dict[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class _Rival:
    stack: Stack

    @property
    def covered_mm(self) -> float:
        """Return how much of a chest the stack can hold."""
        return min(self.stack.height_mm, _CHEST_MM)

    def merits(self, tallest_mm: float) -> tuple[tuple[str, float], ...]:
        """Return what counts, weightiest first, with the words to say it; greater is better."""
        one = self.stack.slices[0]
        step_mm = self.stack.height_mm / self.stack.depth
        return (
            ("it is of the chest by its header", -float(one.body_part in _ELSEWHERE)),
            ("it covers more of the chest", float(self.covered_mm >= _ENOUGH * tallest_mm)),
            ("it is original, not derived", float(not _DERIVED & set(one.image_type))),
            ("its slices are thinner", -float((step_mm > _THIN_MM) + (step_mm > _MEDIUM_MM))),
            ("its kernel is softer", -float(is_sharp(one.kernel, one.manufacturer))),
            ("it was taken without contrast medium", -float(one.contrast)),
            ("it has more slices", float(len(self.stack.slices))),
        )


def choose(contents: Iterable[Content], *, allow_gaps: bool = False) -> Choice:
    """Read all headers, form stacks, and choose the one to measure.

    Args:
        contents: DICOM files of one study (or of several: the best series wins).
        allow_gaps: As in `stack.assemble`.

    Raises:
        InvalidInputError: The code of the largest candidate if none can be measured; `unreadable` if there is no DICOM at all, or too much.
    """
    slices, refused = _read_all(contents)
    rivals: list[_Rival] = []
    troubles: list[tuple[int, InvalidInputError]] = []
    for group in groups_of(slices):
        try:
            rivals.append(_Rival(assemble(_distinct(group), allow_gaps=allow_gaps)))
        except InvalidInputError as error:
            troubles.append((len(group), error))
    if not rivals:
        raise _worst(troubles, refused)
    return _best(rivals, Counter(error.code for _, error in troubles) + Counter(error.code for error in refused))


def _read_all(contents: Iterable[Content]) -> tuple[list[Slice], list[InvalidInputError]]:
    """Return the cross-sections, and a refusal for each file without any.

    Raises:
        InvalidInputError: `unreadable` for more slices than any study has.
    """
    slices: list[Slice] = []
    refused: list[InvalidInputError] = []
    for content in contents:
        try:
            slices += read_slices(content)
        except InvalidInputError as error:
            refused.append(
                InvalidInputError(error.code, str(error))
            )  # the one that was raised holds on to the file's bytes
        if len(slices) > MOST_SLICES:
            raise InvalidInputError(
                Code.UNREADABLE, f"The study has more than {MOST_SLICES} slices. Send the chest series alone."
            )
    return slices, refused


def _distinct(group: list[Slice]) -> list[Slice]:
    """Return one slice for each position.

    Raises:
        InvalidInputError: `mixed-geometry` if different images share a position.
    """
    kept, crowded = without_repeats(group)
    dropped = set()
    for same in crowded:
        if len({(pixel_sha256(one.content), one.frame) for one in same}) > 1:
            raise InvalidInputError(
                Code.MIXED_GEOMETRY,
                "Different images lie at the same position (phases of one scan?). Send one series alone.",
            )
        dropped |= {one.instance_uid for one in same[1:]}
    return [one for one in kept if one.instance_uid not in dropped]


def shows_less(series: dict[str, Any], before: dict[str, Any]) -> bool:
    """Say whether a series shows clearly less of a chest than an earlier one did: less of its height, or only some of its slices.

    Args:
        series: As `described` says.
        before: The same of the earlier one; one of which nothing is said showed nothing.
    """
    covers, covered = (min(float(one.get("covers_mm", 0.0)), _CHEST_MM) for one in (series, before))
    return covers < _ENOUGH * covered or float(series["spacing_mm"]) > _SPARSE * float(before.get("spacing_mm", inf))


def described(stack: Stack) -> dict[str, object]:
    """Return what a person needs to find a series in the archive and to judge the choice. No UID, no text of the header."""
    one = stack.slices[0]
    kernel = "unknown" if not one.kernel.strip() else "sharp" if is_sharp(one.kernel, one.manufacturer) else "soft"
    return {
        "number": one.series_number, "slices": len(stack.slices), "thickness_mm": one.thickness_mm,
        "spacing_mm": round(stack.height_mm / stack.depth, 3), "covers_mm": round(stack.height_mm, 1), "kernel": kernel,
    }  # fmt: skip


def _best(rivals: list[_Rival], others: Counter[Code]) -> Choice:
    tallest_mm = max(rival.covered_mm for rival in rivals)
    ranked = sorted(rivals, key=lambda rival: [value for _, value in rival.merits(tallest_mm)], reverse=True)
    best, rest = ranked[0], ranked[1:]
    passed = {code.value: count for code, count in sorted(others.items())}
    if not rest:
        return Choice(best.stack, "it is the only series that can be measured", passed)
    lost = tuple({**described(one.stack), "lost_because": _against(best, one, tallest_mm)} for one in rest)
    return Choice(best.stack, _against(best, rest[0], tallest_mm), passed | {"usable": len(rest)}, lost)


def _against(best: _Rival, other: _Rival, tallest_mm: float) -> str:
    """Return the weightiest thing that speaks for the best: "it" is always the series that was chosen."""
    pairs = zip(best.merits(tallest_mm), other.merits(tallest_mm), strict=True)
    return next((words for (words, own), (_, theirs) in pairs if own > theirs), "it came first among equals")


def _worst(troubles: list[tuple[int, InvalidInputError]], refused: list[InvalidInputError]) -> InvalidInputError:
    """Return the refusal that tells most: that of the largest stack, or the commonest of the single files."""
    if troubles:
        return max(troubles, key=lambda trouble: trouble[0])[1]
    if not refused:
        return InvalidInputError(Code.UNREADABLE, "There is no DICOM file in it. Name a DICOM file, folder or zip.")
    commonest = Counter(error.code for error in refused).most_common(1)[0][0]
    return next(error for error in refused if error.code is commonest)
