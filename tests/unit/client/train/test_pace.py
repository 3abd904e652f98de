"""Answers leave at their public moment, whatever was done before it and whichever way it ended."""

from dataclasses import dataclass, field

import pytest

from client.train.pace import Pace, PacedSecureTrainer, PacedTrainer
from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.plan import PrivacyPlan, RoundOrder, RunPlan
from protocol.secure_sum import Boxes, Circle, SecureQuestion

PRIVACY = PrivacyPlan(noise_multiplier=1.0, clipping_norm=1.0, sample_rate=0.5, expected_batch=1, steps_per_round=1)


def order(seconds: int) -> RoundOrder:
    plan = RunPlan(
        base="ggo@0", sites=("aa",), rounds=1, quorum=1, learning_rate=0.1, privacy=PRIVACY, answer_seconds=seconds
    )
    return RoundOrder(run_id="a" * 32, round=1, base_sha256="0" * 64, plan=plan)


@dataclass
class Time:
    """A clock that waiting moves, a little less than was asked for, as sleeping may."""

    now: float = 100.0
    waits: list[float] = field(default_factory=list)

    @property
    def pace(self) -> Pace:
        return Pace(clock=lambda: self.now, wait=self.wait)

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds if seconds < 0.1 else 0.9 * seconds


@dataclass
class Worker:
    """Takes so many seconds, and refuses if told to."""

    time: Time
    seconds: float
    refuses: bool = False

    def answer(self, *_: object) -> str:
        self.time.now += self.seconds
        if self.refuses:
            raise RefusedError(Code.COHORT_TOO_SMALL)
        return "answer"


def answered_after(seconds: float, *, planned: int, refuses: bool = False) -> float:
    time = Time()
    paced = PacedTrainer(Worker(time, seconds, refuses), time.pace)  # type: ignore[arg-type]
    if refuses:
        with pytest.raises(RefusedError):
            paced.answer(order(planned), {})
    else:
        assert paced.answer(order(planned), {}) == "answer"  # type: ignore[comparison-overlap]
    return time.now - 100.0


@pytest.mark.parametrize("seconds", [0.0, 0.3, 19.9])
@pytest.mark.parametrize("refuses", [False, True])
def test_every_answer_and_every_refusal_leaves_at_the_same_moment(seconds: float, refuses: bool) -> None:
    assert answered_after(seconds, planned=20, refuses=refuses) == pytest.approx(20.0)


def test_who_takes_longer_is_seen_to() -> None:
    assert answered_after(25.0, planned=20) == 25.0


def test_without_a_moment_an_answer_leaves_when_it_is_ready() -> None:
    assert answered_after(0.3, planned=0) == pytest.approx(0.3)


def test_in_a_secure_summation_the_question_that_is_answered_by_training_waits_and_no_other() -> None:
    def waited(asked: Boxes | Circle | None) -> float:
        time = Time()
        question = SecureQuestion.model_construct(order=order(20), asked=asked)
        PacedSecureTrainer(Worker(time, 2.0), time.pace).answer(question, {})  # type: ignore[arg-type]
        return time.now - 100.0

    assert waited(Boxes.model_construct(boxes=())) == pytest.approx(20.0)
    assert waited(Circle.model_construct(members=())) == 2.0
    assert waited(None) == 2.0


def test_real_time_passes() -> None:
    pace = Pace()
    began = pace.clock()
    with pace.no_sooner_than(0.05):
        pass
    assert pace.clock() - began >= 0.05


def test_a_plan_leaves_sites_that_wait_the_time_to_be_heard() -> None:
    made = order(0).plan.model_dump()
    assert RunPlan.model_validate({**made, "round_seconds": 60, "answer_seconds": 20}).answer_seconds == 20
    with pytest.raises(ValueError, match="a third of round_seconds"):
        RunPlan.model_validate({**made, "round_seconds": 60, "answer_seconds": 21})
