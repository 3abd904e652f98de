"""A node watches its release with its own network, store and shelf; `status` shows the figures, and one word leaves where that is allowed."""

import gzip
import json
from pathlib import Path

import pytest

from client.commands.network import _release_lines
from client.rooms.border import open_gate
from client.rooms.state import release_state
from client.rooms.training import open_monitor
from client.store.records import Finding, ScanInput
from client.store.results import CT, LUNGS
from client.train.monitor import Monitor
from tests.fakes.labelled import labelled_study
from tests.fakes.node_home import Home

POLICY = "[training]\nminimum_held_out = 2\n[sharing]\nstanding = {}\n"


class Hospital:
    """Two measured studies of two patients, both held out, and the shipped release in use."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.store = self.home.store()
        self.share("true")
        for number in (1, 2):
            self._measured(labelled_study(folder / "drawn", number, number), f"study-{number}")

    def _measured(self, case, key: str) -> None:  # type: ignore[no-untyped-def]
        row = (key, case.subject_key, f"case-{key}", "received", None, 1, 0, None, 1.0, 1.0)
        self.store._connection.execute("INSERT INTO study VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        folder = self.store.folder(key)
        folder.mkdir(parents=True)
        for name, source in ((CT, case.volume_path), (LUNGS, case.lungs_path)):
            (folder / name).write_bytes(source.read_bytes())
        finding = Finding(
            study_key=key, model_release="ggo@0", document=json.dumps({"quality": []}), record="", version=1, verdict=None,
            measured_at=1.0,
        )  # fmt: skip
        assert self.store.findings.settle_measured(self.store.study(key), finding, "grid")
        self.store.findings.note_input(key, ScanInput("SIEMENS", 8.0, -800.0))
        self.home.settings.labels.mkdir(exist_ok=True)
        mask = gzip.decompress(case.label.path.read_bytes())
        self.store.labels.place(key, case.label.sha256).write_bytes(gzip.compress(mask))
        self.store.labels.keep_mask(key, grid="grid", source="radiology", sha256=case.label.sha256, held_out=True)

    def share(self, word: str) -> None:
        self.home.settings.policy.write_text(POLICY.format(word), encoding="utf-8")

    def monitor(self) -> Monitor:
        return open_monitor(self.home.settings, open_gate(self.home.settings))

    def left(self) -> list[dict[str, object]]:
        waiting = open_gate(self.home.settings).outbox.waiting()
        return [json.loads(one.body) for one in waiting]


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def test_figures_stay_and_a_word_leaves(hospital: Hospital) -> None:
    before = release_state(hospital.home.settings)
    assert (before["release"], before["patients"], before["standing"], before["told"]) == ("ggo@0", 0, None, None)
    monitor = hospital.monitor()
    for _ in range(3):  # two studies of one release, which is also the one before; then the look
        monitor.step()
    after = release_state(hospital.home.settings)
    assert (after["patients"], after["change"], after["standing"], after["told"]) == (2, 0.0, "steady", "steady")
    assert 0 < after["score"] <= 1
    word = {"kind": "release-standing", "release": "ggo@0", "standing": "steady", "version": 1}
    assert hospital.left() == [word]
    (line,) = _release_lines(after)
    assert line == f"model     ggo@0: steady; Dice {after['score']:.3f} on 2 held-out patients"


def test_where_the_site_shares_none_the_figures_are_there_and_nothing_leaves(hospital: Hospital) -> None:
    hospital.share("false")
    monitor = hospital.monitor()
    for _ in range(3):
        monitor.step()
    state = release_state(hospital.home.settings)
    assert (state["patients"], state["standing"], state["told"]) == (2, "steady", None)
    assert hospital.left() == []
    assert list(open_gate(hospital.home.settings).audit.rows()) == []


def test_a_policy_that_cannot_be_read_hides_no_status(hospital: Hospital) -> None:
    hospital.home.settings.policy.write_text("[training\n", encoding="utf-8")
    assert release_state(hospital.home.settings)["release"] == "ggo@0"


def test_a_person_reads_what_changed() -> None:
    state = {
        "taken": "ggo@2", "release": "ggo@2", "before": "ggo@1", "standing": "watch", "patients": 20, "score": 0.5, "change": -0.03,
        "drifts": [{"figure": "maker", "changed": True}, {"figure": "low-dose", "changed": False}],
    }  # fmt: skip
    assert _release_lines(state) == [
        "model     ggo@2: watch; Dice 0.500 on 20 held-out patients, -0.030 against ggo@1",
        "scans     other than at first: maker",
    ]
    refused = state | {"taken": "ggo@3", "standing": "refused", "drifts": []}
    (line,) = _release_lines(refused)
    assert line.startswith("model     ggo@3: refused, ggo@2 is in use; Dice 0.500")
