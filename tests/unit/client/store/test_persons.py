"""One person for training, whatever their headers call them: equal numbers are never two, withdrawn is withdrawn under every name."""

from pathlib import Path

import pytest

from client.deidentify.ring import KeyRing
from client.receive.intake import Intake, take_bytes
from client.store.database import connect
from client.store.labelling import Labelling
from client.store.monitoring import MonitorBook
from client.store.records import ScanInput
from client.store.removal import Remover
from client.store.studies import StudyStore
from client.store.tables import SCHEMA
from client.train.cohort import Cohort
from client.train.heldout import held_out_patients
from protocol.plan import LabelUse
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.node_home import Home

HASH = "a" * 64


class Site:
    """A node that takes studies in, measures and labels them."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.store: StudyStore = self.home.store()
        self.connection = connect(self.home.settings.database, SCHEMA)
        self.cohort = Cohort(folder / "prepared", lambda _release: None)  # type: ignore[arg-type,return-value] # nothing is prepared

    def send(self, study: str, patient: str = "PAT-1", issuer: str = "", *, at: int = 0) -> str:
        """Take one instance of a study in; what it is measured as does not matter here."""
        self.home.clock.now += 1
        dataset = plain_series(at + 1, study=study, patient=patient, header={"IssuerOfPatientID": issuer}).dataset(at)
        intake = Intake(self.home.store(), self.home.pseudonyms)
        key = take_bytes(intake, as_bytes(dataset), self.home.settings.home / "spool").study_key or ""
        self.connection.execute("UPDATE study SET state = 'measured', grid = 'grid' WHERE study_key = ?", (key,))
        return key

    def label(self, *keys: str, held_out: bool = False) -> None:
        for key in keys:
            self.store.labels.keep_mask(key, grid="grid", source="radiology", sha256=HASH, held_out=held_out)

    def delete(self, key: str) -> None:
        Remover(self.connection, self.home.settings, clock=self.home.clock).delete(key)

    def patients(self) -> list[int]:
        """How many studies each patient has who may be trained on."""
        cases = self.store.labels.training_cases(LabelUse.MASKS_AND_ZONE_SCORES)
        return sorted(len(patient.studies) for patient in self.cohort.patients(cases))

    def held_out(self) -> list[int]:
        found = held_out_patients(self.store.labels.held_out_cases(), self.cohort.patients)
        return sorted(len(one.patient.studies) for one in found)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_number_with_and_without_its_issuer_is_one_patient(site: Site) -> None:
    """A PACS adds the issuer that a scanner leaves away: sampled as two, such a patient would count twice in one step."""
    site.label(site.send("scanner"), site.send("pacs", issuer="HOSPITAL"), site.send("another", "PAT-2"))
    assert site.patients() == [1, 2]


def test_so_is_one_whose_issuer_is_called_by_two_names(site: Site) -> None:
    site.label(site.send("old", issuer="HOSPITAL"), site.send("new", issuer="1.2.276.0.99"))
    assert site.patients() == [2]


def test_a_study_that_came_under_two_numbers_joins_them(site: Site) -> None:
    """As after two records of a patient were merged at the hospital, and a late slice came under the number that is left."""
    first, second = site.send("first", "OLD-1"), site.send("second", "NEW-1")
    site.label(first, second)
    assert site.patients() == [1, 1]
    assert site.send("first", "NEW-1", at=1) == first
    assert site.patients() == [2]


def test_a_number_stays_one_after_a_rotation_of_the_key(site: Site) -> None:
    site.label(site.send("before", issuer="HOSPITAL"))
    ring = KeyRing(site.home.settings.keys / "pseudonym.key", site.connection, site.home.clock)
    site.home.pseudonyms = ring.rotate()
    site.label(site.send("after"))
    assert site.patients() == [2]


def test_who_withdraws_does_so_under_every_name(site: Site) -> None:
    first, second, other = site.send("scanner"), site.send("pacs", issuer="HOSPITAL"), site.send("another", "PAT-2")
    site.label(first, second, other)
    site.store.labels.withdraw_subject(first)
    assert site.patients() == [1]
    shown = {one.study_key: one.withdrawn for one in Labelling(site.connection).all()}
    assert shown == {first: True, second: True, other: False}
    assert Labelling(site.connection).counts()["withdrawn"] == 2
    site.label(site.send("later", issuer="1.2.276.0.99"))
    assert site.patients() == [1]


def test_and_stays_withdrawn_when_the_studies_that_show_it_are_gone(site: Site) -> None:
    first = site.send("scanner")
    site.label(first)
    site.store.labels.withdraw_subject(first)
    site.delete(first)
    site.label(site.send("pacs", issuer="HOSPITAL"))
    assert site.patients() == []


def test_who_withdrew_is_found_without_reading_every_study(site: Site) -> None:
    """Training asks after each step; in another order of joins a thousand withdrawals among thousands of studies took minutes."""
    plan = site.connection.execute("EXPLAIN QUERY PLAN SELECT subject_key FROM withdrawn_person").fetchall()
    whole = {row["detail"].split()[1] for row in plan if row["detail"].startswith("SCAN")}
    assert whole == {"gone", "withdrawn_subject", "withdrawn_number"}
    assert not [row["detail"] for row in plan if "AUTOMATIC" in row["detail"]]


def test_a_deleted_study_of_nobody_who_withdrew_keeps_nobody_out(site: Site) -> None:
    site.delete(site.send("scanner"))
    site.label(site.send("pacs", issuer="HOSPITAL"))
    assert site.patients() == [1]


def test_held_out_is_one_patient_too_and_nobody_who_may_be_trained_on(site: Site) -> None:
    first, second = site.send("scanner"), site.send("pacs", issuer="HOSPITAL")
    site.label(first, second, held_out=True)
    assert site.held_out() == [2]
    site.label(second)
    assert (site.held_out(), site.patients()) == ([], [1])


def test_the_newest_study_of_a_person_says_which_groups_they_are_in(site: Site) -> None:
    first, second = site.send("scanner"), site.send("pacs", issuer="HOSPITAL")
    site.label(first, second, held_out=True)
    assert [one.case.study_key for one in site.store.labels.held_out_cases()] == [first, second]


def test_scans_of_who_withdrew_say_no_more_how_scans_have_changed(site: Site) -> None:
    first, second = site.send("scanner"), site.send("another", "PAT-2")
    for key, maker in ((first, "SIEMENS"), (second, "GE")):
        site.store.findings.note_input(key, ScanInput(maker, 1.0, -820.0))
        site.connection.execute("INSERT INTO finding VALUES (?, 'ggo@0', '{}', '', 1, NULL, 1.0)", (key,))
    book = MonitorBook(site.connection, site.home.clock)
    assert [one.maker for one in book.measured(first=5, last=5)] == ["SIEMENS", "GE"]
    site.store.labels.withdraw_subject(first)
    assert [one.maker for one in book.measured(first=5, last=5)] == ["GE"]
