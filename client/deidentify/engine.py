"""Carries the profile out on one data set: every attribute of every item is taken over, changed or left behind.

The copy is built up from nothing, so that whatever this module does not know cannot stay. Its text is ASCII.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from struct import unpack
from typing import Any, Protocol

from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from client.deidentify.coded import CODE_KEYWORDS, clean_code, is_coded
from client.deidentify.own import OwnIdentifiers, own_identifiers
from client.deidentify.profile import ALWAYS_THERE, DUMMIES, Action, Options, Profile, types_of, words_of
from client.deidentify.refusals import require_clean
from client.deidentify.table import confidentiality_table
from client.deidentify.values import capped_age, fits, is_standard_uid, kept_text, kept_time, kept_zone, shifted

METHOD = "Acinus CT profile 2, PS3.15 annex E"
_PIXEL_DATA = Tag("PixelData")
_NOTHING: tuple[Any, ...] = (None, "", [], b"")


class Names(Protocol):
    """The keyed names that take the place of the real ones (`client.deidentify.pseudonyms`)."""

    def uid(self, uid: str) -> str:
        """Return the UID that stands for `uid`."""

    def patient_id(self, patient_id: str, issuer: str = "") -> str:
        """Return the number that stands for a patient."""

    def shift_days(self, patient_id: str, issuer: str = "") -> int:
        """Return by how many days the patient's dates move."""


def deidentify(dataset: Dataset, names: Names, options: Options | None = None) -> Dataset:
    """Return a copy of a CT object without the person.

    Args:
        dataset: As read, pixels included; it is not changed.
        names: The site's keyed names.
        options: What the hospital chose; the least if left out.

    Raises:
        InvalidInputError: A code of `refusals.py` for an object that is not passed on.
        UnavailableError: `node-fault` if the installed table is damaged.
    """
    own = own_identifiers(dataset)
    require_clean(dataset, own)
    profile = Profile(confidentiality_table(), options or Options())
    patient = str(dataset.get("PatientID") or ""), str(dataset.get("IssuerOfPatientID") or "")
    pseudonym = names.patient_id(*patient)
    pixel_bytes = len(dataset.get("PixelData") or b"")
    cleaner = _Cleaner(profile, names, own, pseudonym, names.shift_days(*patient), pixel_bytes)
    out = cleaner.treated(dataset, types_of(str(dataset.SOPClassUID)))
    out.PatientName = out.PatientID = pseudonym
    for keyword in ALWAYS_THERE:
        if keyword not in out:
            setattr(out, keyword, "")
    _declare(out, dataset, profile)
    return out


