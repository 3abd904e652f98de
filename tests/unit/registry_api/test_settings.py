"""Settings: the file as the centre writes it, overlays, and one clear sentence for each mistake."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError, UnavailableError
from registry_api.settings import load_settings
from registry_api.thresholds import read_lines

FULL = """
[http]
host = "127.0.0.1"
port = 9000
origin = "https://registry.example"
certificate = "pki/registry.pem"
key = "pki/registry.key"
[link]
host = "127.0.0.1"
port = 9001
address = "registry.example:9001"
[fleet]
address = "registry.example:9002"
[authority]
certificate = "pki/ca.pem"
key = "pki/ca.key"
node_days = 30
[secrets]
grant = "secrets/grant.key"
counts = "secrets/counts.key"
release_root = "catalogue/metadata/1.root.json"
service_token = "secrets/service.token"
[database]
url = "sqlite:///registry.db"
[disclosure]
minimum = 10
rounding = 5
sites = 2
dominance = 0.85
[models]
directory = "registry-models"
[witness]
directory = ""
"""


def load(folder: Path, text: str = FULL):
    (folder / "registry.toml").write_text(text)
    return load_settings(folder)


def test_the_file_of_the_centre_is_read(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.http.port == 9000
    assert settings.within(settings.secrets.grant) == tmp_path / "secrets" / "grant.key"
    assert settings.database_url == f"sqlite:///{tmp_path}/registry.db"


def test_every_key_has_a_default(tmp_path: Path) -> None:
    assert load(tmp_path, "").link.port == 8444


def test_an_absolute_path_and_another_database_stay_as_they_are(tmp_path: Path) -> None:
    settings = load(tmp_path, '[database]\nurl = "postgresql+pg8000://u@db/r"\n[authority]\nkey = "/etc/ca.key"\n')
    assert settings.database_url == "postgresql+pg8000://u@db/r"
    assert settings.within(settings.authority.key) == Path("/etc/ca.key")


def test_the_environment_goes_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACINUS_REGISTRY_HTTP__PORT", "7777")
    assert load(tmp_path).http.port == 7777


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[http]\nprot = 1\n", "http.prot"),
        ("[http]\nport = 0\n", "http.port"),
        ("[authority]\nnode_days = 4000\n", "authority.node_days"),
        ("http = 3\n", "http"),
        ("[database\n", "is not TOML"),
        ("[disclosure]\nminimum = 9\n", "disclosure.minimum"),
        ("[disclosure]\nrounding = 3\n", "disclosure.rounding"),
        ("[disclosure]\nsites = 1\n", "disclosure.sites"),
        ("[disclosure]\ndominance = 0.9\n", "disclosure.dominance"),
        ("[disclosure]\nrounding = 20\n", "rounding must not be coarser"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InvalidInputError, match=named) as raised:
        load(tmp_path, text)
    assert raised.value.code is Code.BAD_SETTING
    assert "\n" not in str(raised.value)


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="acinus-centre"):
        load_settings(tmp_path)


def test_thresholds_that_hold_and_that_are_refused_are_written_down(tmp_path: Path) -> None:
    steps = [
        "",
        "minimum = 20",
        "minimum = 20\nsites = 3",
        "minimum = 12",
        "minimum = 9",
        "minimum = 9",
        "minimum = 12",
        "",
    ]
    for step in steps:
        with suppress(InvalidInputError):
            load(tmp_path, f"[disclosure]\n{step}\n")
    lines = read_lines(tmp_path)
    assert [(one.event, one.thresholds["minimum"], one.thresholds["sites"]) for one in lines] == [
        ("tightened", 20, 2), ("tightened", 20, 3), ("weakened", 12, 2), ("refused", 9, 2), ("weakened", 10, 2),
    ]  # fmt: skip


def test_weakening_by_the_environment_is_written_down_and_other_mistakes_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mistake in ("minimum = 30.5", "dominance = 'x'", "dominance = inf", "rounding = 20"):
        with pytest.raises(InvalidInputError):
            load(tmp_path, f"[disclosure]\n{mistake}\n")
    assert read_lines(tmp_path) == []
    monkeypatch.setenv("ACINUS_REGISTRY_DISCLOSURE__DOMINANCE", "0.9")
    with pytest.raises(InvalidInputError):
        load(tmp_path)
    assert [(one.event, one.thresholds["dominance"]) for one in read_lines(tmp_path)] == [("refused", 0.9)]


@pytest.mark.parametrize(
    "damage", [lambda lines: lines[1:], lambda lines: [lines[0].replace(b"20", b"21"), *lines[1:]], lambda _: [b"x"]]
)
def test_thresholds_do_not_hold_where_the_log_was_changed(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]]
) -> None:
    for minimum in (20, 30):
        load(tmp_path, f"[disclosure]\nminimum = {minimum}\n")
    path = tmp_path / "logs" / "thresholds.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in damage(path.read_bytes().splitlines())))
    with pytest.raises(RefusedError) as raised:
        load(tmp_path)
    assert raised.value.code is Code.AUDIT_BROKEN


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_line_that_was_never_written_to_its_end_counts_for_nothing(tmp_path: Path, kept: int) -> None:
    """As after a power cut, or on a full disk: the registry starts, and the line is written anew."""
    load(tmp_path, "[disclosure]\nminimum = 20\n")
    path = tmp_path / "logs" / "thresholds.jsonl"
    first = path.read_bytes()
    path.write_bytes(first + first[:kept])
    assert [one.thresholds["minimum"] for one in read_lines(tmp_path)] == [20]
    load(tmp_path, "[disclosure]\nminimum = 30\n")
    assert [one.thresholds["minimum"] for one in read_lines(tmp_path)] == [20, 30]


def test_thresholds_that_cannot_be_written_down_do_not_hold(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    assert load(tmp_path).disclosure.minimum == 10
    with pytest.raises(UnavailableError) as raised:
        load(tmp_path, "[disclosure]\nminimum = 20\n")
    assert raised.value.code is Code.DISK_FULL


def test_a_stricter_rule_is_accepted(tmp_path: Path) -> None:
    settings = load(tmp_path, "[disclosure]\nminimum = 20\nrounding = 10\nsites = 3\ndominance = 0.7\n")
    assert settings.disclosure.minimum == 20
