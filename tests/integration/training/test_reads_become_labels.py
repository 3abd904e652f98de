"""A reader's signed report becomes a label of its study, training draws it, and a patient who withdraws is drawn no more."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from client.gateway.notices import receivers
from client.infer.releases import ReleaseShelf
from client.receive.intake import Intake, take_bytes
from client.store.labelling import Labelling
from client.store.records import Finding
from client.store.results import CT, LUNGS, MASK
from client.train.cohort import Cohort
from client.train.site import SiteTrainer
from models.severity import share_of_points
from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.plan import LabelUse, RoundOrder
from protocol.reading import ReportSigned
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.gateway import CLAIM, REQUEST, GatewayUnderTest, a_post
from tests.fakes.labelled import labelled_study
from tests.fakes.node_home import Home
from tests.unit.client.gateway.test_app import REPORT
from tests.unit.client.train.test_site import BASE, Site, order

ZONES = {"right": {"upper": 1, "middle": 1, "lower": 2}, "left": {"upper": 1, "middle": 2, "lower": 3}}
POINTS = {"right": (2, 1, 1), "left": (3, 2, 1)}
BOTH = LabelUse.MASKS_AND_ZONE_SCORES


class Hospital:
    """A store with one measured study without a mask, the gateway before it, and the trainer behind it."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.store = self.home.store()
        self.labelling = Labelling(self.store._connection)
        self.study = self._measured(folder / "drawn")
        self.gateway = GatewayUnderTest(folder / "elsewhere")
        self.gateway.stand_on(self.home.settings.home)
        self.gateway.keys.approve(self.gateway.reader.jkt, name="Dr Example")
        self.gateway.book.post(a_post(), study_key=self.study)
        self.gateway.book.mark(REQUEST, what="sent")
        self.gateway.claimed()
        self.site = Site(folder / "site")
        self.allow(BOTH)

    def _measured(self, drawn: Path) -> str:
        """Receive a study and put a phantom's volume and lungs where its measurement would."""
        content = as_bytes(plain_series(1).dataset(0))
        key = str(
            take_bytes(Intake(self.store, self.home.pseudonyms), content, self.home.settings.home / "spool").study_key
        )
        case, folder = labelled_study(drawn, 1, 1), self.store.folder(key)
        folder.mkdir(parents=True)
        for name, source in ((CT, case.volume_path), (LUNGS, case.lungs_path), (MASK, case.lungs_path)):
            (folder / name).write_bytes(gzip.compress(gzip.decompress(source.read_bytes()), mtime=0))
        finding = Finding(
            study_key=key, model_release="ggo@0", document=json.dumps({"ok": True}), record="", version=1, verdict=None,
            measured_at=self.home.clock.now,
        )  # fmt: skip
        assert self.store.findings.settle_measured(self.store.study(key), finding, "grid")
        return key

    def allow(self, labels: LabelUse) -> None:
        training = self.site.policy.training.model_copy(update={"labels": labels, "minimum_cohort": 1})
        self.site.policy = self.site.policy.model_copy(update={"training": training})

    def report(self) -> str:
        """A reader looks, and reports; return the report's hash."""
        self.gateway.enter()
        assert self.gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz").status_code == 200
        answer = self.gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT | {"zones": ZONES})
        assert answer.status_code == 201
        return str(answer.json()["report_sha256"])

    def hear_signature(self, report_sha256: str) -> None:
        gateway = self.gateway
        hands = receivers(gateway.book, gateway.sessions, gateway.reports, self.store.labels.keep_scores)
        hands["report-signed"](ReportSigned(request_id=REQUEST, claim_id=CLAIM, fence=1, report_sha256=report_sha256))

    def trainer(self) -> SiteTrainer:
        shelf = ReleaseShelf(self.home.settings.models, lambda _: False)
        cohort = Cohort(self.home.settings.prepared, shelf.net)
        return replace(self.site.trainer, cases=self.store.labels.training_cases, cohort=cohort)

    def prepared(self) -> list[Path]:
        return list(self.home.settings.prepared.glob(f"{self.study}-*"))

    def refused(self, asked: RoundOrder) -> Code:
        with pytest.raises(RefusedError) as refusal:
            self.trainer().answer(asked, BASE)
        return refusal.value.code


