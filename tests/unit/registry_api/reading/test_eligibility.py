"""What is on file decides who may claim: the hospital's privilege, verified credentials, shifts, conflicts. Read back in few queries."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import select

from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError, RefusedError
from protocol.reading import ReaderPrivilege, ReadPost, StudyKind, Subspecialty
from registry_api.database import Database
from registry_api.enrolment.tables import SiteRow
from registry_api.link.intake import RECEIVERS
from registry_api.people import service as people
from registry_api.people.roles import Role
from registry_api.reading.agreements import agree_with_group, agree_with_reader
from registry_api.reading.availability import (
    SHIFTS_MAX,
    add_shift,
    availability,
    declare,
    remove_shift,
    set_conflict,
    set_shifts,
)
from registry_api.reading.credentials import Term, credentials_of, license_reader, train_reader
from registry_api.reading.groups import set_group
from registry_api.reading.lifecycle import State
from registry_api.reading.matching import Obstacle
from registry_api.reading.offers import open_reads
from registry_api.reading.privileges import accept_privilege
from registry_api.reading.readers import profile, profiles, set_capacity
from registry_api.reading.shifts import Declaration, Presence, Shift
from registry_api.reading.tables import AgreementTerms, PrivilegeRow
from tests.fakes.readers import YEAR, a_term, privilege
from tests.unit.registry_api.reading.conftest import NOW, REQUEST
from tests.unit.registry_api.reading.story import Story, opened, receipt

Post = Callable[..., ReadPost]
AddReader = Callable[..., str]
HOUR = timedelta(hours=1)


def found(story: Story, reader: str) -> tuple[Obstacle, ...]:
    """What stands between the reader and the only request."""
    (view,) = story.look(lambda session: open_reads(session, reader, now=story.now, eligible_only=False))
    return view.obstacles


def word(reader: str, *, granted: bool, version: int) -> ReaderPrivilege:
    return ReaderPrivilege(reader_id=reader, granted=granted, version=version)


def test_an_agreement_alone_lets_nobody_read(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader(sites=())
    with story.database.writing() as session:
        agree_with_reader(session, site="northport", reader_id=reader, now=NOW)
    story.arrives(post())
    assert found(story, reader) == (Obstacle.NO_PRIVILEGE,)
    with pytest.raises(RefusedError, match="only its own staff can"):
        story.claims(reader, REQUEST)
    story.arrives(word(reader, granted=True, version=1))
    assert story.claims(reader, REQUEST).state is State.CLAIMED


def test_only_a_parcel_of_the_hospital_writes_privileges() -> None:
    assert RECEIVERS["reader-privilege"] is accept_privilege


def test_a_hospital_grants_for_itself_alone(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader(sites=())
    with story.database.writing() as session:
        agree_with_reader(session, site="northport", reader_id=reader, now=NOW)
    story.arrives(word(reader, granted=True, version=1), site="southbay")
    story.arrives(post())
    assert found(story, reader) == (Obstacle.NO_PRIVILEGE,)


def test_the_hospitals_last_word_counts_in_whatever_order_it_comes(story: Story, add_reader: AddReader) -> None:
    reader = add_reader()
    for version, granted in ((3, False), (2, True), (3, True)):
        story.arrives(word(reader, granted=granted, version=version))
    row = story.look(lambda session: session.exec(select(PrivilegeRow)).one())
    assert (row.granted, row.version) == (False, 3)


def test_a_privilege_withdrawn_ends_what_is_held_and_blocks_the_signature(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(word(reader, granted=False, version=2))
    assert story.state(REQUEST) is State.OPEN
    assert [notice.kind for notice in story.notices()] == ["claim-made", "claim-ended"]
    with pytest.raises(FederationError) as late:
        story.signs(claim, reader)
    assert late.value.code is Code.STALE_FENCE
    assert found(story, reader) == (Obstacle.NO_PRIVILEGE,)


def test_a_privilege_that_ends_between_claim_and_signature_blocks_the_signature(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    reader = add_reader()
    limit(story, reader, until=story.now + timedelta(hours=25))
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    limit(story, reader, version=3, until=story.now + timedelta(minutes=30))
    story.wait(minutes=30)
    with pytest.raises(RefusedError, match="privilege"):
        story.signs(claim, reader)
    assert story.state(REQUEST) is State.PRELIMINARY
    limit(story, reader, version=4, until=None)
    assert story.signs(claim, reader) is State.SIGNED


def test_a_privilege_is_read_back_with_its_limits(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post(age_band="0-19"))
    limit(story, reader, until=story.now + timedelta(hours=1), studies=(StudyKind.CT_CHEST_ADULT,))
    assert found(story, reader) == (Obstacle.PRIVILEGE_ENDS, Obstacle.OUTSIDE_PRIVILEGE)
    story.wait(hours=1)
    assert Obstacle.NO_PRIVILEGE in found(story, reader)
    limit(story, reader, version=3, until=None, studies=tuple(StudyKind))
    assert found(story, reader) == ()


def limit(story: Story, reader: str, *, version: int = 2, **limits: Any) -> None:
    with story.database.writing() as session:
        privilege(session, reader, now=story.now, version=version, **limits)


def test_a_privilege_is_for_readers_of_the_network(story: Story) -> None:
    with pytest.raises(InvalidInputError) as refused:
        story.arrives(word("9" * 32, granted=True, version=1))
    assert refused.value.code is Code.NOT_FOUND


def test_a_licence_counts_once_somebody_has_seen_the_evidence(story: Story, post: Post) -> None:
    with story.database.writing() as session:
        reader = people.add_reader(session, "R", jurisdiction="XA", language="en", now=NOW).person_id
        session.flush()
        agree_with_reader(session, site="northport", reader_id=reader, now=NOW)
        privilege(session, reader, now=NOW)
    story.arrives(post())
    assert found(story, reader) == (Obstacle.LICENCE_UNVERIFIED,)
    with story.database.writing() as session:
        verifier = people.add_person(session, "C", role=Role.COORDINATOR, now=NOW).person_id
        term = Term(NOW, NOW + YEAR, verified_by=verifier, verified_at=NOW, evidence="GMC:7654321")
        license_reader(session, reader, jurisdiction="XA", language="en", term=term)
    assert found(story, reader) == ()
    (kept,) = story.look(lambda session: credentials_of(session, reader))
    assert kept.term is not None
    assert (kept.what, kept.term.evidence, kept.term.verified_by) == ("XA", "GMC:7654321", verifier)


def test_readers_do_not_verify_themselves(story: Story, add_reader: AddReader) -> None:
    reader, other = add_reader("A"), add_reader("B")
    for verifier in (reader, other, "9" * 32):
        term = Term(NOW, NOW + YEAR, verified_by=verifier, verified_at=NOW, evidence="X:1")
        with pytest.raises(InvalidInputError, match="coordinator"), story.database.writing() as session:
            train_reader(session, reader, subspecialty=Subspecialty.THORACIC, term=term)


def test_a_term_that_ends_before_it_begins_is_refused(story: Story, add_reader: AddReader) -> None:
    reader = add_reader()
    with story.database.writing() as session:
        verifier = people.add_person(session, "C", role=Role.AUDITOR, now=NOW).person_id
    term = Term(NOW, NOW, verified_by=verifier, verified_at=NOW, evidence="X:1")
    with pytest.raises(InvalidInputError, match="end after"), story.database.writing() as session:
        train_reader(session, reader, subspecialty=Subspecialty.THORACIC, term=term)


def test_a_subspecialty_is_asked_for_and_shown(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post(subspecialty="thoracic"))
    assert found(story, reader) == (Obstacle.SUBSPECIALTY,)
    with story.database.writing() as session:
        verifier = people.add_person(session, "C", role=Role.AUDITOR, now=NOW).person_id
        term = Term(NOW, NOW + YEAR, verified_by=verifier, verified_at=NOW, evidence="X:1")
        train_reader(session, reader, subspecialty=Subspecialty.THORACIC, term=term)
    assert found(story, reader) == ()


def test_who_is_on_no_shift_says_so_or_waits(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post())
    with story.database.writing() as session:
        set_shifts(
            session, reader, time_zone="Europe/Lisbon", shifts=[Shift(NOW + HOUR, NOW + 2 * HOUR, "Europe/Lisbon")]
        )
    assert found(story, reader) == (Obstacle.OFF_SHIFT,)
    with story.database.writing() as session:
        declare(session, reader, Declaration(available=True, until=NOW + HOUR), now=NOW)
    assert found(story, reader) == ()
    with story.database.writing() as session:
        declare(session, reader, Declaration(available=False, until=NOW + HOUR), now=NOW)
    assert found(story, reader) == (Obstacle.AWAY,)
    with story.database.writing() as session:
        declare(session, reader, None, now=NOW)
    story.wait(hours=1)
    assert found(story, reader) == ()
    told = story.look(lambda session: availability(session, reader, now=story.now))
    assert (told.presence, told.until, told.time_zone) == (Presence.ON_SHIFT, NOW + 2 * HOUR, "Europe/Lisbon")


@pytest.mark.parametrize("until", [NOW, NOW - HOUR, NOW + 2 * YEAR])
def test_nobody_is_away_in_the_past_or_for_ever(story: Story, add_reader: AddReader, until: object) -> None:
    reader = add_reader()
    with pytest.raises(InvalidInputError), story.database.writing() as session:
        declare(session, reader, Declaration(available=False, until=until), now=NOW)  # type: ignore[arg-type]


def test_shifts_are_the_readers_own_and_not_endless(story: Story, add_reader: AddReader) -> None:
    reader, other = add_reader("A"), add_reader("B")
    shift = Shift(NOW, NOW + HOUR, "UTC")
    with story.database.writing() as session:
        add_shift(session, reader, shift)
    ((number, kept),) = story.look(lambda session: availability(session, reader, now=NOW)).shifts
    assert kept == shift
    with pytest.raises(InvalidInputError), story.database.writing() as session:
        remove_shift(session, other, number)
    with story.database.writing() as session:
        remove_shift(session, reader, number)
    assert story.look(lambda session: availability(session, reader, now=NOW)).shifts == ()
    with pytest.raises(InvalidInputError), story.database.writing() as session:
        set_shifts(session, reader, time_zone="UTC", shifts=[shift] * (SHIFTS_MAX + 1))


def test_a_conflict_of_interest_is_declared_and_taken_back(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post())
    for holds, expected in ((True, (Obstacle.CONFLICT,)), (True, (Obstacle.CONFLICT,)), (False, ()), (False, ())):
        with story.database.writing() as session:
            set_conflict(session, reader, site="northport", holds=holds, now=NOW)
        assert found(story, reader) == expected
    with pytest.raises(InvalidInputError), story.database.writing() as session:
        set_conflict(session, reader, site="nowhere", holds=True, now=NOW)


def test_an_agreement_ends_by_its_date_or_by_a_word(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader(sites=())
    with story.database.writing() as session:
        terms = AgreementTerms(expires_at=NOW + timedelta(days=1, hours=1))
        agree_with_reader(session, site="northport", reader_id=reader, now=NOW, terms=terms)
        privilege(session, reader, now=NOW)
    story.arrives(post())
    assert found(story, reader) == ()
    story.wait(days=1)
    assert found(story, reader) == ()
    story.wait(hours=1)
    assert found(story, reader) == (Obstacle.NO_AGREEMENT,)


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that the body sends."""
    sent: list[str] = []

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine, "before_cursor_execute", note)


