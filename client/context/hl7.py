"""HL7 v2 in its pipe form, read within bounds: bytes in, segments out; fields are split only where somebody looks.

Chapter 2 of the standard (2.5.1 and later): separators stand in MSH-1 and MSH-2, text is escaped with MSH-2's third sign, MSH-18 names
the character set. Whatever else a message holds is skipped: segments of other kinds, unknown fields, Z segments.
"""

import re
from dataclasses import dataclass, field

from protocol.codes import Code
from protocol.errors import InvalidInputError

MOST_SEGMENTS = 5_000
_MOST_REPETITIONS = 200

_CHARACTER_SETS = {
    "": None, "ASCII": "ascii", "UNICODE UTF-8": "utf-8", "UTF-8": "utf-8", "UNICODE": "utf-8",
    "8859/1": "iso8859-1", "8859/2": "iso8859-2", "8859/3": "iso8859-3", "8859/4": "iso8859-4", "8859/5": "iso8859-5",
    "8859/6": "iso8859-6", "8859/7": "iso8859-7", "8859/8": "iso8859-8", "8859/9": "iso8859-9", "8859/15": "iso8859-15",
    "GB 18030-2000": "gb18030", "BIG-5": "big5", "KS X 1001": "euc_kr", "ISO IR87": "iso2022_jp", "ISO IR14": "shift_jis",
}  # fmt: skip
"""HL7 table 0211. Without a name: UTF-8 where it is that, else ISO 8859-1, which reads every byte."""

_ESCAPED = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")


@dataclass(frozen=True, slots=True)
class Separators:
    """The signs of one message."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"


@dataclass(frozen=True, slots=True)
class Segment:
    """One line. Fields count from 1 as in the standard; what is not there is empty."""

    name: str
    fields: tuple[str, ...] = field(repr=False)
    separators: Separators

    def raw(self, number: int) -> str:
        """Return a field as it stands there."""
        return self.fields[number - 1] if 0 < number <= len(self.fields) else ""

    def text(self, number: int, component: int = 1) -> str:
        """Return one component of a field's first repetition, unescaped."""
        return self.component(self.repetitions(number)[0], component)

    def repetitions(self, number: int) -> list[str]:
        """Return a field's repetitions, one at least."""
        return self.raw(number).split(self.separators.repetition, _MOST_REPETITIONS)[:_MOST_REPETITIONS]

    def component(self, repetition: str, number: int, subcomponent: int = 1) -> str:
        """Return one component of a repetition, unescaped. `""` in HL7 means: delete; it says nothing here."""
        parts = repetition.split(self.separators.component, number)
        if number > len(parts):
            return ""
        pieces = parts[number - 1].split(self.separators.subcomponent, subcomponent)
        if subcomponent > len(pieces):
            return ""
        text = unescaped(pieces[subcomponent - 1], self.separators).strip()
        return "" if text == '""' else text

    def words(self, number: int) -> list[str]:
        """Return every component of every repetition of a field, unescaped, without empty ones: codes and words of a coded value."""
        parts = [
            part for one in self.repetitions(number) for part in one.split(self.separators.component, _MOST_REPETITIONS)
        ]
        said = [unescaped(part, self.separators).strip() for part in parts[:_MOST_REPETITIONS]]
        return [word for word in said if word and word != '""']


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its header and the segments that come after it, in order."""

    header: Segment
    segments: tuple[Segment, ...]

    @property
    def kind(self) -> tuple[str, str]:
        """Message code and trigger event, such as ORU and R01."""
        return self.header.text(9).upper(), self.header.text(9, 2).upper()

    def first(self, name: str) -> Segment | None:
        """Return the first segment of a name."""
        return next((one for one in self.segments if one.name == name), None)


def parse_message(content: bytes) -> Message:
    """Return the message in `content`, which the caller has bounded.

    Raises:
        InvalidInputError: `unreadable` if it does not begin with a header, its text is not of the character set that it names, or it has
            too many segments. The message quotes nothing.
    """
    head = content.lstrip(b"\r\n\x0b \t\xef\xbb\xbf")
    if head[:3] != b"MSH" or len(head) < len("MSH|^~\\&|"):
        raise InvalidInputError(Code.UNREADABLE, "The message does not begin with an MSH segment.")
    lines = re.split("[\r\n]+", _decoded(head))
    if len(lines) > MOST_SEGMENTS:
        raise InvalidInputError(Code.UNREADABLE, f"The message has more than {MOST_SEGMENTS} segments.")
    separators = _separators(lines[0])
    header = _header(lines[0], separators)
    rest = (_segment(line, separators) for line in lines[1:])
    return Message(header, tuple(one for one in rest if one is not None))


def unescaped(text: str, separators: Separators) -> str:
    r"""Return text with HL7's escapes undone: \F\ \S\ \T\ \R\ \E\, \X..\ as UTF-8 or ISO 8859-1, \.br\ as a line end; others go."""
    sign = separators.escape
    if not sign or sign not in text:
        return text
    plain: list[str] = []
    pieces = text.split(sign)
    at = 0
    while at < len(pieces):
        plain.append(pieces[at])
        if at + 2 < len(pieces):  # a sign, a sequence, a sign
            plain.append(_sequence(pieces[at + 1], separators))
            at += 2
        elif at + 1 < len(pieces):  # a single sign left over stands for itself
            plain.append(sign + pieces[at + 1])
            break
        else:
            break
    return "".join(plain)


