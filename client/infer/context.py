"""From what is said of a study to what counts: precedence of sources, the window of a test, contradictions. Unknown stays unknown.

The header comes first for sex and age. Otherwise the highest source that says anything decides alone: a person of this hospital, then a
file that a person imported, then HL7 and FHIR, which are equals. Where equals contradict one another the answer is unknown, and the
study is counted as doubtful. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date

from client.infer.cases import Circumstances, age_band, years_between
from client.store.facts import Conclusion, FactKind, Heard, Hearing, Source
from protocol.case import AgeBand, CareSetting, PcrStatus, Sex

TWO_PATIENTS, PCR_CONTRADICTS, SETTING_CONTRADICTS, SEX_CONTRADICTS, AGE_CONTRADICTS = (
    "two-patients", "pcr-contradicts", "setting-contradicts", "sex-contradicts", "age-contradicts",
)  # fmt: skip
"""Why something stayed unknown although something was said."""

UNKNOWN = "unknown"
_HEADER = "dicom"
_RANK = {Source.HL7: 0, Source.FHIR: 0, Source.CSV: 1, Source.STAFF: 2}


@dataclass(frozen=True, slots=True)
class Window:
    """How far from the day of the study a test may lie, in days, to say something of the study."""

    before: int
    after: int

    def holds(self, test: int, study: int) -> bool:
        """Say whether a test on one day counts for a study on another; both as ordinals."""
        return -self.before <= test - study <= self.after


@dataclass(slots=True)
class _Verdicts:
    """What was concluded so far, whose word it is, and what was doubtful."""

    sources: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    def agree(self, attribute: str, doubt: str, heard: list[Heard]) -> str:
        """Return the one value in `heard`, unknown if there is none or more than one."""
        values = {one.value for one in heard}
        if len(values) > 1:
            self.doubts.append(doubt)
            return UNKNOWN
        if not values:
            return UNKNOWN
        self.sources[attribute] = heard[-1].source.value
        return values.pop()


def conclude(header: Circumstances, hearing: Hearing, window: Window) -> Conclusion:
    """Return what counts for a study.

    Args:
        header: What its headers say.
        hearing: What others say.
        window: For tests that are known by patient and day.
    """
    day = header.day.toordinal() if header.day is not None else None
    verdicts = _Verdicts(doubts=[TWO_PATIENTS] if hearing.confused else [])
    return Conclusion(
        day=day,
        header_sex=header.sex.value,
        header_age_band=header.age_band.value,
        sex=_sex(header, hearing, verdicts).value,
        age_band=_age(header, hearing, verdicts).value,
        pcr=_pcr(day, hearing, window, verdicts).value,
        care_setting=_care_setting(day, hearing, verdicts).value,
        question=_question(hearing, verdicts),
        sources=verdicts.sources,
        doubts=tuple(verdicts.doubts),
    )


def as_circumstances(header: Circumstances, conclusion: Conclusion) -> Circumstances:
    """Return what the record keeps: the header's week, and what counts of the rest."""
    return replace(
        header,
        sex=Sex(conclusion.sex),
        age_band=AgeBand(conclusion.age_band),
        pcr=PcrStatus(conclusion.pcr),
        care_setting=CareSetting(conclusion.care_setting),
    )


def header_of(conclusion: Conclusion) -> Circumstances:
    """Return what the headers said when the conclusion was drawn; the week is in the record already."""
    return Circumstances(
        epi_week=None,
        age_band=AgeBand(conclusion.header_age_band),
        sex=Sex(conclusion.header_sex),
        day=date.fromordinal(conclusion.day) if conclusion.day is not None else None,
    )


