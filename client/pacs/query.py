"""What to ask the PACS for (QIDO-RS, PS3.18 section 10.6), and which of its answers a rule means. Pure.

The PACS is asked for as little as all of them understand: modality and dates. Body part and description are compared here, because
archives differ in how they match them, and because what does not say that it is wanted is not wanted.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from client.sections import PullRule

PAGE = 100
"""Studies asked for at once."""

MOST_PAGES = 100

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_MOST_UID = 64

Item = Mapping[str, Any]
"""One item of a DICOM JSON answer."""


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study as the PACS lists it. `instances` is `None` where the PACS does not count them."""

    uid: str
    day: date | None
    description: str
    instances: int | None


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """A series as the PACS lists it."""

    uid: str
    modality: str
    body_part: str
    description: str


def study_search(rule: PullRule, today: date, *, offset: int) -> list[tuple[str, str]]:
    """Return the parameters of a search for studies of the last `rule.days` days and today."""
    first = today - timedelta(days=rule.days)
    return [
        ("ModalitiesInStudy", rule.modality),
        ("StudyDate", f"{first:%Y%m%d}-{today:%Y%m%d}"),
        ("includefield", "00081030"),  # Study Description
        ("includefield", "00201208"),  # Number of Study Related Instances
        ("limit", str(PAGE)),
        ("offset", str(offset)),
    ]


SERIES_FIELDS = [("includefield", "00180015"), ("includefield", "0008103E")]
"""Body Part Examined and Series Description; neither must be returned unasked."""


def studies_in(items: Iterable[Item]) -> Iterator[FoundStudy]:
    """Yield the studies of an answer; what has no proper UID is passed over, for it goes into an address."""
    for item in items:
        uid = uid_in(item, "0020000D")
        if uid is not None:
            yield FoundStudy(uid, _day(_value(item, "00080020")), _value(item, "00081030"), _count(item, "00201208"))


def series_in(items: Iterable[Item]) -> Iterator[FoundSeries]:
    """Yield the series of an answer."""
    for item in items:
        uid = uid_in(item, "0020000E")
        if uid is not None:
            yield FoundSeries(
                uid, _value(item, "00080060"), _value(item, "00180015"), _value(item, "0008103E")
            )  # fmt: skip


def uid_in(item: Item, tag: str) -> str | None:
    """Return the UID under `tag`; `None` if there is none that is safe in an address."""
    uid = _value(item, tag)
    return uid if is_uid(uid) else None


def is_uid(word: str) -> bool:
    """Say whether `word` is digits and dots as a UID must be (PS3.5 section 9.1); leading zeros are forgiven."""
    return len(word) <= _MOST_UID and _UID.fullmatch(word) is not None


def wants(rule: PullRule, study: FoundStudy, series: FoundSeries, today: date) -> bool:
    """Say whether a rule means this series; a study without a date is not of the last days."""
    recent = study.day is not None and today - timedelta(days=rule.days) <= study.day <= today
    words = f"{study.description}\n{series.description}".casefold()
    return (
        recent
        and series.modality == rule.modality
        and rule.body_part.casefold() in series.body_part.casefold()
        and rule.description.casefold() in words
    )


def _value(item: Item, tag: str) -> str:
    """Return the first value under `tag` as text; nothing where it is absent or no plain value."""
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    first = values[0] if isinstance(values, list) and values else ""
    return str(first).strip() if isinstance(first, str | int | float) else ""


def _count(item: Item, tag: str) -> int | None:
    word = _value(item, tag)
    return int(word) if word.isdecimal() else None


def _day(word: str) -> date | None:
    try:
        return date(int(word[:4]), int(word[4:6]), int(word[6:8]))
    except ValueError:
        return None
