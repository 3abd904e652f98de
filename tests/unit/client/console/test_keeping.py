"""On the page: what a person says of a study, and a study that goes for good."""

import pytest

from client.staff.roles import Role
from client.store.facts import Source
from tests.unit.client.console.conftest import Staff


@pytest.fixture
def doctor(stranger: Staff) -> Staff:
    stranger.receive("one")
    stranger.receive("two")
    stranger.hire("rita", Role.RADIOLOGIST)
    stranger.enter("rita")
    return stranger


def keys(staff: Staff) -> list[str]:
    return [study.study_key for study in staff.store.studies()]


def test_what_a_person_says_is_kept_and_audited_without_its_words(doctor: Staff) -> None:
    key = keys(doctor)[0]
    answer = doctor.send(
        f"/studies/{key}/context", pcr="negative", care_setting="", clinical_question="<b>CANARY</b> asks"
    )
    assert answer.headers["Location"] == f"/studies/{key}"
    heard = doctor.home.context().about(key).heard
    assert {(one.kind.value, one.value, one.source) for one in heard} == {
        ("pcr", "negative", Source.STAFF), ("question", "<b>CANARY</b> asks", Source.STAFF),
    }  # fmt: skip
    rows = [row for row in doctor.audit.newest() if row.event == "context.said"]
    assert len(rows) == 1
    assert "CANARY" not in str(rows)


@pytest.mark.parametrize("fields", [{}, {"pcr": "CANARY"}, {"age": "999"}, {"pcr": "positive", "pcr_date": "CANARY"}])
def test_what_cannot_be_understood_is_refused_and_not_repeated(doctor: Staff, fields: dict[str, str]) -> None:
    key = keys(doctor)[0]
    answer = doctor.send(f"/studies/{key}/context", **fields)
    assert answer.status_code == 422
    assert "CANARY" not in answer.text
    assert doctor.home.context().about(key).heard == ()


def test_what_counts_is_shown_and_escaped(doctor: Staff) -> None:
    key = keys(doctor)[0]
    doctor.measure(key)
    doctor.send(f"/studies/{key}/context", pcr="positive", clinical_question="<b>asks</b>")
    doctor.store._connection.execute("UPDATE finding SET record = ''")
    doctor.home.surroundings().revise(doctor.store)
    shown = doctor.get(f"/studies/{key}").text
    assert "&lt;b&gt;asks&lt;/b&gt;" in shown
    assert 'positive <span class="faint">by staff</span>' in shown


def test_a_study_goes_only_when_a_person_is_sure(doctor: Staff) -> None:
    key = doctor.receive("one")  # known already: nothing changes but that we learn its key
    (other,) = {*keys(doctor)} - {key}
    assert doctor.send(f"/studies/{key}/delete").status_code == 422
    assert len(keys(doctor)) == 2
    assert doctor.send(f"/studies/{key}/delete", sure="true").headers["Location"] == "/studies"
    assert keys(doctor) == [other]
    assert doctor.receive("one") == "None", "it is refused when it is sent again"


def test_all_of_a_patient_goes_at_once(doctor: Staff) -> None:
    key = keys(doctor)[0]
    doctor.send(f"/studies/{key}/delete", sure="true", patient="true")
    assert keys(doctor) == []
    assert sum(row.event == "study.deleted" for row in doctor.audit.newest()) == 2


def test_a_study_that_is_being_read_stays(doctor: Staff) -> None:
    key = keys(doctor)[0]
    doctor.post_read(key)
    assert doctor.send(f"/studies/{key}/delete", sure="true").status_code == 409
    assert key in keys(doctor)