def test_many_readers_are_looked_up_in_as_many_queries_as_one(story: Story, add_reader: AddReader) -> None:
    reader = add_reader("0")
    with counted(story.database) as for_one:
        story.look(lambda session: profile(session, reader))
    readers = {reader, *(add_reader(str(number)) for number in range(5))}
    with story.database.writing() as session:
        set_capacity(session, reader, capacity=9)
    with counted(story.database) as for_all:
        everybody = story.look(profiles)
    assert len(for_all) == len(for_one) + 1, "who stands beside their facts where there is but one"
    assert {one.reader_id for one in everybody} == readers
    by_id = {one.reader_id: one for one in everybody}
    assert by_id[reader] == story.look(lambda session: profile(session, reader))
    assert (by_id[reader].capacity, by_id[reader].capacity_stat) == (9, 2)
    assert a_term(NOW).valid_until == by_id[reader].licences[0].valid_until


def test_what_is_on_file_of_everybody_is_what_is_on_file_of_each(story: Story, add_reader: AddReader) -> None:
    """Of a whole network hospitals come together, of one reader one by one."""
    sites = [f"hospital-{number}" for number in range(5)]
    with story.database.writing() as session:
        session.add_all(SiteRow(site=site, region="XA", enrolled_at=NOW) for site in sites)
    first, second, third = add_reader("A", sites=sites), add_reader("B", sites=sites[:2]), add_reader("C", sites=())
    with story.database.writing() as session:
        set_group(session, second, group="g")
        set_group(session, third, group="g")
        for number, site in enumerate(sites[1:]):
            terms = AgreementTerms(expires_at=NOW + timedelta(days=number // 2 + 1), pool=number % 2 == 0)
            agree_with_group(session, site=site, group="g", now=NOW, terms=terms)
            privilege(session, third, site=site, now=NOW)
        privilege(session, first, site=sites[0], version=2, now=NOW, until=NOW + timedelta(days=3))
        privilege(session, first, site=sites[1], version=2, now=NOW, until=NOW + timedelta(days=3))
        privilege(session, first, site=sites[2], version=2, now=NOW, studies=(StudyKind.CT_CHEST_ADULT,))
        privilege(session, first, site=sites[3], version=2, now=NOW, granted=False)
    everybody = story.look(profiles)
    assert everybody == [
        story.look(lambda session, one=one: profile(session, one)) for one in sorted((first, second, third))
    ]
    by_id = {one.reader_id: one for one in everybody}
    assert by_id[first].agreements == set(sites)
    assert by_id[first].privileges == set(sites) - {sites[3]}
    assert by_id[first].privilege_ends == dict.fromkeys(sites[:2], NOW + timedelta(days=3))
    assert by_id[first].privilege_studies == {sites[2]: {StudyKind.CT_CHEST_ADULT}}
    assert by_id[third].agreement_ends.keys() == by_id[third].agreements == set(sites[1:])
    assert by_id[third].pools == {sites[1], sites[3]}
    assert by_id[second].agreement_ends.keys() == set(sites[2:])  # an own agreement goes before the group's
