"""Findings go to a foreign PACS over DIMSE under TLS: dcmtk's storescp. Who is not who they should be gets nothing."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest

from bench.peers import system_program
from client.pacs.lines import CStoreLine
from client.settings import NodeSettings
from client.store.part10 import as_part10
from protocol.codes import Code
from protocol.errors import FederationError, RefusedError, UnavailableError
from tests.fakes.authority import Authority, Identity
from tests.fakes.ct_series import plain_series
from tests.fakes.dicom_peer import answers, wait_for
from tests.fakes.ports import free_port

pytestmark = pytest.mark.skipif(system_program("storescp") is None, reason="dcmtk is not installed")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca", "Hospital")


@contextmanager
def storescp(folder: Path, *words: str | Path) -> Iterator[int]:
    """Run dcmtk's receiver and return its port; what it takes lies in `folder`."""
    folder.mkdir()
    port = free_port()
    with (folder.parent / "storescp.log").open("wb") as log:
        scp = subprocess.Popen(
            [str(system_program("storescp")), "-od", str(folder), "-aet", "PACS", *map(str, words), str(port)],
            stdout=log,
            stderr=log,
        )
        try:
            wait_for(lambda: answers(port), 20)
            yield port
        finally:
            scp.terminate()
            scp.wait(10)


def tls_words(own: Identity, trusted: Authority) -> list[str | Path]:
    return ["+tls", own.key, own.certificate, "+cf", trusted.path]


def home_of(folder: Path, port: int, trusted: Authority, own: Identity | None, host: str = "localhost") -> NodeSettings:
    pacs = {"host": host, "port": port, "ae_title": "PACS", "tls": True, "ca": str(trusted.path), "send": "c-store"}
    if own is not None:
        pacs |= {"certificate": str(own.certificate), "key": str(own.key)}
    return NodeSettings.model_validate({"home": folder, "pacs": pacs})


def an_object(folder: Path) -> Path:
    """A Secondary Capture, as the picture of a finding is."""
    dataset = plain_series(1, 16).dataset(0)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    path = folder / "object.dcm"
    path.write_bytes(as_part10(dataset))
    return path


def refused(settings: NodeSettings) -> FederationError:
    with pytest.raises(FederationError) as caught, CStoreLine(settings):
        pass
    return caught.value


def test_an_object_arrives_under_tls_with_certificates_on_both_sides(tmp_path: Path, authority: Authority) -> None:
    path = an_object(tmp_path)
    with storescp(tmp_path / "got", *tls_words(authority.issue("pacs"), authority)) as port:
        with CStoreLine(home_of(tmp_path, port, authority, authority.issue("node"))) as line:
            assert line.send(path) is None
        (got,) = (tmp_path / "got").iterdir()
    assert pydicom.dcmread(got).SOPInstanceUID == pydicom.dcmread(path).SOPInstanceUID


def test_a_pacs_of_another_authority_is_refused_in_one_clear_sentence(tmp_path: Path, authority: Authority) -> None:
    stranger = Authority(tmp_path / "other", "Elsewhere")
    with storescp(tmp_path / "got", *tls_words(stranger.issue("pacs"), stranger)) as port:
        error = refused(home_of(tmp_path, port, authority, authority.issue("node")))
        assert list((tmp_path / "got").iterdir()) == []
    assert isinstance(error, RefusedError)
    assert error.code is Code.PEER_UNTRUSTED
    assert "[pacs] ca" in str(error)


def test_a_certificate_for_another_name_is_no_better(tmp_path: Path, authority: Authority) -> None:
    with storescp(tmp_path / "got", *tls_words(authority.issue("pacs", host="elsewhere.example"), authority)) as port:
        error = refused(home_of(tmp_path, port, authority, authority.issue("node")))
    assert error.code is Code.PEER_UNTRUSTED


def test_a_pacs_that_has_expired_is_not_trusted(tmp_path: Path, authority: Authority) -> None:
    with storescp(tmp_path / "got", *tls_words(authority.issue("pacs", days=-1), authority)) as port:
        assert refused(home_of(tmp_path, port, authority, authority.issue("node"))).code is Code.PEER_UNTRUSTED


@pytest.mark.parametrize("own", ["none", "strange"])
def test_a_pacs_that_does_not_take_our_certificate_says_which_setting(
    tmp_path: Path, authority: Authority, own: str
) -> None:
    strange = Authority(tmp_path / "other", "Elsewhere").issue("node") if own == "strange" else None
    with storescp(tmp_path / "got", *tls_words(authority.issue("pacs"), authority)) as port:
        error = refused(home_of(tmp_path, port, authority, strange))
    assert error.code is Code.PEER_UNTRUSTED
    assert "[pacs] certificate" in str(error)


def test_a_pacs_without_tls_is_told_from_one_that_is_down(tmp_path: Path, authority: Authority) -> None:
    with storescp(tmp_path / "got") as port:
        error = refused(home_of(tmp_path, port, authority, None))
    assert error.code is Code.PEER_UNREACHABLE
    assert "may speak no TLS" in str(error)
    down = refused(home_of(tmp_path, free_port(), authority, None))
    assert isinstance(down, UnavailableError)
    assert down.code is Code.PEER_UNREACHABLE
    assert "Is it up?" in str(down)


def test_a_pacs_that_wants_tls_is_not_spoken_to_in_the_open(tmp_path: Path, authority: Authority) -> None:
    with storescp(tmp_path / "got", *tls_words(authority.issue("pacs"), authority)) as port:
        settings = home_of(tmp_path, port, authority, None)
        plain = settings.model_copy(update={"pacs": settings.pacs.model_copy(update={"tls": False})})
        assert refused(plain).code is Code.PEER_UNREACHABLE
