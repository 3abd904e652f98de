"""What `acinus-centre train` does: freeze the plan, start the ServerApp, measure each checkpoint, sign the result."""

import logging
import secrets
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors.numpy import load

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, RefusedError, UnavailableError
from protocol.evaluation import Evaluation
from protocol.plan import RunPlan
from protocol.release import Scores, SignedManifest
from server.bundle import Bundle
from server.catalogue import Catalogue
from server.evaluation import evaluation_line, evaluation_of, evaluation_summary, note_of_present
from server.provenance import provenance_of
from server.run import COMPLETED, RoundRecord, RunFolder, find_run, runs_in
from strategies.arrays import Arrays, arrays_sha256
from strategies.flower.fleet import Fleet
from strategies.securesum.grid import grid_of
from strategies.threat import threat_left_open

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at the run: each asks the SuperLink, which has the round's weights to carry meanwhile."""

PATIENCE_SECONDS = 60.0
"""How long the SuperLink may be away in the midst of a run."""

Measure = Callable[[Arrays], Scores]
"""How good weights are, on the public phantoms."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """Everything a run needs from the centre. `say` tells a person how it goes; `pause` waits some seconds."""

    catalogue: Catalogue
    fleet: Fleet
    bundle: Bundle
    runs: Path
    measure: Measure
    say: Callable[[str], None]
    pause: Callable[[float], None]

    def begin(self, plan: RunPlan) -> RunFolder:
        """Write a new run down.

        Raises:
            InvalidInputError: `not-found` without the base release, `bad-setting` if the plan cannot hold.
            RefusedError: `quorum-missed` if fewer sites than the quorum are connected; nobody was asked anything then.
            UnavailableError: `peer-unreachable`, `disk-full`.
        """
        check_plan(plan)
        base = self.catalogue.weights(plan.base)
        nodes = self._connected(plan)
        present = self.catalogue.promoted()
        compared = plan.evaluation is not None
        beside = note_of_present(present, load(self.catalogue.weights(present))) if compared else {}
        self._stop_left_behind()
        folder = RunFolder(self.runs / secrets.token_hex(16))
        folder.start(plan, nodes, base, beside)
        return folder

    def take_up(self, run_id: str) -> RunFolder:
        """Return an earlier run, ready to go on after its newest checkpoint.

        Raises:
            InvalidInputError: `not-found`.
            ConflictError: `already-exists` if it gave a release already.
            RefusedError: `quorum-missed` if fewer sites than the quorum are connected.
            UnavailableError: `peer-unreachable`.
        """
        folder = find_run(self.runs, run_id)
        for name in self.catalogue.names():
            if self.catalogue.signed(name).manifest.run_id == folder.run_id:
                raise ConflictError(Code.ALREADY_EXISTS, f"The run {run_id} gave the release {name} already.")
        self._stop_earlier(folder)
        nodes = self._connected(folder.plan())
        self._stop_left_behind()
        folder.note_nodes(nodes)
        return folder

    def run(self, folder: RunFolder) -> SignedManifest:
        """Carry a run to its end and put the result into the catalogue.

        Raises:
            RefusedError: `quorum-missed` if too few sites were left.
            InvalidInputError: `bad-shape` if the run's files are damaged.
            UnavailableError: `run-failed` if the ServerApp died or the SuperLink stays away; the run can be taken up again.
        """
        self._check_start(folder)
        self._measure_new(folder)
        folder.note_bundle(self.bundle.sha256)
        number = self.fleet.start_run(self.bundle.content, self.bundle.sha256, {"run-dir": str(folder.path)})
        folder.note_flower_run(number)
        log.info("run.started", extra={"run": folder.run_id, "flower_run": number})
        try:
            self._watch(folder, number)
        except BaseException:
            self._abandon(number)
            raise
        self._check_outcome(folder)
        self._measure_new(folder)
        return self._release(folder)

    def _stop_earlier(self, folder: RunFolder) -> bool:
        """Stop a ServerApp that may still work on this run, left behind by whoever started it; return whether there was one."""
        number = folder.flower_run()
        if number is None or self.fleet.run_state(number).ended:
            return False
        self.fleet.stop_run(number)
        return True

    def _stop_left_behind(self) -> None:
        """Stop the ServerApps of other runs whose `train` was killed: beside a second run's questions a secure summation of theirs never ends.

        Each would end the other's round at every site, after the site was charged. A run of which the SuperLink knows nothing any more is none.
        """
        for folder in runs_in(self.runs):
            try:
                if folder.outcome() is None and self._stop_earlier(folder):
                    self.say(
                        f"run {folder.run_id} was left behind and is stopped; `train --resume {folder.run_id}` takes it up."
                    )
            except (InvalidInputError, UnavailableError) as error:
                log.warning("run.not-stopped", extra={"run": folder.run_id, "code": error.code.value})

    def _connected(self, plan: RunPlan) -> dict[str, int]:
        """Return the SuperNode number of each site of the plan that has one; of two, as after a new key, the one that is connected."""
        known = sorted(self.fleet.nodes(), key=lambda node: node.online)
        nodes = {node.name: node for node in known if node.name in plan.sites}
        online = [site for site in plan.sites if site in nodes and nodes[site].online]
        if len(online) < plan.quorum:
            absent = ", ".join(site for site in plan.sites if site not in online)
            raise RefusedError(
                Code.QUORUM_MISSED,
                f"{len(online)} sites of the plan are connected and its quorum is {plan.quorum}; not connected: {absent}.",
            )
        return {site: node.node_id for site, node in nodes.items()}

    def _check_start(self, folder: RunFolder) -> None:
        base = folder.plan().base
        if not folder.starts_from(self.catalogue.weights(base)):
            raise InvalidInputError(
                Code.BAD_SHAPE,
                f"The first weights in {folder.path} are not those of {base}; start a new run from a release.",
            )

    def _watch(self, folder: RunFolder, number: int) -> None:
        """Measure and report checkpoints until the run has ended.

        A SuperLink that was killed is waited for: it is started again, and the ServerApp waits for it too. A ServerApp that was killed is
        seen by the lock that it leaves; the SuperLink would notice most of a minute later.
        """
        held, silent = False, 0.0
        while not (ended := self._ended(number)):
            if self._measure_new(folder):
                continue
            before, held = held, folder.is_held(number)
            if before and not held and folder.outcome() is None:
                raise _failed(folder, "the ServerApp died")
            silent = silent + LOOK_SECONDS if ended is None else 0.0
            if silent > PATIENCE_SECONDS:
                raise _failed(folder, "the SuperLink does not answer any more")
            self.pause(LOOK_SECONDS)
        if folder.outcome() is None:
            raise _failed(folder, f"it {ended}")

    def _ended(self, number: int) -> str | None:
        """Return how Flower's run ended, an empty word if it has not, or None if the SuperLink does not answer."""
        try:
            return self.fleet.run_state(number).ended
        except UnavailableError as error:
            log.info("superlink.silent", extra={"code": error.code.value})
            return None

    def _check_outcome(self, folder: RunFolder) -> None:
        if folder.outcome() == COMPLETED:
            return
        done, plan = len(folder.records()), folder.plan()
        advice = (
            f"`acinus-centre train --resume {folder.run_id}` goes on when more sites do."
            if done < plan.rounds
            else "Start a new run when more sites take part."
        )
        raise RefusedError(
            Code.QUORUM_MISSED,
            f"Too few sites took part: the run ended after {done} rounds, which are kept in {folder.path}. {advice}",
        )

    def _measure_new(self, folder: RunFolder) -> bool:
        """Measure checkpoints that have no scores yet; return whether there was one."""
        scores = folder.scores()
        todo = [record.round for record in folder.records() if not record.skipped and record.round not in scores]
        todo = [*([0] if 0 not in scores else []), *todo]
        for number in todo:
            found = self.measure(folder.weights(number))
            folder.note_scores(number, found)
            self.say(_line(folder, number, found))
        return bool(todo)

    def _abandon(self, number: int) -> None:
        """Stop the ServerApp if it still runs; whatever ended us is more important than how that goes."""
        try:
            if not self.fleet.run_state(number).ended:
                self.fleet.stop_run(number)
        except UnavailableError:
            log.warning("run.not-stopped", extra={"flower_run": number})

    def _release(self, folder: RunFolder) -> SignedManifest:
        """Sign the newest weights as the next release of the plan's lineage."""
        plan, records = folder.plan(), folder.records()
        kept = [record for record in records if not record.skipped]
        base = self.catalogue.signed(plan.base).manifest
        compared = evaluation_of(folder)
        spent = [epsilon for record in records for epsilon in record.epsilon.values()]
        spent += [notice.epsilon for notice in compared.notices] if compared else []  # comparing was charged after them
        return self.catalogue.add(
            folder.newest_file(),
            lineage=plan.lineage,
            parent=plan.base,
            architecture=base.architecture,
            run_id=folder.run_id,
            rounds=len(kept),
            sites=len({site for record in kept for site in record.sites}),
            epsilon_max=max(spent) if spent else None,
            scores=folder.scores().get(kept[-1].round if kept else 0),
            base_scores=folder.scores().get(0),
            evaluation=self._evaluation(folder),
            provenance=provenance_of(folder),
        )

    def _evaluation(self, folder: RunFolder) -> Evaluation | None:
        """Return what the sites said of the result; `None` where the plan asked for nothing of the kind.

        Raises:
            InvalidInputError: `bad-shape` if it is missing, or is that of other weights.
        """
        plan, record = folder.plan(), evaluation_of(folder)
        if plan.evaluation is None:
            return None
        if record is None or record.candidate_sha256 != arrays_sha256(folder.latest()[1]):
            raise InvalidInputError(
                Code.BAD_SHAPE,
                f"{folder.path} lacks the evaluation of its newest weights; restore it, or start a new run from a release.",
            )
        self.say(evaluation_line(record))
        return record.verdict


