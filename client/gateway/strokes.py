"""A reader's drawing while it is made: the machine's mask and numbered strokes over it, each kept before it is answered.

A stroke says which voxels have another label now, so it is as large as what was changed. The node draws nothing by itself: it lays the
strokes over the mask in the order of their numbers, and the SHA-256 of the labels says whether the page has the same drawing.
"""

import gzip
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.gateway.book import Book
from client.gateway.masks import LABEL_MOST, Labels, read_labels
from client.gateway.volume import unreadable
from client.gateway.voxels import unpack
from client.store.database import transaction
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from protocol.shape import OpaqueId, Sha256

STROKE_MOST = 256 * 1024
"""Bytes of one stroke's runs. Who changes more at once sends the whole drawing, which packs to less."""

KEPT_MOST = 8 << 20
"""Bytes of a claim's strokes since its last whole drawing; then the whole is wanted, and what is kept stays small."""

_LABEL_BITS = 2
_VARINT_BYTES_MOST = 5


@dataclass(frozen=True, slots=True)
class Run:
    """Voxels one after another, in the order of the file, that have the same label now."""

    begin: int
    length: int
    label: int


@dataclass(frozen=True, slots=True)
class Stroke:
    """A numbered change of a claim's drawing.

    Attributes:
        whole: Whether `body` is a packed mask that takes the place of all before it; else it holds runs.
        base: SHA-256 of the machine's mask, as it lay packed on the disk, over which it was drawn.
    """

    number: int
    whole: bool
    base: Sha256
    body: bytes
    handed_in: bool


def read_runs(body: bytes, voxels: int) -> list[Run]:
    """Return the runs of a stroke.

    Each is two numbers in LEB128 (seven bits a byte, the lowest first): how many voxels are left out since the end of the run before it,
    and the length times four plus the label.

    Args:
        body: As the reader sent it: hostile.
        voxels: Of the study's mask.

    Raises:
        InvalidInputError: `bad-request` if it is anything else, or goes beyond the study.
    """
    runs, begin = [], 0
    numbers = _numbers(body)
    for skipped in numbers:
        packed = next(numbers, None)
        if packed is None:
            raise _not_runs()
        begin += skipped
        length, label = packed >> _LABEL_BITS, packed & ((1 << _LABEL_BITS) - 1)
        if length == 0 or label > LABEL_MOST or begin + length > voxels:
            raise _not_runs()
        runs.append(Run(begin, length, label))
        begin += length
    if not runs:
        raise _not_runs()
    return runs


