"""Codes that stay: those of standard dictionaries, with the dictionary's own words. Pure.

A code's meaning is free text that the sender writes, and a private code can be a sentence (`99LOCAL`: "CT chest for J. Smith"). So an
item is written anew from the dictionary, and a code that no dictionary has is left out.
"""

from collections.abc import Mapping
from functools import cache

from pydicom.dataset import Dataset
from pydicom.sr._snomed_dict import mapping as snomed_mapping  # SRT to SCT; pydicom has no public name for it
from pydicom.sr.codedict import Collection

CODE_KEYWORDS = frozenset({
    "CodeValue", "LongCodeValue", "URNCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning", "ContextIdentifier",
    "ContextUID", "MappingResource", "MappingResourceUID", "MappingResourceName", "ContextGroupVersion", "ContextGroupExtensionFlag",
    "ContextGroupLocalVersion", "ContextGroupExtensionCreatorUID", "EquivalentCodeSequence",
})  # fmt: skip
"""The attributes of the code sequence macro (PS3.3 table 8.8-1)."""

_SCHEMES = {"DCM": "DCM", "UCUM": "UCUM", "SCT": "SCT", "SRT": "SRT", "SNM3": "SRT", "99SDM": "SRT"}
"""Dictionaries that are known, by the designators that they go under (PS3.16 table 8-1)."""
_LONGEST_MEANING = 64


def is_coded(item: Dataset) -> bool:
    """Say whether an item of a sequence is a code."""
    return any(keyword in item for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue", "CodeMeaning"))


def clean_code(item: Dataset) -> Dataset | None:
    """Return the code in `item` with its dictionary's meaning; `None` for a code that no dictionary has."""
    value, designator = str(item.get("CodeValue") or "").strip(), str(item.get("CodingSchemeDesignator") or "").strip()
    meaning = _meaning(value, designator)
    if not meaning:
        return None
    out = Dataset()
    out.CodeValue, out.CodingSchemeDesignator, out.CodeMeaning = value, designator, meaning[:_LONGEST_MEANING]
    return out


def _meaning(value: str, designator: str) -> str:
    scheme = _SCHEMES.get(designator, "")
    if scheme == "SRT":
        return _dictionary("SCT").get(snomed_mapping["SRT"].get(value, ""), "")
    return _dictionary(scheme).get(value, "") if scheme else ""


@cache
def _dictionary(scheme: str) -> Mapping[str, str]:
    """Return the meanings of a scheme by code. The first use reads pydicom's dictionary: 0.1 s."""
    return {code.value: code.meaning for code in Collection(scheme).concepts.values()}
