"""What single values become: dates are moved, ages capped, UIDs replaced, texts and times kept only in their proper shape. Pure."""

import re
from datetime import date, timedelta

from pydicom.config import IGNORE
from pydicom.uid import UID

from client.deidentify.vocabulary import says_nothing_of_anybody

OLDEST_YEARS = 90
"""So few people are older that the number alone may name them. Three digits of months, weeks or days are always less."""

_TIME = r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?"
_OLD_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:([0-5]\d|60)(\.\d{1,6})?)?", re.ASCII)  # ACR-NEMA, PS3.5 note to TM
_ZONE = r"[+-](0\d|1[0-4])[0-5]\d"
_TIME_ALONE, _ZONE_ALONE = re.compile(_TIME, re.ASCII), re.compile(_ZONE, re.ASCII)
_DATE = re.compile(r"(\d{4})([.]?)(\d{2})\2(\d{2})", re.ASCII)
_REST = rf"({_TIME})?({_ZONE})?"
_ONE = re.compile(rf"(?P<one>\d{{8}})(?P<one_rest>{_REST})", re.ASCII)
_RANGE = re.compile(
    rf"((?P<low>\d{{8}})(?P<low_rest>{_REST}))?\s*-\s*((?P<high>\d{{8}})(?P<high_rest>{_REST}))?", re.ASCII
)
_DATE_RANGE = re.compile(r"(?P<low>\d{8})?\s*-\s*(?P<high>\d{8})?", re.ASCII)
_AGE = re.compile(r"\d{3}[DWMY]", re.ASCII)


def shifted(value: str, days: int) -> str:
    """Return a DA or DT moved by `days`: a single one or a range, its time of day and time zone as they were.

    A whole number of days leaves the time of day, the zone and so every interval as they are. An empty string is returned for what is
    no full date: it cannot be moved, so it is not safe to keep.
    """
    text = value.strip(" \0")
    if found := _ONE.fullmatch(text):
        return _moved(found["one"], days, found["one_rest"])
    if found := _DATE.fullmatch(text):  # with full stops, as ACR-NEMA wrote it
        return _moved(found[1] + found[3] + found[4], days)
    found = _DATE_RANGE.fullmatch(text) or _RANGE.fullmatch(text)
    if not found or not (found["low"] or found["high"]):
        return ""
    rests = found.groupdict()
    ends = [_moved(found[end], days, rests.get(f"{end}_rest") or "") if found[end] else "" for end in ("low", "high")]
    return "-".join(ends) if all(ends[i] or not found[end] for i, end in enumerate(("low", "high"))) else ""


def kept_time(value: str) -> str:
    """Return a TM as it is, or an empty string for what is no time or range of times."""
    text = value.strip(" \0")
    ends = text.split("-")
    known = [not end or bool(_TIME_ALONE.fullmatch(end) or _OLD_TIME.fullmatch(end)) for end in ends]
    return text if len(ends) <= 2 and any(ends) and all(known) else ""  # noqa: PLR2004 - the two ends of a range


def kept_zone(value: str) -> str:
    """Return the offset of (0008,0201), or an empty string for anything else."""
    text = value.strip(" \0")
    return text if _ZONE_ALONE.fullmatch(text) else ""


def capped_age(value: str) -> str:
    """Return an age of (0010,1010), 90 years at most; an empty string for what is no age."""
    text = value.strip(" \0")
    if not _AGE.fullmatch(text):
        return ""
    return f"{OLDEST_YEARS:03d}Y" if text[3] == "Y" and int(text[:3]) > OLDEST_YEARS else text


def kept_text(value: str, words: frozenset[str]) -> str:
    """Return a text made of known words alone; an empty string otherwise."""
    text = value.strip(" \0")
    return text if says_nothing_of_anybody(text, words) else ""


def is_standard_uid(uid: str) -> bool:
    """Say whether a UID is one that the standard defines (a SOP class, a syntax): those say nothing of anybody."""
    return bool(UID(uid, validation_mode=IGNORE).type)


def fits(count: int, multiplicity: str) -> bool:
    """Say whether an attribute may hold `count` values: more than the dictionary allows is no measurement.

    Args:
        count: How many there are.
        multiplicity: PS3.6's, such as `1`, `2-2n` or `1-n`.
    """
    most = multiplicity.rpartition("-")[2]
    return count <= int(most) if most.isdigit() else True


def _moved(day: str, days: int, rest: str = "") -> str:
    try:
        moved = date(int(day[:4]), int(day[4:6]), int(day[6:8])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}{rest}"
