"""Plants identifiers in a data set and writes down what must become of each."""

import hashlib
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from bench.answers.score import Act, Answer, Case, as_text

_SYLLABLES = (
    "bo",
    "ku",
    "re",
    "vam",
    "tis",
    "zel",
    "mur",
    "gan",
    "fip",
    "dox",
    "lyr",
    "pash",
    "win",
    "quo",
    "jeb",
    "hus",
)


def canary(*parts: object, syllables: int = 4) -> str:
    """Return a word that nobody has, of 8 to 16 letters, always the same for the same parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return "".join(_SYLLABLES[byte % len(_SYLLABLES)] for byte in digest[:syllables]).capitalize()


def made_uid(*parts: object) -> str:
    """Return a UID of the invented sender."""
    number = int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:9], "big")
    return f"1.3.6.1.4.1.99999.{number}"


@dataclass(slots=True)
class Planted:
    """A data set in the making, with its answers."""

    name: str
    patient: str
    dataset: FileDataset
    answers: list[Answer] = field(default_factory=list)

    def require(self, act: Act, path: str, value: object = "") -> None:
        """Write down an answer."""
        self.answers.append(Answer(act, path, str(value)))

    def keep(self, **values: Any) -> None:
        """Set attributes that must stay as they are."""
        for keyword, value in values.items():
            setattr(self.dataset, keyword, value)
            self.require(Act.TEXT_RETAINED, keyword, as_text(self.dataset[keyword].value))

    def date(self, keyword: str, value: str) -> None:
        """Set a date that must move."""
        setattr(self.dataset, keyword, value)
        self.require(Act.DATE_SHIFTED, keyword, value)

    def uid(self, keyword: str, value: str) -> None:
        """Set a UID that must be replaced."""
        setattr(self.dataset, keyword, value)
        self.require(Act.UID_CHANGED, keyword, value)

    def hide(self, keyword: str, *, where: Dataset | None = None, path: str = "") -> None:
        """Put a word that names somebody into an attribute, as its VR allows, and require that it goes.

        Args:
            keyword: Of a text, code, byte or person's name attribute.
            where: The item to put it into; the data set itself if left out.
            path: Of the item, for the list of what went wrong.
        """
        vr, word = dictionary_VR(tag_for_keyword(keyword) or 0), canary(self.name, path, keyword)
        written: dict[str, Any] = {
            "PN": f"{word}^Jo", "CS": word.upper()[:16], "AE": word.upper()[:16], "SH": word[:16], "UR": f"https://{word}.example/",
            "OB": word.encode(), "UN": word.encode(), "OW": word.encode().ljust(16, b"\0"),
        }  # fmt: skip
        target = self.dataset if where is None else where
        target.add_new(tag_for_keyword(keyword) or 0, vr, written.get(vr, f"seen by {word}, ward 7"))
        self.require(Act.TEXT_REMOVED, f"{path}{keyword}", word[:16])

    def hide_private(self, group: int, creator: str) -> None:
        """Put words that name somebody into a maker's private block: a text, bytes and a sequence."""
        block = self.dataset.private_block(group, creator, create=True)
        inner, words = Dataset(), [canary(self.name, creator, place) for place in ("text", "bytes", "sequence", "name")]
        inner.PatientName = f"{words[3]}^Jo"
        own = inner.private_block(group, creator, create=True)
        own.add_new(0x01, "LO", words[2])
        block.add_new(0x10, "LO", words[0])
        block.add_new(0x11, "UN", words[1].encode())
        block.add_new(0x12, "SQ", Sequence([inner]))
        for word in words:
            self.require(Act.TEXT_REMOVED, f"({group:04X},..)", word)

    def case(self) -> Case:
        """Return the file."""
        out = BytesIO()
        self.dataset.save_as(out, enforce_file_format=True)
        return Case(self.name, self.patient, out.getvalue(), tuple(self.answers))
