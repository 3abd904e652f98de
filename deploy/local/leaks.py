"""Searches everything the centre keeps for every planted identifier, in every form, inside compressed parts and databases too.

Tens of thousands of forms against a hundred megabytes: each form is indexed by its last eight bytes, every position of a file is
looked up at once with numpy, and only the few candidates are compared in full.
"""

import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.local.forms import Needle, needles
from deploy.local.planted import Identifier, Kind

_TAIL = 8
_TABLE_BITS = 24
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_LARGEST_PART = 256 * 1024 * 1024
_DEEPEST = 4
_STRIDE = 64 * 1024
_WORD = re.compile(rb"[0-9a-z.]")
_PACKED = re.compile(rb"\x1f\x8b\x08|PK\x03\x04|\x78[\x01\x5e\x9c\xda]")
_ZIP_LENGTHS = 26
_ZIP_HEADER = 30
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Hit:
    """An identifier that was found. `form` is how it was written; `where` names the file and the part of it."""

    where: str
    kind: Kind
    form: str
    value: str


@dataclass(frozen=True, slots=True)
class Search:
    """What was searched, and what was found."""

    identifiers: int
    forms: int
    files: int
    searched_bytes: int
    hits: tuple[Hit, ...]


class Searcher:
    """Looks for many byte strings at once, whatever the case of their ASCII letters."""

    def __init__(self, identifiers: Iterable[Identifier]) -> None:
        every = [needle for identifier in identifiers for needle in needles(identifier)]
        self.forms = len(every)
        self._short = [needle for needle in every if len(needle.content) < _TAIL]
        self._by_tail: dict[bytes, list[Needle]] = {}
        for needle in every:
            if len(needle.content) >= _TAIL:
                self._by_tail.setdefault(needle.content[-_TAIL:], []).append(needle)
        tails = np.frombuffer(b"".join(self._by_tail), dtype=np.uint64)
        self._table = np.zeros(1 << _TABLE_BITS, dtype=np.bool_)
        self._table[_slots(tails)] = True

    def find(self, content: bytes) -> Iterator[Needle]:
        """Yield every form found in `content`, each occurrence."""
        folded = content.lower()
        yield from (
            needle
            for needle in self._short
            for at in _occurrences(folded, needle.content)
            if _stands(folded, at, needle)
        )
        for end in self._candidates(folded):
            for needle in self._by_tail.get(folded[end - _TAIL : end], ()):
                at = end - len(needle.content)
                if at >= 0 and folded[at:end] == needle.content and _stands(folded, at, needle):
                    yield needle

    def _candidates(self, folded: bytes) -> Iterator[int]:
        """Yield the end of every window of eight bytes whose slot is taken."""
        for shift in range(_TAIL):
            count = (len(folded) - shift) // _TAIL
            if count > 0:
                windows = np.frombuffer(folded, dtype=np.uint64, count=count, offset=shift)
                yield from ((np.flatnonzero(self._table[_slots(windows)]) + 1) * _TAIL + shift).tolist()


def search(folder: Path, identifiers: Iterable[Identifier]) -> Search:
    """Search every file below `folder` for `identifiers`.

    Files that the programs remove while the search runs (temporary ones) are passed over.
    """
    wanted = list(identifiers)
    searcher = Searcher(wanted)
    hits: dict[tuple[str, str, str], Hit] = {}
    files = searched = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        for where, content in _parts_of(path):
            searched += len(content)
            for needle in searcher.find(content):
                name = f"{path.relative_to(folder)}{where}"
                hits.setdefault((name, needle.identifier.value, needle.form), _hit(name, needle))
        files += 1
    return Search(len(wanted), searcher.forms, files, searched, tuple(hits.values()))


def layers(content: bytes, where: str = "", depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield `content` and, wherever in it a gzip member, a zip entry or a zlib stream begins, what that unpacks to."""
    yield where, content
    if depth >= _DEEPEST:
        return
    for mark in _PACKED.finditer(content):
        unpacked = _unpack(content, mark.start())
        if unpacked:
            yield from layers(unpacked, f"{where}!unpacked@{mark.start()}", depth + 1)


def _parts_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the file's name as well as its bytes: a name can give away a patient too."""
    yield " (name)", str(path.name).encode()
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    yield from layers(content)
    if content.startswith(_SQLITE):
        for table, values in _rows(path):
            yield from layers(values, f"#{table}")


def _rows(database: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each table's values, one per line, as the database itself reads them: whole where the file has them in pieces."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    connection.text_factory = bytes
    try:
        tables = [
            name.decode() for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            rows = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - the name comes from the database itself
            yield (
                table,
                b"\n".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row),
            )
    finally:
        connection.close()


def _unpack(content: bytes, start: int) -> bytes:
    """Return what the compressed stream at `start` holds; nothing if it is none after all, what there is if it is cut off."""
    stream, begin = _stream_at(content, start)
    unpacked = bytearray()
    try:
        while not stream.eof and begin < len(content) and len(unpacked) < _LARGEST_PART:
            unpacked += stream.decompress(content[begin : begin + _STRIDE])
            begin += _STRIDE
    except zlib.error:
        pass  # mostly bytes that look like a stream by chance; what came out before the error is searched all the same
    return bytes(unpacked)


def _stream_at(content: bytes, start: int) -> tuple["zlib._Decompress", int]:
    """Return a decompressor for the format that begins at `start`, and where its deflate data begins."""
    if content.startswith(b"\x1f\x8b", start):
        return zlib.decompressobj(wbits=31), start
    if content.startswith(b"PK", start):
        lengths = content[
            start + _ZIP_LENGTHS : start + _ZIP_HEADER
        ]  # of the name and of the extra field (APPNOTE 4.3.7)
        return zlib.decompressobj(wbits=-15), start + _ZIP_HEADER + int.from_bytes(
            lengths[:2], "little"
        ) + int.from_bytes(lengths[2:], "little")
    return zlib.decompressobj(), start


def _slots(windows: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the table slot of each window (multiplicative hashing; the product wraps)."""
    return (windows * _MULTIPLIER) >> np.uint64(64 - _TABLE_BITS)


def _occurrences(content: bytes, needle: bytes) -> Iterator[int]:
    at = content.find(needle)
    while at >= 0:
        yield at
        at = content.find(needle, at + 1)


def _stands(folded: bytes, at: int, needle: Needle) -> bool:
    """Say whether a hit counts: anywhere, or for bounded needles with no digit, letter or full stop on either side."""
    end = at + len(needle.content)
    return not needle.bounded or not (_WORD.match(folded[max(0, at - 1) : at]) or _WORD.match(folded[end : end + 1]))


def _hit(where: str, needle: Needle) -> Hit:
    return Hit(where, needle.identifier.kind, needle.form, needle.identifier.value)
