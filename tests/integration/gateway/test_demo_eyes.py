"""The demo's two ways of reading, by a program and by a browser, at a real gateway: both are refused, let in and kept alike."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.gateway.report import ReportCreate
from client.gateway.viewer import find_bundle
from deploy.local.browser import pin, reading_browser
from deploy.local.chromium import find_chromium
from deploy.local.reader import Eyes, Hospital, Program, ReaderKey
from protocol.errors import UnavailableError
from tests.fakes.certificates import make_certificate
from tests.fakes.gateway import CLAIM, REQUEST
from tests.integration.gateway.conftest import LiveGateway
from tests.unit.client.gateway.test_app import REPORT

pytestmark = pytest.mark.e2e


@pytest.fixture(params=["program", "browser"])
def eyes(request: pytest.FixtureRequest, live: LiveGateway, tmp_path: Path) -> Iterator[Eyes]:
    where = Hospital(live.origin, live.ca)
    if request.param == "program":
        yield Program(where, ReaderKey(tmp_path / "reader.pem"))
        return
    found = find_chromium()
    if found is None:
        pytest.skip("Chromium and chromedriver are not installed")
    try:
        find_bundle(tmp_path)
    except UnavailableError:
        pytest.skip("the viewer's bundle is not installed (npm ci)")
    (tmp_path / "reader").mkdir()
    with reading_browser(found, where, tmp_path / "reader") as browser:
        yield browser


def test_a_reader_is_refused_let_in_sees_and_reports(eyes: Eyes, live: LiveGateway, tmp_path: Path) -> None:
    def grant() -> str:
        return live.beside.centre.grant(eyes.thumbprint, now=datetime.now(UTC))

    assert eyes.open(grant()) == "reader-not-approved"
    live.beside.keys.approve(eyes.thumbprint, name="Dr Demo")
    assert eyes.open(grant()) == ""
    assert eyes.look(REQUEST)
    assert eyes.hand_in(CLAIM, REPORT) == live.beside.reports.of_request(REQUEST)[0].report_sha256
    [kept] = live.beside.reports.of_request(REQUEST)
    assert kept.report.reader_key == eyes.thumbprint
    assert kept.report.content == ReportCreate.model_validate(REPORT)
    picture = tmp_path / "reader" / "viewer.png"
    assert not picture.parent.exists() or picture.read_bytes().startswith(b"\x89PNG")


def test_a_grant_of_another_site_is_refused_with_its_code(eyes: Eyes, live: LiveGateway) -> None:
    live.beside.keys.approve(eyes.thumbprint, name="Dr Demo")
    token = live.beside.centre.grant(eyes.thumbprint, now=datetime.now(UTC), aud="elsewhere")
    assert eyes.open(token) == "grant-invalid"


def test_a_gateway_under_another_ca_is_not_trusted(live: LiveGateway, tmp_path: Path) -> None:
    stranger = make_certificate(tmp_path / "stranger")
    with pytest.raises(ssl.SSLCertVerificationError):
        pin(Hospital(live.origin, stranger))
    assert len(pin(Hospital(live.origin, live.ca))) == 44


def test_the_readers_key_is_for_the_reader_alone(tmp_path: Path) -> None:
    key = ReaderKey(tmp_path / "reader.pem")
    assert (tmp_path / "reader.pem").stat().st_mode & 0o777 == 0o600
    assert len(key.thumbprint) == 43
