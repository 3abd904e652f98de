"""Settings come from the file, then from the environment; what is wrong is named with its place."""

from pathlib import Path

import pytest

from protocol.codes import Code
from protocol.errors import InvalidInputError
from server.settings import CentreSettings, load_settings


def test_the_defaults_are_what_init_writes(made_home: Path) -> None:
    assert load_settings(made_home) == CentreSettings(home=made_home)


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "centre.toml").write_text("")
    assert load_settings(tmp_path) == CentreSettings(home=tmp_path)


def test_paths_start_at_the_home(settings: CentreSettings) -> None:
    assert settings.within("pki/ca.pem") == settings.home / "pki" / "ca.pem"
    assert settings.within("/etc/ca.pem") == Path("/etc/ca.pem")
    assert (settings.runs, settings.logs) == (settings.home / "runs", settings.home / "logs")
    assert settings.superlink_address == "127.0.0.1:8446"


def test_the_home_is_absolute(made_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made_home.parent)
    assert load_settings(Path("centre")).home == made_home


def test_a_variable_wins_over_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACINUS_CENTRE_EVALUATION__PHANTOMS", "3")
    monkeypatch.setenv("ACINUS_CENTRE_FLEET__REQUEST_MB", "32")
    monkeypatch.setenv("ACINUS_CENTRE_HOME", "/elsewhere")
    monkeypatch.setenv("ACINUS_NODE_FLEET__PORT", "1")
    settings = load_settings(home)
    assert (settings.evaluation.phantoms, settings.fleet.request_mb, settings.fleet.port) == (3, 32, 8445)
    assert settings.home == home


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[fleet]\nprt = 1\n", "fleet.prt"),
        ("[fleets]\nport = 1\n", "fleets"),
        ("[fleet]\nport = 0\n", "fleet.port"),
        ("[fleet]\nport = 70000\n", "fleet.port"),
        ('[fleet]\nport = "many"\n', "fleet.port"),
        ("fleet = 3\n", "fleet"),
        ("[fleet]\nrequest_mb = 24\n", "fleet.request_mb"),
        ('[registry]\norigin = "http://x"\n', "registry.origin"),
        ('[registry]\norigin = "not an address"\n', "registry.origin"),
        ("[evaluation]\nphantoms = 0\n", "evaluation.phantoms"),
        ("[superlink]\nhost = '0.0.0.0'\n", "superlink.host"),
        ("[fleet\n", "cannot be read as TOML"),
        ("[fleet]\n[fleet]\n", "cannot be read as TOML"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "centre.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=says) as caught:
        load_settings(tmp_path)
    assert caught.value.code is Code.BAD_SETTING
    assert str(tmp_path / "centre.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("FLEET__PORT", "many"), ("FLEET__PRT", "1"), ("FLEETS__PORT", "1")])
def test_a_wrong_variable_is_named_and_not_the_file(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"ACINUS_CENTRE_{name}", value)
    with pytest.raises(InvalidInputError, match=f"^ACINUS_CENTRE_{name}: "):
        load_settings(home)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "centre.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match="cannot be read as TOML"):
        load_settings(tmp_path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "centre.toml").mkdir()
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_settings(tmp_path)


def test_where_there_is_no_centre_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=f"acinus-centre --home {tmp_path} init"):
        load_settings(tmp_path)