def _sequence(word: str, separators: Separators) -> str:
    known = {
        "F": separators.field, "S": separators.component, "T": separators.subcomponent, "R": separators.repetition,
        "E": separators.escape, ".br": "\n",
    }  # fmt: skip
    if word in known:
        return known[word]
    found = _ESCAPED.fullmatch(word)
    if found is None:
        return ""  # highlighting, local escapes, shifts of the character set
    content = bytes.fromhex(found[1])
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _decoded(content: bytes) -> str:
    """Return the text. MSH-18 is read from the header as plain bytes: up to it, everything is ASCII in every set of the table."""
    sign = content[3:4]
    line = re.split(rb"[\r\n]", content, maxsplit=1)[0]
    fields = line.split(sign, 18)
    name = fields[17].split(content[5:6])[0].strip().decode("ascii", "replace").upper() if len(fields) > 17 else ""  # noqa: PLR2004 - MSH-18
    if name not in _CHARACTER_SETS:
        raise InvalidInputError(Code.UNREADABLE, "The message names a character set that is not known (MSH-18).")
    for encoding in (_CHARACTER_SETS[name],) if _CHARACTER_SETS[name] else ("utf-8", "latin-1"):
        try:
            return content.decode(encoding or "utf-8")
        except UnicodeDecodeError:
            continue
    raise InvalidInputError(Code.UNREADABLE, "The message is not of the character set that it names (MSH-18).")


def _separators(line: str) -> Separators:
    """Read MSH-1 and MSH-2.

    Raises:
        InvalidInputError: `unreadable` if one is missing, is a letter or digit, or two are the same.
    """
    sign = line[3]
    encoding = line[4:].split(sign, 1)[0]
    usual = Separators()
    rest = (*encoding[2:4], *(usual.escape, usual.subcomponent)[len(encoding[2:4]) :])
    signs = (sign, *encoding[:2], *rest)
    if len(encoding) < 2 or len(set(signs)) < len(signs) or any(one.isalnum() or one.isspace() for one in signs):  # noqa: PLR2004 - component and repetition
        raise InvalidInputError(Code.UNREADABLE, "The separators of the message (MSH-1, MSH-2) cannot be used.")
    return Separators(sign, encoding[0], encoding[1], *rest)


def _header(line: str, separators: Separators) -> Segment:
    """The header counts its own separator as field 1."""
    return Segment("MSH", (separators.field, *line[4:].split(separators.field)), separators)


def _segment(line: str, separators: Separators) -> Segment | None:
    if line[:3] not in USED or line[3:4] not in {separators.field, ""}:
        return None
    return Segment(line[:3], tuple(line[4:].split(separators.field)), separators)


USED = frozenset({"PID", "PV1", "ORC", "OBR", "OBX", "IPC", "ZDS", "SPM"})
"""The segments that are looked at; the others are not even split."""
