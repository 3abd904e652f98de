"""The federated evaluation of a run: who is asked what, which answers count, that it is asked once and survives deaths."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from safetensors.numpy import save

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.evaluation import EvaluationNotice, EvaluationOrder
from server.evaluation import evaluate_run, evaluation_line, evaluation_of, evaluation_summary, note_of_present
from server.rounds import run_rounds
from server.run import COMPLETED, RunFolder
from strategies.arrays import Arrays, arrays_sha256
from tests.fakes.evaluations import an_evaluated_plan, evaluated_by
from tests.fakes.rounds import RUN, SITES, a_plan, answer_to, weights

NORTH, SOUTH, WEST = SITES


@dataclass
class Sites:
    """The way to the sites; `script` says what one answers instead of an honest word, None for nothing."""

    script: dict[str, EvaluationNotice | Code | None] = field(default_factory=dict)
    gain: int = 0
    asked: list[tuple[EvaluationOrder, str, tuple[str, ...]]] = field(default_factory=list)

    def __call__(
        self, order: EvaluationOrder, candidate: Arrays, sites: tuple[str, ...]
    ) -> Iterator[tuple[str, EvaluationNotice | Code]]:
        self.asked.append((order, arrays_sha256(candidate), sites))
        for site in sites:
            said = self.script.get(site, evaluated_by(order, site, gain=self.gain))
            if said is not None:
                yield site, said


def a_run(folder: Path, *, evaluated: bool = True) -> RunFolder:
    run = RunFolder(folder / "runs" / RUN)
    plan = an_evaluated_plan() if evaluated else a_plan()
    beside = note_of_present("ggo@0", weights()) if evaluated else {}
    run.start(plan, {site: number for number, site in enumerate(SITES, start=11)}, save(weights()), beside)
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return a_run(tmp_path)


def train(run: RunFolder, sites: Sites, codes: dict[str, Code] | None = None) -> None:
    def ask(order, _base, names):  # type: ignore[no-untyped-def]
        yield from ((name, (codes or {}).get(name) or answer_to(order, name)) for name in names)

    run_rounds(run, ask, clock=lambda: 0.0, compare=sites)


def test_the_newest_weights_are_compared_with_the_release_in_use(run: RunFolder) -> None:
    sites = Sites()
    train(run, sites)
    order, sent, asked = sites.asked[0]
    assert sent == order.candidate_sha256 == arrays_sha256(run.latest()[1])
    assert (order.present, order.present_sha256, asked) == ("ggo@0", arrays_sha256(weights()), SITES)
    assert run.outcome() == COMPLETED


def test_what_the_sites_said_and_what_follows_is_on_the_disk(run: RunFolder) -> None:
    train(run, Sites(gain=-60))
    record = evaluation_of(run)
    assert record is not None
    assert [one.site for one in record.notices] == list(SITES)
    assert record.verdict.reason is Code.WORSE_THAN_PRESENT


def test_a_plan_without_an_evaluation_asks_for_none(tmp_path: Path) -> None:
    sites, run = Sites(), a_run(tmp_path, evaluated=False)
    train(run, sites)
    assert (sites.asked, evaluation_of(run), evaluation_summary(run)) == ([], None, None)


def test_a_site_that_refused_to_train_is_asked_to_compare(run: RunFolder) -> None:
    sites = Sites()
    train(run, sites, {WEST: Code.BUDGET_SPENT})
    assert sites.asked[0][2] == SITES


def test_a_refusal_stands_in_the_record_and_the_others_count(run: RunFolder) -> None:
    train(run, Sites({WEST: Code.POLICY_EVALUATION}))
    record = evaluation_of(run)
    assert record is not None
    assert record.refused == {WEST: Code.POLICY_EVALUATION}
    assert (record.verdict.sites, record.verdict.reason) == (2, None)


def test_who_says_nothing_is_late_and_one_answer_promotes_nothing(run: RunFolder) -> None:
    train(run, Sites({WEST: None, SOUTH: None}))
    record = evaluation_of(run)
    assert record is not None
    assert record.refused == {WEST: Code.ROUND_LATE, SOUTH: Code.ROUND_LATE}
    assert record.verdict.reason is Code.EVALUATION_MISSED


@pytest.mark.parametrize(
    "changes",
    [{"run_id": "f" * 32}, {"site": NORTH}, {"candidate_sha256": "0" * 64}, {"present_sha256": "0" * 64}],
    ids=["of another run", "in another's name", "of other weights", "beside another release"],
)
def test_an_answer_that_is_bound_to_something_else_does_not_count(run: RunFolder, changes: dict[str, str]) -> None:
    class Liar(Sites):
        def __call__(self, order, candidate, sites):  # type: ignore[no-untyped-def]
            self.script = {SOUTH: evaluated_by(order, SOUTH, **changes)}
            yield from super().__call__(order, candidate, sites)

    train(run, Liar())
    record = evaluation_of(run)
    assert record is not None
    assert record.refused == {SOUTH: Code.BAD_UPDATE}


def test_a_site_has_one_answer_and_strangers_have_none(run: RunFolder) -> None:
    class Crowd(Sites):
        def __call__(self, order, candidate, sites):  # type: ignore[no-untyped-def]
            yield "stranger", evaluated_by(order, "stranger")
            yield NORTH, evaluated_by(order, NORTH, gain=1)
            yield NORTH, evaluated_by(order, NORTH, gain=99)

    train(run, Crowd())
    record = evaluation_of(run)
    assert record is not None
    assert [(one.site, one.sums[0].gain) for one in record.notices] == [(NORTH, 1)]


def test_a_death_while_it_is_asked_is_made_good_when_the_run_is_taken_up(run: RunFolder) -> None:
    class Dying(Sites):
        def __call__(self, order, candidate, sites):  # type: ignore[no-untyped-def]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, Dying())
    assert (run.outcome(), len(run.records())) == (None, 3)
    train(run, Sites())
    assert (run.outcome(), evaluation_of(run) is not None) == (COMPLETED, True)


def test_it_is_asked_once(run: RunFolder) -> None:
    train(run, Sites())
    sites = Sites()
    evaluate_run(run, sites)
    assert sites.asked == []


def test_a_run_without_its_quorum_is_not_compared(run: RunFolder) -> None:
    sites = Sites()
    train(run, sites, dict.fromkeys(SITES, Code.NODE_ABSENT))
    assert (sites.asked, run.outcome()) == ([], Code.QUORUM_MISSED)


def test_without_a_way_to_the_sites_nothing_is_promoted(run: RunFolder) -> None:
    run_rounds(run, lambda order, _base, names: ((n, answer_to(order, n)) for n in names), clock=lambda: 0.0)
    record = evaluation_of(run)
    assert record is not None
    assert record.verdict.reason is Code.EVALUATION_MISSED


def test_a_damaged_record_is_said_to_be_one(run: RunFolder) -> None:
    (run.path / "evaluation.json").write_text("{")
    with pytest.raises(InvalidInputError, match="damaged"):
        evaluation_of(run)


def test_a_person_reads_how_it_went_in_one_line(run: RunFolder) -> None:
    train(run, Sites({WEST: Code.POLICY_EVALUATION}, gain=-60))
    record = evaluation_of(run)
    assert record is not None
    assert evaluation_line(record) == (
        "evaluation: 2 sites compared, westhill did not (policy-evaluation); -0.030 Dice ± 0.001 against ggo@0; worse: all; "
        "worse-than-present"
    )


def test_the_summary_holds_no_answer_of_a_single_site(run: RunFolder) -> None:
    train(run, Sites({WEST: Code.ROUND_LATE}))
    said = evaluation_summary(run)
    assert said is not None
    assert set(said) == {"present", "sites", "margin", "groups", "reason", "refused"}
    assert said["refused"] == {WEST: Code.ROUND_LATE}
