"""Rotation: what is new gets a new key, what is known keeps its name; nobody is counted twice; a key goes when nothing needs it."""

from pathlib import Path

import pytest

from client.deidentify import ring as ring_module
from client.deidentify.pseudonyms import KEY_FILE, Pseudonyms, load_pseudonyms
from client.deidentify.ring import KeyRing
from client.receive.intake import Intake, Taken, take_bytes
from client.store.database import connect
from client.store.removal import Remover
from client.store.tables import SCHEMA
from protocol.codes import Code
from tests.fakes.ct_series import as_bytes, plain_series, uid
from tests.fakes.hl7_messages import imaging_order, result
from tests.fakes.node_home import Home
from tests.fakes.outcomes import code_of


class Site:
    """A node whose key changes."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.path = self.home.settings.keys / KEY_FILE
        self.ring = KeyRing(self.path, connect(self.home.settings.database, SCHEMA), self.home.clock)

    def rotate(self) -> str:
        self.home.pseudonyms = self.ring.rotate()
        return self.home.pseudonyms.key_id

    def send(self, study: str, patient: str = "PAT-1", slices: int = 2) -> str:
        intake, taken = Intake(self.home.store(), self.home.pseudonyms), list[Taken]()
        for dataset in plain_series(slices=slices, study=study, patient=patient).datasets():
            taken.append(take_bytes(intake, as_bytes(dataset), self.home.settings.home / "spool"))
        (key,) = {one.study_key for one in taken}
        return key or ""

    def subject(self, study_key: str) -> str:
        return self.home.store().study(study_key).subject_key

    def uses(self) -> list[int]:
        return [one.uses for one in self.ring.held()]

    def delete(self, study_key: str) -> None:
        Remover(connect(self.home.settings.database, SCHEMA), self.home.settings, clock=self.home.clock).delete(
            study_key
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_file_of_one_key_is_a_ring_of_one(site: Site) -> None:
    before = load_pseudonyms(site.path)
    assert (before.older, len(before.ring)) == ((), 1)
    assert site.ring.load() == before
    first = before.key_id
    second = site.rotate()
    assert [one.key_id for one in load_pseudonyms(site.path).ring] == [second, first]
    assert len(site.path.read_text().split()) == 2
    assert site.path.stat().st_mode & 0o077 == 0
    assert before.key.hex() not in repr(before)


def test_a_known_study_stays_one_study(site: Site) -> None:
    key = site.send("old")
    site.rotate()
    assert site.send("old") == key, "sent again, it changes nothing"
    assert len(site.home.store().instances(key)) == 2
    assert site.send("old", slices=3) == key, "a late slice belongs to it"
    assert len(site.home.store().instances(key)) == 3
    assert len(site.home.store().studies()) == 1


def test_a_known_patient_stays_one_patient_under_every_later_key(site: Site) -> None:
    old = site.send("old")
    site.rotate()
    new, stranger = site.send("new"), site.send("other", "PAT-2")
    site.rotate()
    newest, again = site.send("newest"), site.send("fourth", "PAT-2")
    assert site.subject(old) == site.subject(new) == site.subject(newest)
    assert site.subject(stranger) == site.subject(again) != site.subject(old)
    names = {site.home.store().study(key).case_id for key in (old, new, newest)}
    under = [
        one.case_id(str(uid(study)))
        for one, study in zip(reversed(site.home.pseudonyms.ring), ("old", "new", "newest"), strict=True)
    ]
    assert names == set(under), "each study is known to the centre under the key of its own time"


def test_a_withdrawn_patient_stays_withdrawn(site: Site) -> None:
    old = site.send("old")
    site.home.store().labels.withdraw_subject(old)
    site.delete(old)
    site.rotate()
    assert [site.subject(site.send("new"))] == site.home.store().labels.withdrawn_subjects()


def test_what_was_said_before_a_rotation_is_found_after_it_and_the_other_way_round(site: Site) -> None:
    site.home.desk().hear_hl7(imaging_order())
    site.home.desk().hear_hl7(result())
    site.rotate()
    new = site.send("new")
    kinds = {one.kind.value for one in site.home.context().about(new).heard}
    assert kinds == {"care-setting", "question", "pcr", "sex", "birth-date"}
    site.home.clock.now += 10
    site.home.desk().hear_hl7(result("260415000", state="C", control="MSG-2"))
    tests = [one.value for one in site.home.context().about(new).heard if one.kind.value == "pcr"]
    assert tests == ["negative"], "a correction under the new key finds what came under the old"


def test_a_deleted_study_is_refused_under_a_later_key_too(site: Site) -> None:
    old = site.send("old")
    site.delete(old)
    site.rotate()
    assert site.send("old") == ""
    assert site.home.store().studies() == []


def test_a_key_is_retired_only_when_nothing_needs_it(site: Site) -> None:
    first = load_pseudonyms(site.path).key_id
    old = site.send("old")
    second = site.rotate()
    new = site.send("new", "PAT-2")
    assert site.uses() == [2, 2]
    assert code_of(lambda: site.ring.retire(second)) is Code.ILLEGAL_TRANSITION
    assert code_of(lambda: site.ring.retire("unknown")) is Code.NOT_FOUND
    assert code_of(lambda: site.ring.retire(first)) is Code.ILLEGAL_TRANSITION
    site.delete(old)
    assert code_of(lambda: site.ring.retire(first)) is Code.ILLEGAL_TRANSITION, "the deletion is known by it"
    site.ring.retire(first, forget=True)
    assert [one.key_id for one in site.ring.held()] == [second]
    assert site.home.store().study(new).study_key == new


def test_an_older_key_file_from_a_backup_is_noticed(site: Site) -> None:
    backup = site.path.read_bytes()
    site.rotate()
    newest = site.path.read_bytes()
    site.path.write_bytes(backup)
    assert code_of(site.ring.load) is Code.MISSING_CERTIFICATE
    site.path.write_bytes(newest)
    assert len(site.ring.load().ring) == 2


def test_an_older_database_from_a_backup_works_with_the_newer_ring(site: Site) -> None:
    key = site.send("old")
    copy = connect(site.home.settings.home / "copy.db")
    site.home.store()._connection.backup(copy)
    site.rotate()
    copy.backup(site.home.store()._connection)
    assert site.send("old") == key
    assert site.uses() == [0, 2], "names without a note are the oldest key's"


@pytest.mark.parametrize("step", ["settle_names", "save_pseudonyms", "after the file"])
def test_killed_at_any_step_a_rotation_leaves_a_ring_that_works(
    site: Site, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = site.send("old")

    def die(*given: object) -> None:
        if step == "after the file":
            real(*given)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    real = ring_module.save_pseudonyms
    monkeypatch.setattr(ring_module, "settle_names" if step == "settle_names" else "save_pseudonyms", die)
    with pytest.raises(KeyboardInterrupt):
        site.ring.rotate()
    monkeypatch.undo()
    site.home.pseudonyms = site.ring.load()
    assert site.send("old") == key
    site.rotate()
    assert site.send("old") == key
    assert site.uses()[-1] == 2


def test_killed_while_a_key_is_retired_it_can_be_retired_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_pseudonyms(site.path).key_id
    site.rotate()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ring_module, "save_pseudonyms", die)
    with pytest.raises(KeyboardInterrupt):
        site.ring.retire(first)
    monkeypatch.undo()
    assert len(site.ring.load().ring) == 2
    site.ring.retire(first)
    assert len(site.ring.load().ring) == 1


def test_a_damaged_line_is_no_key(site: Site) -> None:
    site.rotate()
    site.path.write_text(site.path.read_text().replace("\n", "\nabcd\n", 1))
    assert code_of(site.ring.load) is Code.MISSING_CERTIFICATE


def test_exports_use_the_newest_key_alone() -> None:
    old = Pseudonyms(b"1" * 32)
    rotated = Pseudonyms(b"2" * 32, (b"1" * 32,))
    assert rotated.uid("1.2.3") == Pseudonyms(b"2" * 32).uid("1.2.3") != old.uid("1.2.3")
    assert rotated.ring[1].shift_days("PAT-1") == old.shift_days("PAT-1")
