"""What is said to senders, what is asked of the PACS, and what its answers mean: pure."""

from datetime import date

import pytest

from client.pacs.door import digests_of, refuse_stranger
from client.pacs.lines import judged, judged_stow
from client.pacs.pulled import MOST_ATTEMPTS, SCHEMA, Pulled
from client.pacs.query import FoundSeries, FoundStudy, is_uid, series_in, studies_in, study_search, wants
from client.pacs.response import Outcome, module, outcome_of, status_of
from client.pacs.taking import Named
from client.sections import PullRule
from client.settings import NodeSettings
from client.store.database import connect
from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError

ONE, TWO = Named("1.2", "1.2.3", "1"), Named("1.2", "1.2.4", "1")
TODAY = date(2026, 3, 4)


@pytest.mark.parametrize(
    ("outcomes", "whole", "status"),
    [
        ([Outcome(ONE)], True, 200), ([Outcome(ONE), Outcome(TWO, 1)], True, 202), ([Outcome(ONE)], False, 202),
        ([Outcome(TWO, 1)], True, 409), ([Outcome(None, 1)], False, 409), ([], True, 400), ([], False, 400),
    ],
)  # fmt: skip
def test_statuses(outcomes: list[Outcome], whole: bool, status: int) -> None:
    assert status_of(outcomes, whole=whole) == status


def test_the_module_lists_each_part_once() -> None:
    said = module([Outcome(ONE), Outcome(TWO, 0x0122), Outcome(None, 0xC000)], whole=False)
    assert said["00081190"] == {"vr": "UR"}
    assert [item["00081155"]["Value"] for item in said["00081199"]["Value"]] == [["1.2.3"]]
    assert [item["00081197"]["Value"] for item in said["00081198"]["Value"]] == [[0x0122]]
    assert len(said["0008119A"]["Value"]) == 2


@pytest.mark.parametrize(
    ("code", "failure"),
    [(None, None), (Code.ALREADY_EXISTS, None), (Code.NOT_CT, 0x0122), (Code.UNREADABLE, 0xC000)],
)
def test_codes_become_failure_reasons(code: Code | None, failure: int | None) -> None:
    assert outcome_of(ONE, code).failure == failure


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB007, 0x0111])
def test_taken(status: int) -> None:
    assert judged(status) is None


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123, 0x0122, 0x0124])
def test_refused_for_good(status: int) -> None:
    assert judged(status) is Code.PEER_REFUSED


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110, 0x0213])
def test_not_now(status: int) -> None:
    with pytest.raises(UnavailableError):
        judged(status)


def failed(reason: object) -> dict[str, object]:
    return {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}


def test_answers_to_a_store() -> None:
    assert judged_stow(200, None) is None
    assert judged_stow(200, {"00081199": {}}) is None
    assert judged_stow(202, {"00081199": {}}) is None
    assert judged_stow(409, failed(0x0111)) is None
    assert judged_stow(409, failed(0xA900)) is Code.PEER_REFUSED
    assert judged_stow(202, failed("odd")) is Code.PEER_REFUSED
    assert judged_stow(415, None) is Code.PEER_REFUSED
    assert judged_stow(409, [1]) is Code.PEER_REFUSED
    for status, answer in ((409, failed(0xA700)), (202, None)):
        with pytest.raises(UnavailableError):
            judged_stow(status, answer)


def test_dates_asked_for() -> None:
    asked = dict(study_search(PullRule(days=3), TODAY, offset=100))
    assert (asked["StudyDate"], asked["offset"], asked["ModalitiesInStudy"]) == ("20260301-20260304", "100", "CT")


STUDY = FoundStudy("1.2", TODAY, "CT Thorax", 3)


