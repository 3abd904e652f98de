"""Invented persons and the header elements that would give them away. Every word is long and made up, so a hit is never chance."""

import random
from dataclasses import dataclass
from datetime import date, timedelta

_ONSETS = ("br", "dr", "fl", "gr", "kv", "l", "m", "n", "pl", "qu", "r", "str", "t", "v", "vr", "w", "z", "zh")
_VOWELS = ("a", "e", "i", "o", "u", "ae", "ou", "ei", "y")
_CODAS = ("ck", "lm", "nd", "nx", "rb", "rth", "sk", "st", "tz", "x")
_ACCENTED = {"a": "å", "e": "é", "o": "ø", "u": "ü"}


@dataclass(frozen=True, slots=True)
class Person:
    """A patient who does not exist."""

    family: str
    given: str
    patient_id: str
    other_id: str
    birth: date
    sex: str
    address: str
    telephone: str

    @property
    def name(self) -> str:
        """The name as DICOM writes it (VR PN)."""
        return f"{self.family}^{self.given}"


@dataclass(frozen=True, slots=True)
class Visit:
    """What the order and the ward added to one study."""

    accession: str
    study_id: str
    referrer: str
    operator: str
    time: str
    comment: str
    institution: str
    private_note: str


def invent_person(random_source: random.Random, *, accented: bool) -> Person:
    """Return a new person; `accented` gives a family name that ASCII cannot write."""
    family, given = invented_word(random_source), invented_word(random_source)
    return Person(
        family=_accent(family) if accented else family,
        given=given,
        patient_id=f"PID-{_digits(random_source, 4)}-{_digits(random_source, 7)}",
        other_id=f"NHIC{_digits(random_source, 11)}",
        birth=date(1938, 1, 1) + timedelta(days=random_source.randrange(25_000)),
        sex=random_source.choice("FM"),
        address=f"{random_source.randrange(11, 190)} {invented_word(random_source)} Lane, {invented_word(random_source)}",
        telephone=f"+00 {_digits(random_source, 3)} {_digits(random_source, 8)}",
    )


def invent_visit(random_source: random.Random) -> Visit:
    """Return a new visit."""
    return Visit(
        accession=f"ACC{_digits(random_source, 10)}",
        study_id=f"ST{_digits(random_source, 8)}",
        referrer=f"{invented_word(random_source)}^{invented_word(random_source)}^^Dr",
        operator=f"{invented_word(random_source)}^{invented_word(random_source)}",
        time=f"{random_source.randrange(7, 20):02d}{random_source.randrange(60):02d}{random_source.randrange(60):02d}.{_digits(random_source, 6)}",
        comment=f"lives next to {invented_word(random_source)}; keeps bees at {invented_word(random_source)}",
        institution=f"Ward {invented_word(random_source)}",
        private_note=f"insurer {invented_word(random_source)} policy {_digits(random_source, 9)}",
    )


def invented_word(random_source: random.Random) -> str:
    """Return a capitalised word of at least nine letters that no language has."""
    word = ""
    while len(word) < 9:
        word += random_source.choice(_ONSETS) + random_source.choice(_VOWELS) + random_source.choice(_CODAS)
    return word.capitalize()


def _digits(random_source: random.Random, count: int) -> str:
    return "".join(random_source.choice("0123456789") for _ in range(count))


def _accent(word: str) -> str:
    """Replace the first vowel that has an accented form."""
    for plain, accented in _ACCENTED.items():
        if plain in word[1:]:
            return word[0] + word[1:].replace(plain, accented, 1)
    return word + "é"
