"""Lists on the page: filtered, sorted, paged; a study measured again; labels decided on. Of a patient nothing."""

from datetime import UTC, datetime

import pytest

from client.console import views
from client.staff.roles import Role
from client.store.records import Loss, SignedScores, StudyState
from protocol.plan import LabelUse
from tests.unit.client.console.conftest import Staff


def many(staff: Staff, count: int) -> None:
    rows = [
        (f"{at:032x}", "s", "c", ("measured", "received")[at % 2], None, 1, 0, "grid", float(at), float(at)) for at in range(count)
    ]  # fmt: skip
    staff.store._connection.executemany("INSERT INTO study VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


@pytest.fixture
def doctor(stranger: Staff) -> Staff:
    """A radiologist is logged in; one study is measured and labelled."""
    key = stranger.receive("labelled")
    stranger.measure(key)
    loss = Loss(dice=0.934, volume_ratio=1.02, outside_fraction=0.0)
    stranger.store.labels.keep_mask(key, grid="grid", source="radiology", sha256="a" * 64, loss=loss)
    stranger.hire("rita", Role.RADIOLOGIST)
    stranger.enter("rita")
    return stranger


def the_key(staff: Staff) -> str:
    return staff.store.studies()[0].study_key


def test_studies_come_in_pages_that_keep_the_question(staff: Staff) -> None:
    many(staff, 230)
    shown = staff.get("/studies?state=received&order=oldest").text
    assert shown.count('href="/studies/0') == 50
    assert "Page 1 of 3 · 115 in all" in shown
    assert 'href="/studies?state=received&amp;order=oldest&amp;page=2"' in shown
    assert staff.get("/studies?state=received&page=3").text.count('href="/studies/0') == 15
    assert "No study is like that" in staff.get("/studies?page=99").text


def test_filters_show_what_they_were_asked(staff: Staff) -> None:
    key = staff.receive("one")
    staff.measure(key)
    staff.refuse(staff.receive("two"))
    for question, found in (
        ("state=measured", True), ("state=refused", False), ("band=moderate", True), ("band=mild", False), ("flagged=true", True),
        ("least=12.3", True), ("least=12,4", False), (f"key={key[:6]}", True), ("key=ffffffffff", False), ("order=most-ground-glass", True),
    ):  # fmt: skip
        assert (f"/studies/{key}" in staff.get(f"/studies?{question}").text) == found, question
    assert '<option value="moderate" selected>' in staff.get("/studies?band=moderate").text


@pytest.mark.parametrize("question", ["state=x", "page=0", "page=x", "order=random", "least=101", "key=..", "band=x"])
def test_other_questions_are_refused(staff: Staff, question: str) -> None:
    assert staff.get(f"/studies?{question}").status_code == 422


def test_a_refused_study_says_what_to_do(staff: Staff) -> None:
    key = staff.receive("one")
    staff.refuse(key)
    shown = staff.get(f"/studies/{key}").text
    assert "The image is a localizer (scout), not a cross-section." in shown
    assert "Send the series of cross-sections." in shown


def test_a_study_is_measured_again_on_demand(doctor: Staff) -> None:
    key = the_key(doctor)
    assert doctor.send(f"/studies/{key}/remeasure").headers["Location"] == f"/studies/{key}"
    assert doctor.store.study(key).state is StudyState.RECEIVED
    assert [study.study_key for study in doctor.store.due(0.0)] == [key]
    assert "waits to be measured" in doctor.get(f"/studies/{key}").text
    event = [row for row in doctor.audit.rows() if row.event == "study.reopened"]
    assert [row.subject for row in event] == [f"{doctor.accounts.named('rita').account_id}:{key}"]


def proposed(staff: Staff) -> str:
    """A draft as the worker makes it of a mask that came by a door; return its hash."""
    key, sha256, spooled = staff.receive("drawn"), "b" * 64, staff.home.settings.home / "seg"
    staff.measure(key)
    spooled.write_bytes(b"a SEG")
    staff.store.drawn.keep(key, spooled, sha256)
    (mask,) = staff.store.drawn.unseen()
    staff.store.drawn.propose(mask, author="Rita <b>Example</b>", ground_glass_ml=12.34, consolidation_ml=0.0)
    return sha256


def test_a_draft_is_shown_with_what_it_says_of_itself_and_approved(doctor: Staff) -> None:
    sha256 = proposed(doctor)
    shown = doctor.get("/labels").text
    for said in ("Drafts", "Rita &lt;b&gt;Example&lt;/b&gt;", "12.3 ml", "no mask"):
        assert said in shown
    assert doctor.send(f"/labels/drafts/{sha256}/approve").status_code == 303
    assert "Drafts" not in doctor.get("/labels").text
    assert [mask.sha256 for mask in doctor.store.drawn.waiting()] == [sha256]
    assert [row.event for row in doctor.audit.rows()][-1] == "label.approved"


def test_who_may_decide_on_drafts_is_told_of_them_on_the_first_page(doctor: Staff) -> None:
    assert "drawn elsewhere" not in doctor.get("/").text
    proposed(doctor)
    assert "1 mask that was drawn elsewhere waits for your word" in doctor.get("/").text
    doctor.hire("vera", Role.VIEWER)
    other = doctor.another()
    other.enter("vera")
    assert "drawn elsewhere" not in other.get("/").text


def test_a_draft_is_discarded(doctor: Staff) -> None:
    sha256 = proposed(doctor)
    assert doctor.send(f"/labels/drafts/{sha256}/discard").status_code == 303
    assert (doctor.store.drawn.drafts(), doctor.store.drawn.waiting()) == ([], [])
    assert [row.event for row in doctor.audit.rows()][-1] == "label.discarded"
    assert doctor.send(f"/labels/drafts/{sha256}/approve").status_code == 404


def test_labels_are_listed_with_source_grid_state_and_loss(doctor: Staff) -> None:
    shown = doctor.get("/labels").text
    for said in ("1 labelled studies", "0 held out", "radiology", "trained on", "overlap 0.934", the_key(doctor)[:10]):
        assert said in shown
    assert "overlap 0.934" in doctor.get(f"/studies/{the_key(doctor)}").text


def test_a_radiologist_holds_out_and_takes_in(doctor: Staff) -> None:
    key = the_key(doctor)
    doctor.send(f"/labels/{key}/hold-out")
    assert doctor.store.labels.training_cases(LabelUse.MASKS) == []
    assert "held out" in doctor.get("/labels").text
    doctor.send(f"/labels/{key}/take-in")
    assert len(doctor.store.labels.training_cases(LabelUse.MASKS)) == 1
    who = doctor.accounts.named("rita").account_id
    rows = [(row.event, row.subject) for row in doctor.audit.rows() if row.event.startswith("label")]
    assert rows == [("label.held-out", f"{who}:{key}"), ("label.taken-in", f"{who}:{key}")]


def test_a_withdrawal_is_asked_for_twice(doctor: Staff) -> None:
    key = the_key(doctor)
    assert doctor.send(f"/labels/{key}/withdraw").status_code == 422
    assert doctor.store.labels.withdrawn_subjects() == []
    assert doctor.send(f"/labels/{key}/withdraw", sure="true").status_code == 303
    assert doctor.store.labels.withdrawn_subjects() == [doctor.store.study(key).subject_key]
    assert "withdrawn" in doctor.get("/labels").text


def test_a_study_that_is_not_there_changes_nothing(doctor: Staff) -> None:
    for act in ("hold-out", "take-in", "withdraw"):
        assert doctor.send(f"/labels/{'0' * 32}/{act}", sure="true").status_code == 404
    assert doctor.send(f"/studies/{'0' * 32}/remeasure").status_code == 404


def test_the_audit_is_paged(staff: Staff) -> None:
    for _ in range(60):
        staff.audit.append("bundle.judged", "-", "clear")
    assert "Page 1 of 2 · 61 in all" in staff.get("/network").text
    assert "staff.entered" in staff.get("/network?page=2").text


def scored(staff: Staff, key: str) -> None:
    scores = SignedScores(
        study_key=key,
        reader_id="c" * 32,
        points=((3, 2), (2, 1), (0, 1)),
        reported_at=2_000_000.0,
        signed_at=2_000_000.0,
    )
    assert staff.store.labels.keep_scores(scores)


def allow(staff: Staff, labels: str) -> None:
    staff.home.settings.policy.write_text(f'[training]\nallowed = true\nlabels = "{labels}"\n')


def test_zone_scores_are_listed_with_reader_points_and_release(doctor: Staff) -> None:
    key = doctor.receive("read")
    doctor.measure(key)
    scored(doctor, key)
    allow(doctor, "masks-and-zone-scores")
    shown = doctor.get("/labels").text
    for said in (
        "2 labelled studies, 1 of them by a reader",
        "zone scores",
        "reader cccccccccc",
        "right 0·2·3, left 1·1·2",
        "placed by ggo@0",
    ):
        assert said in shown
    assert "keeps training to masks" not in shown
    assert "right 0·2·3, left 1·1·2" in doctor.get(f"/studies/{key}").text


def test_the_page_says_when_the_policy_leaves_zone_scores_out(doctor: Staff) -> None:
    key = doctor.receive("read")
    doctor.measure(key)
    scored(doctor, key)
    allow(doctor, "masks")
    shown = doctor.get("/labels").text
    assert "keeps training to masks" in shown
    assert "not allowed" in shown


def test_zone_scores_behind_a_mask_say_so_and_need_no_decision(doctor: Staff) -> None:
    scored(doctor, the_key(doctor))
    shown = doctor.get("/labels").text
    assert "mask counts" in shown
    assert shown.count("/hold-out") == 1


def test_zone_scores_are_held_out_on_the_page(doctor: Staff) -> None:
    key = doctor.receive("read")
    doctor.measure(key)
    scored(doctor, key)
    doctor.send(f"/labels/{key}/hold-out")
    cases = doctor.store.labels.training_cases(LabelUse.MASKS_AND_ZONE_SCORES)
    assert key not in {case.study_key for case in cases}


def test_a_moment_of_another_year_says_which(staff: Staff) -> None:
    assert " 1970 " in views.local(1_000_000.0)
    assert str(datetime.now(UTC).year) not in views.local(datetime.now(UTC).timestamp())


def test_charges_are_told_in_the_sites_own_time(staff: Staff) -> None:
    staff.spend()
    shown = staff.get("/ledger").text
    (charge,) = staff.ward.spent().charges
    assert views.local(datetime.fromisoformat(charge.charged_at).timestamp()) in shown
    assert charge.charged_at not in shown


def test_the_form_names_each_field(doctor: Staff) -> None:
    shown = doctor.get(f"/studies/{the_key(doctor)}").text
    for name in ("pcr", "pcr_date", "care_setting", "sex", "age", "clinical_question"):
        assert f'<label for="{name}">' in shown
        assert f'id="{name}" name="{name}"' in shown