def _failed(folder: RunFolder, why: str) -> UnavailableError:
    return UnavailableError(
        Code.RUN_FAILED,
        f"The run ended early ({why}) after {len(folder.records())} rounds; logs/superlink.log says more. "
        f"`acinus-centre train --resume {folder.run_id}` goes on from there.",
    )


def read_plan(path: Path) -> RunPlan:
    """Return the plan that a coordinator wrote as TOML.

    Raises:
        InvalidInputError: `not-found` without the file, `bad-setting` if it is no plan.
    """
    try:
        return RunPlan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InvalidInputError(Code.NOT_FOUND, f"There is no plan at {path}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidInputError(Code.BAD_SETTING, f"{path} cannot be read as TOML: {error}. Correct it.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise InvalidInputError(
            Code.BAD_SETTING, f"{path}: {where}{': ' if where else ''}{what}. Correct it."
        ) from error


def check_plan(plan: RunPlan) -> None:
    """Refuse a plan that no run could fulfil.

    Raises:
        InvalidInputError: `bad-setting`.
        RefusedError: `too-few-sites` for the terms of its secure summation.
    """
    if len(set(plan.sites)) != len(plan.sites):
        raise InvalidInputError(Code.BAD_SETTING, "The plan names a site twice. Name each once.")
    if plan.quorum > len(plan.sites):
        raise InvalidInputError(
            Code.BAD_SETTING, f"The plan's quorum of {plan.quorum} is more than its {len(plan.sites)} sites."
        )
    if plan.base.partition("@")[0] != plan.lineage:
        raise InvalidInputError(Code.BAD_SETTING, f"The base {plan.base} is not of the lineage {plan.lineage}.")
    if plan.secure_sum is not None:
        grid_of(plan)  # refuses numbers that do not hold


def phantom_measure(count: int) -> Measure:
    """Return a measure on `count` public phantoms; they are drawn once, when it is first used."""
    phantoms: list[Any] = []

    def measure(weights: Arrays) -> Scores:
        from models.evaluate import evaluate, evaluation_phantoms
        from models.weights import from_arrays

        if not phantoms:
            phantoms.extend(evaluation_phantoms(count))
        return evaluate(from_arrays(weights), phantoms)

    return measure


def summary(folder: RunFolder, release: str | None) -> dict[str, Any]:
    """Return what `train --json` prints of a run: its rounds with sites, refusals, ε and scores."""
    scores = folder.scores()
    start = scores.get(0)
    return {
        "ok": release is not None,
        "run_id": folder.run_id,
        "release": release,
        "leaves_open": threat_left_open(folder.plan()),
        "start": {"dice": start.dice, "ggo_error_points": start.ggo_error_points} if start else None,
        "rounds": [_entry(record, scores) for record in folder.records()],
        "evaluation": evaluation_summary(folder),
    }


def _entry(record: RoundRecord, scores: dict[int, Scores]) -> dict[str, Any]:
    """A skipped round has the scores of the weights that it left as they were."""
    number = max((n for n in scores if n <= record.round), default=None)
    found = scores[number] if number is not None else None
    return {
        "round": record.round,
        "sites": list(record.sites),
        "refused": dict(record.refused),
        "epsilon": record.epsilon,
        "skipped": record.skipped,
        "seconds": record.seconds,
        "dice": found.dice if found else None,
        "ggo_error_points": found.ggo_error_points if found else None,
    }


def _line(folder: RunFolder, number: int, scores: Scores) -> str:
    how = f"Dice {scores.dice:.3f}, ground glass off by {scores.ggo_error_points:.1f} points"
    if number == 0:
        return f"start: {how}"
    record = folder.records()[number - 1]
    refused = "".join(f", {site} refused ({code})" for site, code in record.refused.items())
    spent = f", ε ≤ {max(record.epsilon.values()):.2f}" if record.epsilon else ""
    return f"round {number}/{folder.plan().rounds}: {len(record.sites)} sites{refused}{spent}; {how} ({record.seconds:.1f} s)"