def _pcr(day: int | None, hearing: Hearing, window: Window, verdicts: _Verdicts) -> PcrStatus:
    """One positive test in the window counts: a first sample is often negative while the lungs show it already.

    Ai et al. (Radiology 2020;296:E32) saw 5.1 days on average from a first negative to a positive sample; shedding goes on for 17 days on
    average (Cevik et al., Lancet Microbe 2021;2:e13). Two results of one day that contradict one another count as neither.
    """
    tests = [one for one in _of(FactKind.PCR, hearing) if _is_near(one, day, window)]
    deciding = _highest(tests)
    by_day: dict[int | None, set[str]] = {}
    for test in deciding:
        by_day.setdefault(test.first_day, set()).add(test.value)
    undated = by_day.pop(None, set())
    if any(len(values | undated) > 1 for values in (by_day.values() or [undated])):
        verdicts.doubts.append(PCR_CONTRADICTS)
        return PcrStatus.UNKNOWN
    values = undated.union(*by_day.values())
    found = next((status for status in (PcrStatus.POSITIVE, PcrStatus.NEGATIVE) if status.value in values), None)
    if found is None:
        return PcrStatus.UNKNOWN
    verdicts.sources["pcr"] = next(one for one in deciding if one.value == found.value).source.value
    return found


def _is_near(test: Heard, day: int | None, window: Window) -> bool:
    """A test without a day counts only where its source says that it belongs to this study."""
    if test.first_day is None:
        return test.of_study
    return day is not None and window.holds(test.first_day, day)


def _care_setting(day: int | None, hearing: Hearing, verdicts: _Verdicts) -> CareSetting:
    said = [one for one in _of(FactKind.CARE_SETTING, hearing) if one.of_study or _covers(one, day)]
    deciding = _highest(said)
    deciding = [one for one in deciding if one.of_study] or deciding  # the order's own word before that of a stay
    return CareSetting(verdicts.agree("care_setting", SETTING_CONTRADICTS, deciding))


def _covers(stay: Heard, day: int | None) -> bool:
    if day is None or stay.first_day is None or stay.first_day > day:
        return False
    return stay.last_day is None or day <= stay.last_day


def _sex(header: Circumstances, hearing: Hearing, verdicts: _Verdicts) -> Sex:
    if header.sex is not Sex.UNKNOWN:
        verdicts.sources["sex"] = _HEADER
        return header.sex
    return Sex(verdicts.agree("sex", SEX_CONTRADICTS, _highest(_of(FactKind.SEX, hearing))))


def _age(header: Circumstances, hearing: Hearing, verdicts: _Verdicts) -> AgeBand:
    if header.age_band is not AgeBand.UNKNOWN:
        verdicts.sources["age_band"] = _HEADER
        return header.age_band
    bands = [
        replace(one, value=_band(one, header.day).value)
        for one in hearing.heard
        if one.kind is FactKind.BIRTH_DATE or (one.kind is FactKind.AGE and one.of_study)
    ]
    deciding = _highest([one for one in bands if one.value != AgeBand.UNKNOWN.value])
    return AgeBand(verdicts.agree("age_band", AGE_CONTRADICTS, deciding))


def _band(one: Heard, day: date | None) -> AgeBand:
    """Return the band of an age; of a birth date of which only month or year are known, if every day in it gives the same."""
    if one.kind is FactKind.AGE:
        return age_band(int(one.value))
    if day is None:
        return AgeBand.UNKNOWN
    bands = {age_band(years_between(born, day)) for born in _birth_days(one.value)}
    return bands.pop() if len(bands) == 1 else AgeBand.UNKNOWN


def _birth_days(value: str) -> tuple[date, ...]:
    """Return the first and the last day that YYYY, YYYY-MM or YYYY-MM-DD may mean (the 28th stands for the end of a month)."""
    whole = {4: ("-01-01", "-12-31"), 7: ("-01", "-28")}.get(len(value), ("",))
    return tuple(date.fromisoformat(value + rest) for rest in whole)


def _question(hearing: Hearing, verdicts: _Verdicts) -> str | None:
    """Return the newest question of the highest source."""
    asked = _highest([one for one in _of(FactKind.QUESTION, hearing) if one.of_study])
    if not asked:
        return None
    verdicts.sources["question"] = asked[-1].source.value
    return asked[-1].value


def _of(kind: FactKind, hearing: Hearing) -> list[Heard]:
    return [one for one in hearing.heard if one.kind is kind]


def _highest(heard: Iterable[Heard]) -> list[Heard]:
    """Return what the highest source says, oldest first; all of it if equals speak."""
    ranked = sorted(heard, key=lambda one: one.received_at)
    top = max((_RANK[one.source] for one in ranked), default=0)
    return [one for one in ranked if _RANK[one.source] == top]
