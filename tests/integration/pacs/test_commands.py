"""`acinus-node pacs` and `status`, as a person types them, against Orthanc."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.pacs.pull import _digest
from client.pacs.pulled import MOST_ATTEMPTS
from client.rooms.imaging import open_pseudonyms
from client.rooms.pacs import open_outgoing, open_pulled
from client.sections import PullRule
from protocol.codes import Code
from tests.fakes.ct_series import plain_series, uid
from tests.fakes.orthanc import Orthanc
from tests.fakes.pacs_site import Site
from tests.fakes.scans import chest_series


def typed(site: Site, *words: str, given: str = "") -> tuple[int, dict[str, Any]]:
    """Type a command with --json; return its exit code and its document."""
    lines = []
    for name, table in site.tables.items():
        rules = table.get("rules", [])
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items() if key != "rules")]
        for rule in rules:
            lines += [f"[[{name}.rules]]", *(f"{key} = {json.dumps(value)}" for key, value in rule.items())]
    (site.home / "node.toml").write_text("\n".join(lines), encoding="utf-8")
    result = CliRunner().invoke(app, ["--home", str(site.home), *words, "--json"], input=given)
    assert result.stdout.strip(), result.output
    return result.exit_code, json.loads(result.stdout)


def test_check_pull_and_send(site: Site, orthanc: Orthanc) -> None:
    site = site.changed(pacs={"send": "c-store"}, pull={"rules": [{"days": 36_500}]})
    assert typed(site, "pacs", "check") == (0, {"ok": True, "answered": ["dicomweb", "c-store"]})
    study = orthanc.keep(chest_series())
    code, pulled = typed(site, "pacs", "pull")
    assert (code, pulled["studies"], pulled["instances"]) == (0, 1, 16)
    key = site.measure()
    code, sent = typed(site, "pacs", "send", key)
    assert (code, sent["settled"], sent["findings"]) == (0, 2, {"waiting": 0, "sent": 2, "parked": 0})
    assert len(orthanc.tags(study, "SR")) == 1
    code, status = typed(site, "status")
    assert code == 0
    assert status["pacs"]["findings"]["sent"] == 2
    assert status["pacs"]["pull"]["complete"] == 1
    assert "pacs" in status["parts"]
    assert str(uid("study")) not in json.dumps(status)


def test_one_study_from_standard_input(site: Site, orthanc: Orthanc) -> None:
    orthanc.keep(plain_series(2))
    code, pulled = typed(site, "pacs", "pull", "--study", "-", given=f"{uid('study')}\n")
    assert (code, pulled["instances"]) == (0, 2)


@pytest.mark.parametrize(("words", "tried"), [(["--retry"], 1), (["--study", str(uid("study"))], 1), ([], 0)])
def test_a_parked_study_is_tried_again_or_fetched_by_hand(
    site: Site, orthanc: Orthanc, words: list[str], tried: int
) -> None:
    rules = (PullRule(days=36_500),)
    site = site.changed(pull={"rules": [{"days": 36_500}]})
    orthanc.keep(plain_series(2))
    pulled, key = open_pulled(site.settings), open_pseudonyms(site.settings).study_keys(str(uid("study")))[0]
    for _ in range(MOST_ATTEMPTS):
        pulled.postpone(key, 2, _digest(rules), code=Code.PEER_GARBLED.value, chance=0.5)
    code, done = typed(site, "pacs", "pull", *words)
    assert (code, done["studies"]) == (0, tried)
    assert pulled.state().parked == 1 - tried
    assert [one.study_key for one in pulled.stuck()] == [key] * (1 - tried)


@pytest.mark.parametrize(
    ("tables", "words", "code", "why"),
    [
        ({"pacs": {"dicomweb": ""}}, ["pacs", "check"], 2, "bad-setting"),
        ({"pacs": {"dicomweb": ""}}, ["pacs", "pull"], 2, "bad-setting"),
        ({}, ["pacs", "pull"], 2, "bad-request"),
        ({}, ["pacs", "send"], 2, "bad-setting"),
        ({"pacs": {"send": "stow"}}, ["pacs", "send", "0" * 32], 2, "not-found"),
        ({"pull": {"rules": [{}]}, "pacs": {"dicomweb": ""}}, ["status"], 2, "bad-setting"),
        ({"pacs": {"ca": "keys/nothing.pem"}}, ["pacs", "check"], 5, "missing-certificate"),
    ],
)
def test_what_cannot_be_done_is_said(
    site: Site, tables: dict[str, dict[str, Any]], words: list[str], code: int, why: str
) -> None:
    changed = Site(site.home, site.orthanc, **{n: {**site.tables.get(n, {}), **t} for n, t in tables.items()})
    exit_code, said = typed(changed, *words)
    assert (exit_code, said["code"]) == (code, why)


def test_without_a_pacs_nothing_is_shown(site: Site) -> None:
    quiet = site.changed(stow={"enabled": False})
    code, status = typed(quiet, "status")
    assert (code, status["pacs"]) == (0, None)
    assert not {"pacs", "stow"} & set(status["parts"])
    assert open_outgoing(quiet.settings).counts() == {"waiting": 0, "sent": 0, "parked": 0}