def asked(number: int, labels: LabelUse) -> RoundOrder:
    """An order in which every patient takes part."""
    plan = order().plan
    privacy = plan.privacy.model_copy(update={"sample_rate": 1.0, "noise_multiplier": 4.0})
    return order(number, plan=plan.model_copy(update={"labels": labels, "privacy": privacy}))


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def shares(path: Path) -> dict[str, tuple[float, ...]]:
    """The share of each zone that a prepared study calls opacity, from the feet up; a side is told by the middle of the picture."""
    prepared = load_file(path)
    target, valid = prepared["target"] > 0, prepared["valid"]
    columns = np.flatnonzero(valid.any(axis=(0, 1)))
    middle = (columns[0] + columns[-1] + 1) // 2
    slabs = np.flatnonzero(valid.any(axis=(1, 2)))
    thirds = [slabs[(2 * np.arange(len(slabs)) + 1) * 3 // (2 * len(slabs)) == third] for third in range(3)]
    sides = {"right": slice(0, middle), "left": slice(middle, None)}  # +x is the patient's left
    return {
        side: tuple(float(target[third][:, :, part].sum() / valid[third][:, :, part].sum()) for third in thirds)
        for side, part in sides.items()
    }


def test_signed_labelled_drawn_withdrawn_and_drawn_no_more(hospital: Hospital) -> None:
    report_sha256 = hospital.report()
    assert hospital.labelling.all() == [], "nobody has signed"
    assert hospital.refused(asked(1, BOTH)) is Code.COHORT_TOO_SMALL

    hospital.hear_signature(report_sha256)
    (label,) = hospital.labelling.all()
    assert (label.study_key, label.model_release, label.trained_on) == (hospital.study, "ggo@0", True)
    hospital.trainer().answer(asked(1, BOTH), BASE)
    (path,) = hospital.prepared()
    for side, found in shares(path).items():
        for share, points in zip(found, POINTS[side], strict=True):
            low, high = share_of_points(points)
            assert low - 0.06 <= share <= high + 0.06, (side, found)

    hospital.store.labels.withdraw_subject(hospital.study)
    assert hospital.refused(asked(2, BOTH)) is Code.COHORT_TOO_SMALL
    assert hospital.site.charges() == [1]


@pytest.mark.parametrize(("plan", "policy"), [(LabelUse.MASKS, BOTH), (BOTH, LabelUse.MASKS)])
def test_without_the_leave_of_plan_and_policy_scores_are_not_drawn(
    hospital: Hospital, plan: LabelUse, policy: LabelUse
) -> None:
    hospital.hear_signature(hospital.report())
    hospital.allow(policy)
    assert hospital.refused(asked(1, plan)) is Code.COHORT_TOO_SMALL
    assert hospital.prepared() == []


def test_what_is_held_out_is_not_drawn(hospital: Hospital) -> None:
    hospital.hear_signature(hospital.report())
    hospital.labelling.hold_out(hospital.study, held_out=True)
    assert hospital.refused(asked(1, BOTH)) is Code.COHORT_TOO_SMALL


def test_a_signature_that_is_heard_twice_labels_once(hospital: Hospital) -> None:
    report_sha256 = hospital.report()
    for _ in range(2):
        hospital.hear_signature(report_sha256)
    assert len(hospital.labelling.all()) == 1


def test_a_study_that_was_measured_again_since_the_report_gets_no_label(hospital: Hospital) -> None:
    report_sha256 = hospital.report()
    later = hospital.gateway.now.timestamp() + 60
    hospital.store._connection.execute("UPDATE finding SET measured_at = ?", (later,))
    hospital.hear_signature(report_sha256)
    assert hospital.labelling.all() == []


def test_nothing_new_leaves_the_hospital(hospital: Hospital) -> None:
    hospital.hear_signature(hospital.report())
    notice, _ = hospital.trainer().answer(asked(1, BOTH), BASE)
    assert hospital.gateway.gate.kinds() == ["read-opened", "report-receipt", "read-delivered"]
    receipt = json.loads(hospital.gateway.gate.parcels[1].model_dump_json())
    assert "zones" not in receipt["coded"]
    assert set(notice.model_dump()) == {"run_id", "round", "site", "base_sha256", "update_sha256", "epsilon", "delta"}