@pytest.mark.parametrize(
    ("rule", "series", "study", "wanted"),
    [
        ({}, ("CT", "", ""), STUDY, True),
        ({}, ("MR", "", ""), STUDY, False),
        ({"body_part": "chest"}, ("CT", "CHEST", ""), STUDY, True),
        ({"body_part": "chest"}, ("CT", "", ""), STUDY, False),
        ({"description": "THORAX"}, ("CT", "", ""), STUDY, True),
        ({"description": "lunge"}, ("CT", "", "Lunge 1.0"), STUDY, True),
        ({"description": "head"}, ("CT", "", ""), STUDY, False),
        ({"days": 3}, ("CT", "", ""), FoundStudy("1.2", date(2026, 2, 28), "", None), False),
        ({"days": 3}, ("CT", "", ""), FoundStudy("1.2", date(2026, 3, 5), "", None), False),
        ({}, ("CT", "", ""), FoundStudy("1.2", None, "", None), False),
    ],
)
def test_what_a_rule_means(rule: dict[str, object], series: tuple[str, ...], study: FoundStudy, wanted: bool) -> None:
    assert wants(PullRule.model_validate(rule), study, FoundSeries("1", *series), TODAY) is wanted


def test_odd_items_are_passed_over() -> None:
    def item(**values: object) -> dict[str, object]:
        return {f"{tag[1:]}": {"vr": "UI", "Value": value} for tag, value in values.items()}

    odd: list[dict[str, object]] = [
        {}, {"0020000D": 7}, {"0020000D": {"Value": "x"}}, item(t0020000D=["../x"]), item(t0020000D=[{}]),
        item(t0020000D=["1." * 60 + "1"]),
    ]  # fmt: skip
    assert list(studies_in(odd)) == []
    assert list(series_in(odd)) == []
    (good,) = studies_in([item(t0020000D=["1.2"], t00201208=[5], t00080020=["20260304"])])
    assert (good.instances, good.day) == (5, TODAY)
    assert not is_uid("")


def test_the_door_knows_its_tokens(tmp_path) -> None:
    path = tmp_path / "tokens"
    path.write_text("a" * 32 + "\n" + "b" * 40 + "\n", encoding="ascii")
    digests = digests_of(path)
    refuse_stranger("Bearer " + "b" * 40, digests)
    for wrong in ("", "Bearer", "Bearer x", "Basic " + "a" * 32, "a" * 32):
        with pytest.raises(RefusedError):
            refuse_stranger(wrong, digests)
    for content in ("", "short"):
        path.write_text(content, encoding="ascii")
        with pytest.raises(UnavailableError) as caught:
            digests_of(path)
        assert caught.value.code is Code.MISSING_CERTIFICATE
        assert "short" not in str(caught.value).replace("too short", "")


def test_a_study_is_parked_after_many_tries_and_wakes_when_it_grows(tmp_path) -> None:
    now = [1000.0]
    pulled = Pulled(connect(tmp_path / "db", SCHEMA), lambda: now[0])
    for _ in range(MOST_ATTEMPTS):
        assert not pulled.is_settled("k", 5, "r")
        pulled.postpone("k", 5, "r", code="peer-garbled", chance=0.5)
        assert pulled.is_settled("k", 5, "r")
        now[0] += 7 * 3600
    assert pulled.state().parked == 1
    assert pulled.is_settled("k", 5, "r")
    assert not pulled.is_settled("k", 6, "r")


@pytest.mark.parametrize(
    "tables",
    [
        {"pull": {"rules": [{}]}}, {"stow": {"enabled": True}}, {"pacs": {"send": "c-store"}}, {"pacs": {"send": "stow"}},
        {"pacs": {"dicomweb": "http://pacs/dicom-web", "token_file": "keys/t"}}, {"pacs": {"dicomweb": "ftp://pacs"}},
        {"pacs": {"dicomweb": "https://pacs", "token_file": "t", "password_file": "p"}}, {"pull": {"rules": [{"modality": ""}]}},
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(tmp_path, tables: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        NodeSettings.model_validate({"home": tmp_path, **tables})


def test_by_default_nothing_of_it_runs(tmp_path) -> None:
    from client.parts import PARTS, parts_of

    assert set(PARTS) - set(parts_of(NodeSettings(home=tmp_path))) == {"stow", "pacs", "context", "tunnel"}
