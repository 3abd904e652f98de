"""The watch over a release: a study at a time, every mask once, one word when it changes, and nothing where the site shares none."""

from pathlib import Path

import pytest

from client.gate.policy import Clearance, Refusal, SharingPolicy, SitePolicy, TrainingPolicy, Verdict
from client.store.monitoring import MonitorBook
from client.store.records import HeldOutCase, MaskLabel, ScanInput, TrainingCase
from client.train.monitor import LOOK_SECONDS, TELL_SECONDS, Monitor
from client.train.standing import Releases
from protocol.codes import Code
from protocol.errors import UnavailableError
from protocol.parcel import Parcel
from protocol.standing import ReleaseStanding, Standing
from tests.fakes.node_home import Clock, Home

NOWHERE = Path("/nowhere")


def case(study: int, mask: str = "a") -> HeldOutCase:
    label = MaskLabel(NOWHERE, mask * 64)
    return HeldOutCase(
        TrainingCase(subject_key=f"subject-{study}", study_key=f"study-{study}", volume_path=NOWHERE, lungs_path=NOWHERE, label=label),
        "", "", "",
    )  # fmt: skip


class Node:
    """A monitor over a real book; `lead` is by how much the release in use does better than the one before."""

    def __init__(self, folder: Path) -> None:
        home = Home(folder / "home")
        self.clock: Clock = home.clock
        store = home.store()
        for at in range(3):
            row = (f"study-{at}", f"subject-{at}", f"case{at}", "measured", None, 1, 0, "grid", float(at), float(at))
            store._connection.execute("INSERT INTO study VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        self.store = store
        self.book = MonitorBook(store._connection, self.clock)
        self.cases = [case(at) for at in range(3)]
        self.in_use = Releases("ggo@2", "ggo@2", "ggo@1")
        self.lead = 0.0
        self.scored: list[tuple[str, str]] = []
        self.sent: list[Parcel] = []
        self.verdict: Verdict = Clearance()
        self.damaged: set[str] = set()
        self.policy = SitePolicy(training=TrainingPolicy(minimum_held_out=3), sharing=SharingPolicy(standing=True))
        self.monitor = Monitor(
            book=self.book, releases=lambda: self.in_use, cases=lambda: self.cases, score=self.score,
            policy=lambda: self.policy, submit=self.submit,
        )  # fmt: skip

    def score(self, release: str, one: HeldOutCase) -> float:
        if one.case.study_key in self.damaged:
            raise UnavailableError(Code.NODE_FAULT)
        self.scored.append((release, one.case.study_key))
        return 0.5 + (self.lead if release == self.in_use.used else 0.0)

    def submit(self, parcel: Parcel) -> Verdict:
        self.sent.append(parcel)
        return self.verdict

    def work(self, steps: int = 12) -> None:
        for _ in range(steps):
            self.monitor.step()

    def later(self, seconds: float) -> None:
        self.clock.now += seconds
        self.work()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_one_study_is_scored_in_a_step(node: Node) -> None:
    node.monitor.step()
    assert node.scored == [("ggo@2", "study-0")]


def test_every_study_is_scored_with_both_releases_once(node: Node) -> None:
    node.work()
    node.later(LOOK_SECONDS)
    assert sorted(node.scored) == sorted((release, f"study-{at}") for release in ("ggo@1", "ggo@2") for at in range(3))


def test_the_word_leaves_when_all_is_scored(node: Node) -> None:
    node.work(6)
    assert node.sent == []
    node.work(1)
    assert node.sent == [ReleaseStanding(release="ggo@2", standing=Standing.STEADY, version=1)]


def test_the_same_word_leaves_once(node: Node) -> None:
    node.work()
    node.later(3 * TELL_SECONDS)
    assert len(node.sent) == 1


def test_another_word_leaves_after_a_day_under_a_higher_version(node: Node) -> None:
    node.work()
    node.cases, node.lead = [case(at, "b") for at in range(3)], -0.2
    node.later(LOOK_SECONDS)
    assert len(node.sent) == 1
    node.later(TELL_SECONDS)
    assert node.sent[1:] == [ReleaseStanding(release="ggo@2", standing=Standing.WORSE, version=2)]


def test_a_new_release_has_a_word_of_its_own_at_once(node: Node) -> None:
    node.work()
    node.in_use = Releases("ggo@3", "ggo@3", "ggo@2")
    node.later(LOOK_SECONDS)
    assert node.sent[1:] == [ReleaseStanding(release="ggo@3", standing=Standing.STEADY, version=2)]


def test_a_release_that_does_not_verify_is_told_and_not_scored(node: Node) -> None:
    node.in_use = Releases("ggo@3", "ggo@2", "ggo@1")
    node.work()
    assert node.sent == [ReleaseStanding(release="ggo@3", standing=Standing.REFUSED, version=1)]
    assert {release for release, _ in node.scored} == {"ggo@2", "ggo@1"}
    assert node.book.scores("ggo@3") == {}
    node.in_use = Releases("ggo@3", "ggo@3", "ggo@2")
    node.later(TELL_SECONDS)
    assert node.sent[1:] == [ReleaseStanding(release="ggo@3", standing=Standing.STEADY, version=2)]


def test_nothing_asks_to_leave_where_the_site_shares_none_and_the_figures_are_there(node: Node) -> None:
    node.policy = node.policy.model_copy(update={"sharing": SharingPolicy()})
    node.work()
    assert (node.sent, len(node.book.scores("ggo@2"))) == ([], 3)


def test_a_word_that_the_gate_refused_counts_as_not_told(node: Node) -> None:
    node.verdict = Refusal(code=Code.POLICY_SHARING)
    node.work()
    assert node.book.told() is None


def test_few_held_out_patients_have_no_word(node: Node) -> None:
    node.cases = node.cases[:2]
    node.work()
    assert node.sent == []


def test_a_damaged_study_does_not_stop_the_others(node: Node) -> None:
    node.damaged = {"study-0"}
    node.work()
    assert {study for _, study in node.scored} == {"study-1", "study-2"}
    assert node.book.scores("ggo@2")["study-0", "a" * 64] is None


def test_a_new_mask_takes_the_place_of_the_score_of_the_one_before(node: Node) -> None:
    node.work()
    node.cases[0] = case(0, "b")
    node.later(LOOK_SECONDS)
    keys = set(node.book.scores("ggo@2"))
    assert ("study-0", "b" * 64) in keys
    assert ("study-0", "a" * 64) not in keys


def test_a_score_of_a_study_that_is_gone_is_not_kept(node: Node) -> None:
    node.book.keep_score("ggo@2", ("nobody", "a" * 64), 0.5)
    assert node.book.scores("ggo@2") == {}


def test_only_both_ends_of_the_studies_are_read(node: Node) -> None:
    for at in range(3):
        node.store.findings.note_input(f"study-{at}", ScanInput("SIEMENS", float(at), -800.0))
        row = (f"study-{at}", "ggo@0", '{"quality": ["contrast"]}', "", 1, None, 1.0)
        node.store._connection.execute("INSERT INTO finding VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    assert [one.slice_mm for one in node.book.measured(first=1, last=1)] == [0.0, 2.0]
    assert [one.slice_mm for one in node.book.measured(first=2, last=9)] == [0.0, 1.0, 2.0]
    assert {one.flags for one in node.book.measured(first=1, last=0)} == {frozenset({"contrast"})}
