"""The page: what is measured stands on it, what was before stands beside it, and nobody is named."""

import html
import json
import re
from functools import cache
from pathlib import Path

import pytest

from client.infer.outputs import page_of, picture_of, write_outputs
from client.infer.quantify import Result
from client.infer.worker import Worker
from client.receive.intake import Intake, take_bytes
from client.report.concepts import BANNER
from client.report.page import MOST_EARLIER, Earlier, change, when
from client.store.results import REPORT
from tests.fakes.ct_series import as_bytes, uid
from tests.fakes.node_home import Home
from tests.fakes.scans import chest, chest_series
from tests.unit.client.infer.test_worker import Shelf
from tests.unit.client.report.test_objects import usual

pytestmark = pytest.mark.usefixtures("remembered")

SECRETS = ("CANARY", "PAT-1", "19600102", "20260112", "2026", "ACC-77")


@cache
def picture() -> bytes:
    return picture_of(usual())


def words(page: bytes) -> str:
    """What a person reads: without the picture and the style."""
    text = re.sub(r"data:image/png;base64,[^\"]*|<style>.*?</style>", "", page.decode(), flags=re.DOTALL)
    return html.unescape(text)


def earlier(days: int, **changes: object) -> Earlier:
    return Earlier(days, {**usual().document, **changes})


def measured_in(home: Home, study: str, day: str, seed: int = 1, patient: str = "PAT-1") -> str:
    """Take a study in, measure it, and return the words of its page."""
    store = home.store()
    series = chest_series(chest(seed), study=study, patient=patient, header={"StudyDate": day})
    for dataset in series.datasets():
        take_bytes(Intake(store, home.pseudonyms), as_bytes(dataset), home.settings.home / "spool")
    key = home.pseudonyms.study_key(uid(study))
    shelf = Shelf(home.settings.models, lambda _: False)
    Worker(store, shelf, home.settings, surroundings=home.surroundings()).measure(key)
    return words((store.folder(key) / REPORT).read_bytes())


def test_the_numbers_the_zones_and_the_banner_stand_on_it() -> None:
    document, text = usual().document, words(page_of(usual(), picture()))
    assert text.count(BANNER) == 2
    for key in ("ggo_fraction", "consolidation_fraction", "opacity_fraction"):
        assert f"{100 * document[key]:.1f} %" in text
    assert f"{document['lung_volume_ml'] / 1000:.2f} L" in text
    assert f"{document['severity']['score']} of 24" in text
    for side in ("right", "left"):
        for third in ("upper", "middle", "lower"):
            assert f"{100 * document['per_zone'][side][third]['opacity_fraction']:.1f} %" in text
    assert all(flag.replace("-", " ") in text for flag in document["quality"])
    assert text.count("<svg") == 6


def test_the_page_loads_nothing_and_names_nobody() -> None:
    text = words(page_of(usual(), picture(), [earlier(30)]))
    assert "<script" not in text
    assert not re.findall(r"(?:src|href)=\"(?!\")", text)
    assert "http" not in text.replace("http-equiv", "")
    assert not [secret for secret in SECRETS if secret in text]


def test_zones_add_up_to_the_thirds_and_the_lungs() -> None:
    document = usual().document
    for side in ("right", "left"):
        zones = document["per_zone"][side].values()
        whole = document["per_lung"][side]
        assert sum(zone["lung_volume_ml"] for zone in zones) == pytest.approx(whole["lung_volume_ml"], abs=0.3)
        dense = sum(zone["lung_volume_ml"] * zone["opacity_fraction"] for zone in zones)
        assert dense == pytest.approx(whole["lung_volume_ml"] * whole["opacity_fraction"], abs=1.0)


@pytest.mark.parametrize(
    ("days", "said"), [(1, "1 day"), (20, "20 days"), (21, "3 weeks"), (84, "12 weeks"), (400, "57 weeks")]
)
def test_distances(days: int, said: str) -> None:
    assert when(days) == said


def test_a_change_says_what_stands_against_it() -> None:
    now = {"opacity_fraction": 0.2, "opacity_interval": [0.18, 0.22], "model_release": "ggo@1"}
    far = now | {"opacity_fraction": 0.1, "opacity_interval": [0.09, 0.12]}
    assert change(far, now) == "opacity +10.0 points"
    assert change(now, far) == "opacity -10.0 points"
    wide = far | {"opacity_interval": [0.05, 0.21]}
    assert change(wide, now) == "opacity +10.0 points", "the second measurement is surer"
    assert change(wide, now | {"opacity_interval": [0.09, 0.22]}) == "opacity +10.0 points, within both ranges"
    assert change(far | {"model_release": "ggo@0"}, now).endswith("then by ggo@0, not strictly comparable")


def test_no_more_rows_than_fit() -> None:
    text = words(page_of(usual(), picture(), [earlier(30 * n) for n in range(1, 9)]))
    assert text.count(" before</th>") == MOST_EARLIER


def test_earlier_scans_come_from_the_store(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert "None." in measured_in(home, "first", "20260105")
    measured_in(home, "stranger", "20260106", seed=2, patient="PAT-2")
    later = measured_in(home, "second", "20260202", seed=2)
    assert "4 weeks before" in later
    assert later.count(" before</th>") == 1
    assert not [secret for secret in (*SECRETS, "20260105") if secret in later]
    assert "None." in measured_in(home, "older", "20250101"), "what came later in the patient's life is not earlier"


def test_patients_without_a_number_are_never_compared(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    measured_in(home, "first", "20260105", patient="")
    assert "None." in measured_in(home, "second", "20260202", patient="")


def test_quantify_writes_it_too(tmp_path: Path) -> None:
    result: Result = usual()
    assert REPORT in write_outputs(result, tmp_path)
    assert BANNER in (tmp_path / REPORT).read_text(encoding="utf-8")
    assert json.loads(json.dumps(result.document))["per_zone"]["left"]["lower"]["lung_volume_ml"] > 0
