"""Finds the series that suits lung measurement among all that a person or a study brings, and says why it was chosen."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from client.infer.flags import is_sharp
from client.infer.pixels import pixel_sha256
from client.infer.slices import Slice, read_slices
from client.infer.stack import Stack, assemble, groups_of, without_repeats
from client.store.part10 import Content
from protocol.codes import Code
from protocol.errors import InvalidInputError

_ENOUGH = 0.9
_THIN_MM, _MEDIUM_MM = 3.0, 5.0
_DERIVED = {"DERIVED", "SECONDARY", "MIP", "MINIP", "MAX_IP", "MIN_IP", "MPR", "REFORMATTED", "AVERAGE"}


@dataclass(frozen=True, slots=True)
class Choice:
    """The stack to measure, why it was taken, and how many others were passed over with which codes (`usable` for rivals)."""

    stack: Stack
    why: str
    passed_over: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Rival:
    stack: Stack

    def merits(self, tallest_mm: float) -> tuple[tuple[str, float], ...]:
        """Return what counts, weightiest first, with the words to say it; greater is better."""
        one = self.stack.slices[0]
        step_mm = self.stack.height_mm / self.stack.depth
        return (
            ("it covers more of the chest", float(self.stack.height_mm >= _ENOUGH * tallest_mm)),
            ("it is original, not derived", float(not _DERIVED & set(one.image_type))),
            ("its slices are thinner", -float((step_mm > _THIN_MM) + (step_mm > _MEDIUM_MM))),
            ("its kernel is softer", -float(is_sharp(one.kernel, one.manufacturer))),
            ("it has more slices", float(len(self.stack.slices))),
        )


def choose(contents: Iterable[Content], *, allow_gaps: bool = False) -> Choice:
    """Read all headers, form stacks, and choose the one to measure.

    Args:
        contents: DICOM files of one study (or of several: the best series wins).
        allow_gaps: As in `stack.assemble`.

    Raises:
        InvalidInputError: The code of the largest candidate if none can be measured; `unreadable` if there is no DICOM at all.
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
    slices: list[Slice] = []
    refused: list[InvalidInputError] = []
    for content in contents:
        try:
            slices += read_slices(content)
        except InvalidInputError as error:
            refused.append(error)
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


def _best(rivals: list[_Rival], others: Counter[Code]) -> Choice:
    tallest_mm = max(rival.stack.height_mm for rival in rivals)
    ranked = sorted(rivals, key=lambda rival: [value for _, value in rival.merits(tallest_mm)], reverse=True)
    passed = {code.value: count for code, count in sorted(others.items())}
    if len(ranked) == 1:
        return Choice(ranked[0].stack, "it is the only series that can be measured", passed)
    pairs = zip(ranked[0].merits(tallest_mm), ranked[1].merits(tallest_mm), strict=True)
    why = next((words for (words, own), (_, other) in pairs if own > other), "it came first among equals")
    return Choice(ranked[0].stack, why, passed | {"usable": len(ranked) - 1})


def _worst(troubles: list[tuple[int, InvalidInputError]], refused: list[InvalidInputError]) -> InvalidInputError:
    """Return the refusal that tells most: that of the largest stack, or the commonest of the single files."""
    if troubles:
        return max(troubles, key=lambda trouble: trouble[0])[1]
    if not refused:
        return InvalidInputError(Code.UNREADABLE, "There is no DICOM file in it. Name a DICOM file, folder or zip.")
    commonest = Counter(error.code for error in refused).most_common(1)[0][0]
    return next(error for error in refused if error.code is commonest)
