"""`init` makes a whole centre or nothing, and never over something that is there."""

import os
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, UnavailableError
from registry_api.settings import load_settings as load_registry_settings
from server import home as home_module
from server.home import SERVERS, Plot, make_home
from server.runtime import listing_keys, open_catalogue, open_repository
from server.settings import load_settings
from tests.fakes.outcomes import code_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_both_programs_read_what_init_wrote(made_home: Path) -> None:
    centre, registry = load_settings(made_home), load_registry_settings(made_home)
    assert (registry.http.port, registry.link.port, centre.fleet.port, centre.superlink.port) == (
        8443,
        8444,
        8445,
        8446,
    )
    assert centre.registry.origin == registry.http.origin == "https://localhost:8443"
    assert {centre.fleet.host, registry.http.host, registry.link.host} == {"127.0.0.1"}


def test_everything_that_the_settings_name_is_there(made_home: Path) -> None:
    for name in ("centre.toml", "registry.toml"):
        tables = tomllib.loads((made_home / name).read_text())
        paths = [
            v
            for table in tables.values()
            for v in table.values()
            if isinstance(v, str) and v.startswith(("pki/", "secrets/", "catalogue/"))
        ]
        assert paths
        assert all((made_home / path).is_file() for path in paths)


def test_the_catalogue_holds_the_shipped_release(made_home: Path) -> None:
    catalogue = open_catalogue(load_settings(made_home))
    assert catalogue.names() == ["ggo@0"]
    catalogue.weights("ggo@0")


def test_nothing_of_it_is_open_to_others(made_home: Path) -> None:
    for path in [made_home, *made_home.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_keys_fit_one_another(home: Path) -> None:
    ca = x509.load_pem_x509_certificate((home / "pki" / "ca.pem").read_bytes())
    for name in SERVERS:
        leaf = x509.load_pem_x509_certificates((home / "pki" / f"{name}.pem").read_bytes())[0]
        key = serialization.load_pem_private_key((home / "pki" / f"{name}.key").read_bytes(), password=None)
        leaf.verify_directly_issued_by(ca)
        assert key.public_key() == leaf.public_key()
    settings = load_settings(home)
    open_repository(settings).enlist(open_catalogue(settings).signed("ggo@0"), listing_keys(settings))


def test_a_centre_with_a_name_listens_to_the_world_but_its_superlink_does_not(tmp_path: Path) -> None:
    make_home(tmp_path / "c", Plot(base_port=20_000, host_name="centre.example"), now=NOW)
    centre, registry = load_settings(tmp_path / "c"), load_registry_settings(tmp_path / "c")
    assert (centre.fleet.host, registry.link.address) == ("0.0.0.0", "centre.example:20001")
    assert centre.superlink_address == "127.0.0.1:20003"
    leaf = x509.load_pem_x509_certificates((tmp_path / "c" / "pki" / "superlink.pem").read_bytes())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]


def test_two_centres_share_no_secret(tmp_path: Path, made_home: Path) -> None:
    make_home(tmp_path / "c", Plot(), now=NOW)
    for path in [*(made_home / "secrets").rglob("*.*"), *(made_home / "pki").iterdir()]:
        assert path.read_bytes() != (tmp_path / "c" / path.relative_to(made_home)).read_bytes()


@pytest.mark.parametrize("port", [0, -1, 65_533, 70_000])
def test_four_ports_must_exist(port: int) -> None:
    with pytest.raises(InvalidInputError, match="--base-port") as caught:
        Plot(base_port=port)
    assert caught.value.code is Code.BAD_SETTING
    Plot(base_port=65_532)


@pytest.mark.parametrize(
    "name", ["", "a b", 'x"\n[evil]', "-x", "x-", "centre_1", "é.example", "::1", "https://x", "a" * 254]
)
def test_a_name_that_cannot_stand_in_an_address_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="--host-name"):
        Plot(host_name=name)


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    make_home(tmp_path / "c", Plot(), now=NOW)
    assert load_settings(tmp_path / "c")


def test_the_folder_in_which_one_stands_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c").mkdir()
    monkeypatch.chdir(tmp_path / "c")
    make_home(Path(), Plot(), now=NOW)
    assert load_settings(tmp_path / "c")


@pytest.mark.parametrize("what", ["file", "folder", "centre"])
def test_what_is_there_is_left_as_it_is(tmp_path: Path, made_home: Path, what: str) -> None:
    home = {"file": tmp_path / "f", "folder": tmp_path / "d", "centre": made_home}[what]
    (tmp_path / "f").write_text("mine")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("mine")
    before = {path: path.stat().st_mtime_ns for path in [home, *home.rglob("*")]}
    with pytest.raises(ConflictError, match="Nothing was changed"):
        make_home(home, Plot(), now=NOW)
    assert {path: path.stat().st_mtime_ns for path in [home, *home.rglob("*")]} == before


def test_a_parent_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    assert code_of(lambda: make_home(tmp_path / "f" / "c", Plot(), now=NOW)) is Code.DISK_FULL


@pytest.mark.parametrize("step", range(1, 12))
def test_a_disk_that_fills_up_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    writes = iter(range(1, 100))
    real = home_module.write_durably

    def full(path: Path, content: bytes) -> None:
        if next(writes) == step:
            raise UnavailableError(Code.DISK_FULL)
        real(path, content)

    monkeypatch.setattr(home_module, "write_durably", full)
    assert code_of(lambda: make_home(tmp_path / "c", Plot(), now=NOW)) is Code.DISK_FULL
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - the hidden draft as well
