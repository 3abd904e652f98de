"""By what numbers of an order a study can be found: those that a modality copies from its worklist into the header."""

from pydicom.dataset import Dataset

ORDER_TAGS = [
    "AccessionNumber", "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
    "RequestAttributesSequence",
]  # fmt: skip
"""All that is read of a header for it: (0008,0050), (0040,2016), (0040,2017), (0040,0275)."""

_MOST_NUMBERS, _MOST_LENGTH = 32, 64


ACCESSION, PLACER, FILLER = "accession", "placer", "filler"
"""Kinds of order numbers: the same digits may be one order's accession number and another's placer number."""

_KINDS = {ORDER_TAGS[0]: ACCESSION, ORDER_TAGS[1]: PLACER, ORDER_TAGS[2]: FILLER}


def order_number(kind: str, number: str) -> str:
    """Return a number with its kind, as it is keyed; empty if no header can hold such a number."""
    plain = number.strip()
    return f"{kind}:{plain}" if 0 < len(plain) <= _MOST_LENGTH else ""


def orders_of(header: Dataset) -> frozenset[str]:
    """Return the order numbers in a header, with their kinds.

    A study that answers several orders names each in the Request Attributes Sequence (PS3.3 C.7.3.1.1.1).
    """
    items = [header, *list(header.get("RequestAttributesSequence") or [])[:_MOST_NUMBERS]]
    found = {order_number(kind, str(item.get(tag) or "")) for item in items for tag, kind in _KINDS.items()}
    return frozenset(found - {""})
