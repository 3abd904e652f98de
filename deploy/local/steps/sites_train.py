"""Step 5: the coordinator writes a plan, the sites train on their own labels, and one of them reaches its own limit."""

import re
from pathlib import Path
from typing import Any

from deploy.local.scene import Node, Scene

_NOISE, _RATE, _CLIP = 1.5, 0.5, 0.5
_PLAN = """# Written by the coordinator. Privacy limits stand in each site's own policy.toml, not here.
lineage = "ggo"
purpose = "ggo-segmentation"
base = "ggo@0"
sites = {sites}
rounds = {rounds}
quorum = {quorum}
round_seconds = 150
learning_rate = {learning_rate}
momentum = 0.0
slices_per_patient = 4

[privacy]
noise_multiplier = {noise}
clipping_norm = {clip}
sample_rate = {rate}
expected_batch = {batch}
steps_per_round = {steps}
"""
_LEARNING_RATE = 0.01
"""Small, for the noise of so few patients would undo what the weights have learnt: on the cast's phantoms it moves Dice by 0.002 (standard deviation)."""
_SECONDS = 480


def play(scene: Scene) -> None:
    """Train, and compare what the centre says with what each site's own ledger holds.

    Raises:
        StepFailed: If the run fails, if the site with the lower limit goes on, or if a ledger and the run disagree.
    """
    plan = _write_plan(scene)
    _ask_sites(scene, plan)
    run = _train(scene, plan)
    rounds: list[dict[str, Any]] = run["rounds"]
    scene.facts.update(
        run_id=run["run_id"],
        training_start=run["start"],
        rounds=rounds,
        rounds_completed=len(rounds),
        trained_release=run["release"],
    )
    scene.facts["refused_sites"] = {site: code for entry in rounds for site, code in entry["refused"].items()}
    _check_rounds(scene, rounds)
    ledgers = {node.site: node.command.json("ledger") for node in scene.nodes}
    scene.facts["epsilon"] = {site: float(ledger["epsilon"]) for site, ledger in ledgers.items()}
    _check_ledgers(scene, rounds)
    _kill_runner(scene, scene.nodes[0], ledgers[scene.nodes[0].site])


def _ask_sites(scene: Scene, plan: Path) -> None:
    """Let each hospital ask its own node what the plan would cost, before the run begins."""
    told = {node.site: node.command.json("policy", "check", plan)["plan"] for node in scene.nodes}
    scene.check(
        {site for site, said in told.items() if not said["would_pass"]} == {scene.cast.refuser},
        "every node said beforehand what the plan costs, and only one that its limit ends before the run does",
    )
    scene.check(
        0 < told[scene.cast.refuser]["rounds_within_budget"] < scene.cast.rounds,
        f"{scene.cast.refuser} begins all the same, for its policy says whole_plan = false",
    )


def _train(scene: Scene, plan: Path) -> dict[str, Any]:
    """Run the plan, show each round as the centre's command line tells it, and return what it says of the run."""
    centre = scene.centre.centre
    scene.stage.expect(scene.cast.rounds)
    scene.stage.say(f"{scene.cast.rounds} rounds of DP-SGD")
    with centre.running("train", plan, "--json") as run:

        def ended() -> bool:
            told = rounds_told(centre.log.read_text(encoding="utf-8", errors="replace"))
            scene.stage.advance(len(told))
            scene.stage.say(told[-1] if told else f"{scene.cast.rounds} rounds of DP-SGD")
            return run.ended

        scene.network.until(ended, what="the run ends", seconds=_SECONDS)
        if run.child.returncode != 0:
            raise centre.failed("train", run.child.returncode)
        answer: dict[str, Any] = centre.document(run.output(), verb="train")
    return answer


def rounds_told(log: str) -> list[str]:
    """Return what the centre's command line has said of each round so far."""
    return [line for line in log.splitlines() if re.match(r"round \d+/\d+: ", line)]


def _write_plan(scene: Scene) -> Path:
    """Write PLAN.toml. The expected batch is public: rate times the number of patients that every site promised to label."""
    cast = scene.cast
    promised = min(hospital.patients for hospital in cast.hospitals)
    path = scene.centre.folder / "plan.toml"
    text = _PLAN.format(
        sites=[hospital.site for hospital in cast.hospitals], rounds=cast.rounds, quorum=cast.quorum, learning_rate=_LEARNING_RATE,
        noise=_NOISE, clip=_CLIP, rate=_RATE, batch=max(1, round(_RATE * promised)), steps=cast.steps_per_round,
    )  # fmt: skip
    path.write_text(text.replace("'", '"'), encoding="utf-8")
    return path


def _check_rounds(scene: Scene, rounds: list[dict[str, Any]]) -> None:
    refuser, others = scene.cast.refuser, {node.site for node in scene.nodes} - {scene.cast.refuser}
    scene.check(len(rounds) == scene.cast.rounds, f"{len(rounds)} rounds were completed")
    scene.check(
        set(rounds[0]["sites"]) == others | {refuser}, f"all {len(scene.nodes)} sites trained in the first round"
    )
    scene.check(
        rounds[-1]["refused"] == {refuser: "budget-spent"},
        f"{refuser} refused part-way: its own policy allows no more ε",
    )
    scene.check(set(rounds[-1]["sites"]) == others, "the run went on with the other sites")


def _check_ledgers(scene: Scene, rounds: list[dict[str, Any]]) -> None:
    """What a site told the centre is what its ledger holds, and no ledger is above its site's limit."""
    told = {site: epsilon for entry in rounds for site, epsilon in entry["epsilon"].items()}
    epsilon = scene.facts["epsilon"]
    scene.check(
        all(abs(epsilon[site] - told[site]) < 0.01 for site in told), "every site's own ledger agrees with the run"
    )
    limits = {node.site: node.hospital.epsilon_total for node in scene.nodes}
    scene.check(
        all(epsilon[site] <= limits[site] for site in limits), "no site spent more ε than its own policy allows"
    )


def _kill_runner(scene: Scene, node: Node, before: dict[str, Any]) -> None:
    """Kill the runner and compare the ledger with what it was before."""
    scene.await_back(node, "runner", killed=scene.kill(node, "runner"))
    scene.network.until(
        lambda: node.status()["parts"].get("runner") == "running", what=f"the runner of {node.site} is back", seconds=60
    )
    scene.check(node.command.json("ledger") == before, f"the runner of {node.site} was killed; its ledger is as it was")
    scene.check(node.command.attempt("audit", "verify")[0] == 0, f"the audit chain of {node.site} verifies")
