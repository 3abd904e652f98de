"""The composition root: what it opens is real, and what it cannot open it names."""

import fcntl
from pathlib import Path

import pytest

from protocol.codes import Code
from protocol.errors import ConflictError
from server.home import SIGNING_KEYS
from server.runtime import only_run, open_catalogue, open_fleet, open_registry, open_trainer, utc_now
from server.settings import CentreSettings
from tests.fakes.outcomes import code_of


def test_a_made_centre_opens_as_a_whole(settings: CentreSettings) -> None:
    trainer = open_trainer(settings)
    assert trainer.catalogue.names() == ["ggo@0"]
    assert trainer.runs == settings.runs
    assert len(trainer.bundle.sha256) == 64
    trainer.fleet.close()
    open_registry(settings).close()


def test_progress_is_told_on_standard_error(settings: CentreSettings, capsys: pytest.CaptureFixture[str]) -> None:
    open_trainer(settings).say("round 1")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "round 1\n")


@pytest.mark.parametrize("content", [None, b"", b"no key", b"\xff\xfe"])
def test_a_signing_key_that_cannot_be_read_is_named(settings: CentreSettings, content: bytes | None) -> None:
    path = settings.home / "secrets" / "release.key"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert code_of(lambda: open_catalogue(settings)) is Code.MISSING_CERTIFICATE


def test_a_key_of_another_kind_signs_nothing(settings: CentreSettings) -> None:
    (settings.home / "secrets" / "release.key").write_bytes((settings.home / "pki" / "ca.key").read_bytes())
    assert code_of(lambda: open_catalogue(settings)) is Code.MISSING_CERTIFICATE


@pytest.mark.parametrize("name", SIGNING_KEYS)
def test_every_signing_key_is_one_that_could_sign_releases(settings: CentreSettings, name: str) -> None:
    changed = settings.model_copy(
        update={"signing": settings.signing.model_copy(update={"release_key": Path("secrets") / f"{name}.key"})}
    )
    open_catalogue(changed)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_token_that_cannot_be_read_is_named(settings: CentreSettings, content: bytes | None) -> None:
    path = settings.home / "secrets" / "service.token"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert code_of(lambda: open_registry(settings)) is Code.MISSING_CERTIFICATE


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\xfe"])
def test_an_authority_that_cannot_be_read_is_named(settings: CentreSettings, content: bytes | None) -> None:
    path = settings.home / "pki" / "ca.pem"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert code_of(lambda: open_fleet(settings)) is Code.MISSING_CERTIFICATE
    assert code_of(lambda: open_registry(settings)) is Code.MISSING_CERTIFICATE


def test_one_run_at_a_time(settings: CentreSettings) -> None:
    with only_run(settings), pytest.raises(ConflictError), only_run(settings):
        raise AssertionError("two at a time")
    with only_run(settings):
        pass


def test_the_lock_is_one_that_other_processes_see(settings: CentreSettings) -> None:
    with only_run(settings), (settings.runs / ".lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_of_runs_that_cannot_be_written_is_one_sentence(settings: CentreSettings) -> None:
    (settings.home / "runs").rmdir()
    (settings.home / "runs").write_text("a file")

    def hold() -> None:
        with only_run(settings):
            raise AssertionError("held")

    assert code_of(hold) is Code.DISK_FULL


def test_the_time_has_its_zone() -> None:
    assert utc_now().tzinfo is not None