def _numbers(body: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in body:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follows
            yield value
            value = shift = 0
        elif shift == 7 * _VARINT_BYTES_MOST:
            raise _not_runs()
    if shift:
        raise _not_runs()


def _not_runs() -> InvalidInputError:
    return InvalidInputError(
        Code.BAD_REQUEST, "The stroke is damaged, or goes beyond the study. Send the whole drawing."
    )


def base_of(own: Path) -> Sha256:
    """Return by what a drawing knows the machine's mask under it.

    Raises:
        InvalidInputError: `unreadable` if there is none.
    """
    try:
        with own.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable() from error


def compose(strokes: Sequence[Stroke], own: Path) -> Labels | None:
    """Return the labels, (slices, rows, columns), or `None` where the study was measured again and the strokes lie over another mask.

    Args:
        strokes: Of one claim, in order.
        own: The machine's mask of the study.
    """
    if not strokes:
        return None
    if strokes[0].whole:
        labels = read_labels(strokes[0].body, own).copy()
    elif strokes[0].base == base_of(own):
        labels = np.array(unpack(own).values, np.uint8)
    else:
        return None
    flat = labels.reshape(-1)
    for stroke in strokes[1:] if strokes[0].whole else strokes:
        for run in read_runs(stroke.body, flat.size):
            flat[run.begin : run.begin + run.length] = run.label
    return labels


def sha256_of(labels: Labels) -> Sha256:
    """Return the digest by which page and node compare a drawing: over its labels in the order of the file, without a header."""
    return hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest()


def packed(labels: Labels, header: bytes) -> bytes:
    """Return a drawing as the study's own mask goes out: gzipped NIfTI, that mask's header."""
    return gzip.compress(header + labels.tobytes(), compresslevel=1, mtime=0)


class Drawings:
    """The drawings of one node's readers; in the event loop's thread."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def strokes(self, claim_id: OpaqueId) -> list[Stroke]:
        """Return a claim's strokes in order; the first may be a whole drawing."""
        rows = self._book.connection.execute(
            "SELECT number, whole, base, body, handed_in_s FROM read_strokes WHERE claim_id = ? ORDER BY number",
            (claim_id,),
        )
        return [
            Stroke(row["number"], bool(row["whole"]), row["base"], row["body"], row["handed_in_s"] is not None)
            for row in rows
        ]

    def last(self, claim_id: OpaqueId) -> int:
        """Return the number of a claim's last stroke; 0 before the first."""
        row = self._book.connection.execute(
            "SELECT max(number) AS last FROM read_strokes WHERE claim_id = ?", (claim_id,)
        ).fetchone()
        return int(row["last"] or 0)

    def add(self, claim_id: OpaqueId, number: int, body: bytes, *, base: Sha256, whole: bool) -> None:
        """Keep the next stroke durably; the same one again, because its answer was lost, changes nothing.

        Args:
            claim_id: Whose drawing it is.
            number: One more than that of the stroke before it.
            body: Runs, or a packed mask, known to fit the study.
            base: Of the machine's mask (`base_of`).
            whole: Whether it takes the place of all strokes before it.

        Raises:
            ConflictError: `stale-drawing` if it does not follow on what is kept, or the whole is wanted first.
        """
        with transaction(self._book.connection) as connection:
            last = self.last(claim_id)
            if number == last and self._is_kept(claim_id, number, body):
                return
            if number != last + 1:
                raise _stale(f"it holds {last} strokes, and this is number {number}")
            if whole:
                connection.execute("DELETE FROM read_strokes WHERE claim_id = ?", (claim_id,))
            else:
                self._refuse_other_base(claim_id, base, len(body))
            connection.execute(
                "INSERT INTO read_strokes VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (claim_id, number, int(whole), base, body, self._book.now_s()),
            )

    def handed_in(self, claim_id: OpaqueId, number: int) -> None:
        """Note that the drawing up to this stroke was handed in."""
        with transaction(self._book.connection) as connection:
            connection.execute(
                "UPDATE read_strokes SET handed_in_s = ? WHERE claim_id = ? AND number = ?",
                (self._book.now_s(), claim_id, number),
            )

    def _is_kept(self, claim_id: OpaqueId, number: int, body: bytes) -> bool:
        row = self._book.connection.execute(
            "SELECT body FROM read_strokes WHERE claim_id = ? AND number = ?", (claim_id, number)
        ).fetchone()
        return row is not None and row["body"] == body

    def _refuse_other_base(self, claim_id: OpaqueId, base: Sha256, size: int) -> None:
        """Want the whole where the machine's mask is another one since, or where much has come since the last whole."""
        row = self._book.connection.execute(
            "SELECT max(base <> ? AND NOT whole) AS other, sum(iif(whole, 0, length(body))) AS size"
            " FROM read_strokes WHERE claim_id = ?",
            (base, claim_id),
        ).fetchone()
        if row["other"]:
            raise _stale("the study was measured again since its first stroke")
        if (row["size"] or 0) + size > KEPT_MOST:
            raise _stale("it is made of too many strokes")


def _stale(why: str) -> ConflictError:
    return ConflictError(
        Code.STALE_DRAWING,
        f"The hospital's drawing does not go on from the page's: {why}. Send the whole drawing, or open the study again.",
    )
