"""In which forms an identifier could have travelled: case, order of names, character sets, encodings, ways to write a date or a UID.

Chance hits are kept out by length, not by looking away. A number of 128 bits, a made-up word or a UID never occurs by chance.
A date is only eight digits: written plainly it counts as found where it stands alone (no digit, letter or full stop beside it),
so the inside of a hash or of a decimal fraction is no hit; its encoded forms are long enough to count anywhere. Studies are dated
in past weeks, so no date of the network's own doings is ever one of them.
"""

import base64
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

from deploy.local.planted import Identifier, Kind, is_searchable

_BOUNDED_BELOW = 10
_UUID_ROOT = "2.25."
_NAME_PART = 5


@dataclass(frozen=True, slots=True)
class Needle:
    """Bytes to look for in bytes whose ASCII letters were lowered. `bounded` ones count only where they stand alone."""

    content: bytes
    form: str
    identifier: Identifier
    bounded: bool = False


def needles(identifier: Identifier) -> list[Needle]:
    """Return every form of `identifier`, each once."""
    if identifier.kind is Kind.PIXELS:
        return [Needle(bytes.fromhex(identifier.value).lower(), "stored pixels", identifier)]
    found = [one for text in _spellings(identifier) for one in _encodings(text, identifier)]
    if identifier.kind is Kind.UID and identifier.value.startswith(_UUID_ROOT):
        found += _uuid_forms(identifier)
    return list({one.content: one for one in reversed(found)}.values())


def _spellings(identifier: Identifier) -> list[str]:
    """Return how a person or a program might write the value."""
    if identifier.kind is Kind.NAME:
        return _name_spellings(identifier.value)
    if identifier.kind is Kind.DATE and len(identifier.value) == 8 and identifier.value.isdigit():
        year, month, day = identifier.value[:4], identifier.value[4:6], identifier.value[6:]
        return [
            identifier.value,
            f"{year}-{month}-{day}",
            f"{year}/{month}/{day}",
            f"{day}.{month}.{year}",
            f"{day}/{month}/{year}",
        ]
    return [identifier.value]


def _name_spellings(name: str) -> list[str]:
    """Return the name as DICOM has it, in both orders, and its longer parts alone (PS3.5 section 6.2.1.1: family, given, ...)."""
    parts = [part for part in name.split("=", maxsplit=1)[0].split("^") if part]
    orders = [name, " ".join(parts), " ".join(reversed(parts)), ", ".join(parts[:2]), "^".join(reversed(parts))]
    return [*orders, *(part for part in parts if len(part) >= _NAME_PART and is_searchable(part))]


def _encodings(text: str, identifier: Identifier) -> Iterable[Needle]:
    """Yield `text` in every character set and encoding; case is folded by the searcher except where an encoding hides it."""
    bounded = len(text) < _BOUNDED_BELOW
    for cased in sorted({text, text.lower(), text.upper()}):
        for form, content in _plain(cased):
            yield Needle(content.lower(), form, identifier, bounded)
        yield Needle(cased.encode("utf-16-le")[:-1].lower(), "UTF-16", identifier)
        raw = cased.encode()
        yield Needle(raw.hex().encode(), "hex", identifier)
        yield Needle("".join(f"%{byte:02x}" for byte in raw).encode(), "percent-encoded", identifier)
        for content in _base64(raw):
            yield Needle(content.lower(), "base64", identifier)


def _plain(text: str) -> Iterable[tuple[str, bytes]]:
    yield "plain", text.encode()
    yield "plain, decomposed", unicodedata.normalize("NFD", text).encode()
    yield "JSON escape", json.dumps(text)[1:-1].encode()
    yield "percent-encoded", quote(text, safe="").encode()
    yield "form-encoded", quote(text, safe="").replace("%20", "+").encode()
    yield "Latin-1", text.encode("latin-1", "replace")
    yield "Python escape", text.encode("unicode_escape")


def _base64(raw: bytes) -> Iterable[bytes]:
    """Yield the base64 of `raw` inside any longer text: three alignments, without the characters that depend on the neighbours."""
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        whole = encoded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        yield whole
        yield whole.translate(bytes.maketrans(b"+/", b"-_"))


def _uuid_forms(identifier: Identifier) -> list[Needle]:
    """A UID under 2.25 is a UUID in decimal (PS3.5 annex B.2): look for it in its other clothes."""
    try:
        uuid = UUID(int=int(identifier.value.removeprefix(_UUID_ROOT)))
    except ValueError:
        return []
    contents = ((str(uuid).encode(), "UUID"), (uuid.hex.encode(), "UUID, hex"), (uuid.bytes.lower(), "UUID, 16 bytes"))
    return [Needle(content, form, identifier) for content, form in contents]