@dataclass(frozen=True, slots=True)
class _Cleaner:
    """One patient's changes."""

    profile: Profile
    names: Names
    own: OwnIdentifiers
    pseudonym: str
    days: int
    pixel_bytes: int

    def treated(self, dataset: Dataset, types: Mapping[str, int], but: frozenset[str] = frozenset()) -> Dataset:
        """Return what stays of a data set or of an item.

        Args:
            dataset: Of the source.
            types: By keyword, of what the object demands here; all other attributes are Type 3.
            but: Keywords that are left behind whatever they are.
        """
        out = Dataset()
        for tag in sorted(dataset.keys()):
            keyword = keyword_for_tag(tag)
            required = types.get(keyword, 3)
            vr, value = (None, None) if keyword in but else self._value(dataset, tag, keyword, required)
            if value is None and required < 3:  # noqa: PLR2004 - Type 3
                vr = dictionary_VR(tag)
                value = DUMMIES.get(vr, "") if required == 1 else ([] if vr == "SQ" else "")
            if value is not None and vr is not None:
                kept = DataElement(tag, vr, value)
                kept.is_undefined_length = tag == _PIXEL_DATA and dataset[tag].is_undefined_length
                out.add(kept)
        return out

    def _value(self, dataset: Dataset, tag: BaseTag, keyword: str, required: int) -> tuple[str | None, Any]:
        """Return the VR and the value that the copy has, no value for none. What goes is not even read: it may be damaged."""
        if not keyword or not dictionary_has_tag(tag):
            return None, None
        vrs = dictionary_VR(tag).split(" or ")
        written = dataset.get_item(tag).VR
        vr = written if written in vrs else vrs[0]
        if self.profile.action(tag, keyword, vr, required) is Action.REMOVE:
            return None, None
        element = dataset[tag]
        if element.VR not in {*vrs, dictionary_VR(tag)}:
            return None, None
        return element.VR, self._edited(element, self.profile.action(tag, keyword, element.VR, required))

    def _edited(self, element: DataElement, action: Action) -> Any:
        if element.value in _NOTHING and action is not Action.PSEUDONYM:
            return element.value if element.VR == "SQ" else ""
        edits: dict[Action, Callable[[DataElement], Any]] = {
            Action.EMPTY: lambda _one: [] if element.VR == "SQ" else "",
            Action.DUMMY: lambda one: DUMMIES.get(one.VR),
            Action.REPLACE_UID: lambda one: _each(one.value, self._uid),
            Action.PSEUDONYM: lambda _one: self.pseudonym,
            Action.SHIFT: self._shifted,
            Action.KEEP: self._kept,
            Action.KEEP_VERBATIM: self._verbatim,
            Action.DESCEND: self._descended,
        }
        return edits[action](element)

    def _descended(self, element: DataElement) -> Sequence | None:
        items = [self._item(item) for item in element.value]
        kept = [item for item in items if item is not None]
        return Sequence(kept) if kept or not items else None

    def _item(self, item: Dataset) -> Dataset | None:
        if not is_coded(item):
            return self.treated(item, {})
        code = clean_code(item)
        if code is not None:
            code.update(self.treated(item, {}, CODE_KEYWORDS))  # modifiers of a region and the like
        return code

    def _uid(self, uid: str) -> str:
        plain = uid.strip(" \0")
        return plain if not plain or is_standard_uid(plain) else self.names.uid(plain)

    def _shifted(self, element: DataElement) -> Any:
        edits = {"TM": kept_time, "SH": kept_zone}
        return _each(element.value, edits.get(element.VR, lambda value: shifted(value, self.days)))

    def _kept(self, element: DataElement) -> Any:
        if element.VR == "AS":
            return _each(element.value, capped_age)
        if element.VR in {"CS", "LO", "SH"}:
            words = words_of(element.keyword, element.VR)
            return _each(
                element.value, lambda value: "" if self.own.is_number_of_person(value) else kept_text(value, words)
            )
        many = element.value if element.VM > 1 else [element.value]
        odd = not fits(element.VM, dictionary_VM(element.tag)) or any(
            self.own.is_measure_of_person(float(value or 0)) for value in many
        )
        return None if odd else element.value

    def _verbatim(self, element: DataElement) -> Any:
        """Pixels as they are, tables of offsets into them if they are such; a device's text unless it spells the person."""
        if element.VR == "OV":
            offsets = unpack(
                f"={len(element.value) // 8}Q", element.value
            )  # byte order does not matter for a text: it is larger in both
            return element.value if all(offset <= self.pixel_bytes for offset in offsets) else None
        if isinstance(element.value, bytes):
            return element.value
        return _each(element.value, lambda text: text if text.isascii() and not self._names_person(text) else "")

    def _names_person(self, text: str) -> bool:
        return self.own.is_number_of_person(text) or self.own.stand_in(text.encode())


def _each(value: Any, edit: Callable[[str], str]) -> Any:
    """Return the edited value or values, each in its place; `None` if nothing is left of any."""
    many: Iterable[Any] = value if isinstance(value, MultiValue) else [value]
    edited = [edit(str(one)) for one in many]
    if not any(edited):
        return None
    return edited if len(edited) > 1 else edited[0]


def _declare(out: Dataset, source: Dataset, profile: Profile) -> None:
    """Write what was done (PS3.15 E.1.1, PS3.3 C.7.1.1, C.12.1). Nothing is claimed of pixels: they were not looked at."""
    out.PatientIdentityRemoved = "YES"
    out.DeidentificationMethod = METHOD
    removed = str(source.get("LongitudinalTemporalInformationModified") or "") == "REMOVED"
    out.LongitudinalTemporalInformationModified = "REMOVED" if removed else "MODIFIED"
    items = []
    for value, meaning in profile.codes():
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    out.DeidentificationMethodCodeSequence = Sequence(items)
