from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.failures import StepFailed
from deploy.local.network import Network
from deploy.local.phantoms import PhantomStudy
from deploy.local.scene import Scene
from deploy.local.sender import RealStudy
from deploy.local.sites import SMALL
from deploy.local.stage import Stage
from deploy.local.steps import nodes_measure
from deploy.local.steps.nodes_measure import case, check_nothing_lost, check_outcomes, pictures, sent_studies
from deploy.local.stored import StoredStudy
from deploy.local.story import Setting, set_scene

Held = dict[str, dict[str, StoredStudy]]


def phantom(site: str, number: int, **more: object) -> PhantomStudy:
    content: dict[str, object] = {
        "site": site, "folder": Path("x"), "study_uid": f"2.25.{site}{number}", "week": "2026-W01", "truth_fraction": 0.1, "label": None, "instances": 4,
        "expected": None, "identifiers": (),
    }  # fmt: skip
    return PhantomStudy(**(content | more))  # type: ignore[arg-type] # a test's short hand


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = set_scene(Setting(cast=SMALL, out=tmp_path), Network(tmp_path), Stage(Console(stderr=True, quiet=True)))
    made.studies = [phantom(site, number) for site in ("northport", "highfell", "southbay") for number in (1, 2)]
    made.studies.append(phantom("highfell", 3, expected="localizer", instances=1))
    made.real = [RealStudy("2.25.77", 49)]
    return made


def held(scene: Scene, ggo: Callable[[int], float] = lambda index: 0.05 * index) -> Held:
    """Return what nodes hold when all went well; the `index`-th study has `ggo(index)`."""
    found: Held = {node.site: {} for node in scene.nodes}
    for index, one in enumerate(sent_studies(scene)):
        odd = one.phantom.expected if one.phantom else None
        found[one.site][one.study_uid] = StoredStudy(
            study_key=f"key{index}", study_uid=one.study_uid, instances=one.instances, state="refused" if odd else "measured", code=odd,
            ggo_fraction=None if odd else ggo(index), model_release=None if odd else "ggo@0", results=Path(f"results{index}"),
        )  # fmt: skip
    return found


def test_real_studies_are_sent_to_the_first_hospital_and_have_no_truth(scene: Scene) -> None:
    *_, real = sent_studies(scene)
    assert (real.site, real.instances, real.phantom) == ("northport", 49, None)
    told = case(real, held(scene)["northport"]["2.25.77"])
    assert (told["source"], told["week"], told["truth_fraction"]) == ("real", None, None)


def test_a_case_says_what_became_of_a_study_and_nothing_of_its_header(scene: Scene) -> None:
    one = sent_studies(scene)[1]
    told = case(one, held(scene)[one.site][one.study_uid])
    assert told == {
        "site": "northport", "study": "key1", "source": "phantom", "week": "2026-W01", "outcome": "measured", "code": None, "ggo_fraction": 0.05,
        "truth_fraction": 0.1, "model_release": "ggo@0",
    }  # fmt: skip
    odd = next(one for one in sent_studies(scene) if one.phantom and one.phantom.expected)
    assert case(odd, held(scene)[odd.site][odd.study_uid])["truth_fraction"] is None


def test_all_that_was_sent_is_there(scene: Scene) -> None:
    check_nothing_lost(scene, sent_studies(scene), held(scene))
    check_outcomes(scene, sent_studies(scene), held(scene))
    said = " ".join(one.what for one in scene.held)
    assert "all 74 acknowledged instances" in said
    assert "an odd study at highfell was refused with localizer" in said
    assert "a real study at northport: 35.0 % ground glass, from 49 slices" in said


@pytest.mark.parametrize("loss", ["study", "instance"])
def test_a_lost_study_or_instance_is_noticed(scene: Scene, loss: str) -> None:
    found = held(scene)
    studies = found["southbay"]
    one = studies.pop("2.25.southbay2")
    if loss == "instance":
        studies[one.study_uid] = replace(one, instances=one.instances - 1)
    with pytest.raises(StepFailed, match="no received study is lost"):
        check_nothing_lost(scene, sent_studies(scene), found)


@pytest.mark.parametrize(
    ("uid", "state", "code"),
    [
        ("2.25.highfell1", "refused", "no-lung"),
        ("2.25.highfell1", "received", None),
        ("2.25.highfell3", "measured", None),
        ("2.25.highfell3", "refused", "unreadable"),
    ],
)
def test_another_outcome_than_expected_is_noticed(scene: Scene, uid: str, state: str, code: str | None) -> None:
    found = held(scene)
    found["highfell"][uid] = replace(found["highfell"][uid], state=state, code=code)
    with pytest.raises(StepFailed, match="sound phantoms"):
        check_outcomes(scene, sent_studies(scene), found)


def test_pictures_show_real_studies_first_then_the_worst_of_each_site_a_middle_and_the_least_and_none_twice(
    scene: Scene,
) -> None:
    chosen = pictures(scene, sent_studies(scene), held(scene))
    shown = [path.parent.name for _, path in chosen]
    assert shown == ["results7", "results1", "results3", "results5", "results2", "results0"]
    assert chosen[0][0] == "Northport General: 35.0 % ground glass (a real study)"
    assert chosen[1][0] == "Northport General: 5.0 % ground glass, truth 10.0 %"


def test_pictures_need_something_measured(scene: Scene) -> None:
    scene.real = []
    scene.studies = [one for one in scene.studies if one.expected]
    assert pictures(scene, sent_studies(scene), held(scene)) == []


def test_the_node_is_asked_when_nothing_is_left_or_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(nodes_measure.time, "monotonic", lambda: now[0])
    progress = nodes_measure.Progress()
    assert not progress.is_time_to_ask(3)
    now[0] += 6
    assert not progress.is_time_to_ask(2)
    now[0] += 4
    assert not progress.is_time_to_ask(2)
    now[0] += 2
    assert progress.is_time_to_ask(2)
    now[0] += 1
    assert not progress.is_time_to_ask(2)
    assert progress.is_time_to_ask(0)


def test_the_most_affected_phantom_of_a_hospital_is_chosen(scene: Scene) -> None:
    found = held(scene)
    scene.facts["cases"] = [case(one, found[one.site][one.study_uid]) for one in sent_studies(scene)]
    assert scene.most_affected(scene.node("northport"))["study"] == "key1", "the real study has more, and is left alone"
    assert scene.most_affected(scene.node("highfell"))["study"] == "key3", "the refused study has no number"
