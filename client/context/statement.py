"""One thing that somebody says of a study or a patient, still in their words; and the step that makes an opaque fact of it.

Only this module sees both sides. A statement lives in memory while one message is read; what is kept has keyed names.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from client.deidentify.pseudonyms import Pseudonyms
from client.store.facts import MOST_QUESTION, Fact, FactKind, FactNames, Source

_MOST_IDENTIFIER = 64
"""VR SH and LO of DICOM are shorter (PS3.5 section 6.2): what is longer can match no header."""


@dataclass(frozen=True, slots=True)
class PatientNumber:
    """A patient's number and who issued it; the issuer may be empty."""

    number: str = field(repr=False)
    issuer: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Of what something is said. With a study UID or an order number it is about a study, else about a patient."""

    patients: tuple[PatientNumber, ...] = field(default=(), repr=False)
    study_uid: str = field(default="", repr=False)
    orders: tuple[str, ...] = field(default=(), repr=False)
    """As `client.deidentify.orders.order_number` writes them."""
    study_key: str = ""
    """Instead of the UID, where a person of the hospital picked a stored study."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing can ever be found by it."""
        return not (
            self.study_key or self.study_uid or any(self.orders) or any(p.number.strip() for p in self.patients)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One thing that is said. `slot` is what its source calls it, so that a correction finds it; the rest is as in `store.facts`."""

    kind: FactKind
    value: str = field(repr=False)
    about: About
    slot: tuple[str, ...] = field(repr=False)
    first_day: date | None = None
    last_day: date | None = None
    retracted: bool = False
    stated_at: float | None = None


@dataclass(frozen=True, slots=True)
class Namer:
    """Makes facts of statements.

    Attributes:
        pseudonyms: The site's.
        own_issuers: What other systems call the issuer of the numbers that the headers of this hospital carry without naming one.
    """

    pseudonyms: Pseudonyms
    own_issuers: frozenset[str] = frozenset()

    def facts(self, source: Source, statements: Iterable[Statement]) -> list[Fact]:
        """Return the facts that can be found again; a statement about nothing is left out."""
        return [self._fact(source, one) for one in statements if not one.about.is_empty]

    def message(self, source: Source, *words: str) -> str:
        """Return the opaque name of a message."""
        return self.pseudonyms.opaque("message", source.value, *words)

    def _fact(self, source: Source, said: Statement) -> Fact:
        words = (source.value, said.kind.value, *said.slot)
        return Fact(
            slots=tuple(one.opaque("slot", *words) for one in self.pseudonyms.ring),
            source=source,
            kind=said.kind,
            value=said.value[:MOST_QUESTION],
            first_day=said.first_day.toordinal() if said.first_day is not None else None,
            last_day=said.last_day.toordinal() if said.last_day is not None else None,
            retracted=said.retracted,
            stated_at=said.stated_at,
            names=self._names(said.about),
        )

    def _names(self, about: About) -> FactNames:
        ring = self.pseudonyms.ring
        orders = set(about.orders) - {""}
        patients = [one for one in about.patients if 0 < len(one.number.strip()) <= _MOST_IDENTIFIER]
        studies = {one.study_key(about.study_uid.strip()) for one in ring if about.study_uid.strip()}
        studies |= {about.study_key} - {""}
        of_patient = {
            one.subject_key(patient.number, issuer)
            for one in ring
            for patient in patients
            for issuer in self._issuers(patient)
        }
        return FactNames(
            studies=frozenset(studies),
            orders=frozenset(one.order_name(number) for one in ring for number in orders),
            subjects=frozenset() if studies or orders else frozenset(of_patient),
            numbers=frozenset(one.number_name(patient.number) for one in ring for patient in patients),
        )

    def _issuers(self, patient: PatientNumber) -> set[str]:
        """A header without an issuer matches a number without one, or one of an issuer that the site names as its own."""
        issuer = patient.issuer.strip()
        return {"", *self.own_issuers} if not issuer or issuer in self.own_issuers else {issuer}
