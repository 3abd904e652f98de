"""Small batches of everything that decides who may read what, for tests that hold the matcher against every assignment there is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from protocol.reading import Priority, StudyKind, Subspecialty
from registry_api.reading.matching import Licence, ReaderProfile, Training, Wanted
from registry_api.reading.shifts import Declaration, Shift
from registry_api.reading.worth import Batch

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
HOUR, YEAR = timedelta(hours=1), timedelta(days=365)
SITES = ("northport", "southbay")
ADULT, YOUNG = frozenset({StudyKind.CT_CHEST_ADULT}), frozenset({StudyKind.CT_CHEST_UNDER_20})
READER = ReaderProfile(
    reader_id="a" * 32, licences=(Licence("XA", NOW - YEAR, NOW + YEAR),), languages=frozenset({"en"}),
    agreements=frozenset(SITES), privileges=frozenset(SITES), declared=Declaration(available=True, until=NOW + 9 * HOUR),
)  # fmt: skip
WANTED = Wanted(
    request_id="1" * 32, site="northport", jurisdiction="XA", language="en", priority=Priority.ROUTINE, posted_at=NOW - HOUR,
    due_at=NOW + 23 * HOUR,
)  # fmt: skip


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Up to four requests and three readers with room for up to two reads each."""
    waiting = [
        replace(
            WANTED,
            request_id=f"{number:032x}",
            site=draw(st.sampled_from(SITES)),
            priority=draw(st.sampled_from(Priority)),
            ggo_percent=draw(st.sampled_from((0, 30, 60))),
            kinds=draw(st.sampled_from((ADULT, YOUNG))),
            due_at=NOW + draw(st.integers(-30, 300)) * timedelta(minutes=1),
            earlier_readers=frozenset(draw(st.sets(st.sampled_from(["0" * 32, f"{1:032x}"]), max_size=1))),
            language=draw(st.sampled_from(("en", "en", "pt"))),
            subspecialty=draw(st.sampled_from((None, None, Subspecialty.THORACIC))),
            excluded=frozenset(draw(st.sets(st.sampled_from(("group a", "group b")), max_size=1))),
            widened=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 4)))
    ]
    readers = [
        replace(
            READER,
            reader_id=f"{number:032x}",
            licences=(Licence("XA", NOW - YEAR, NOW + draw(st.sampled_from((-1, 60, 10**5))) * timedelta(minutes=1)),),
            languages=frozenset(draw(st.sampled_from((("en",), ("en", "pt"))))),
            trainings=draw(st.sampled_from(((), (Training(Subspecialty.THORACIC, NOW - YEAR, NOW + YEAR),)))),
            privileges=frozenset(draw(st.sets(st.sampled_from(SITES), min_size=1))),
            agreement_ends=draw(st.sampled_from(({}, {"southbay": NOW + HOUR}))),
            privilege_ends={"northport": NOW + draw(st.integers(-10, 200)) * timedelta(minutes=1)},
            home_site=draw(st.sampled_from((None, None, None, "southbay"))),
            conflicts=frozenset(draw(st.sampled_from(((), (), ("southbay",))))),
            pools=frozenset(draw(st.sampled_from(((), ("southbay",))))),
            organisations=frozenset({draw(st.sampled_from(("group a", "group b", "group c")))}),
            privilege_studies={"southbay": draw(st.sampled_from((ADULT, ADULT | YOUNG)))},
            held=draw(st.integers(0, 1)),
            held_stat=draw(st.integers(0, 2)),
            capacity=draw(st.integers(1, 2)),
            time_zone=draw(st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"])),
            declared=None,
            shifts=(Shift(NOW - HOUR, NOW + draw(st.integers(0, 90)) * timedelta(minutes=1) + HOUR / 60),),
        )
        for number in range(draw(st.integers(0, 3)))
    ]
    return Batch(waiting, readers, {"northport": draw(st.integers(0, 3))}, {"0" * 32: draw(st.integers(0, 9))})
