"""What the stock programs are told, read back by themselves where they are installed."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from protocol.codes import Code
from server.relay.files import (
    KEYS,
    NAMES,
    authorized_keys,
    make_host_key,
    names,
    stock_program,
    write_config,
    write_plan,
)
from server.relay.plan import Plan, plan_of
from server.settings import CentreSettings
from tests.fakes.outcomes import code_of
from tests.unit.server.relay.test_plan import key, site

PLAN = plan_of([site("north", 1), site("south", 2)])
SBIN = "/usr/sbin:/usr/bin"


@pytest.fixture
def settings(tmp_path: Path) -> CentreSettings:
    (tmp_path / "pki").mkdir()
    return CentreSettings.model_validate({"home": tmp_path, "relay": {"port": 44_300, "tunnel_port": 44_301}})


def test_each_key_may_listen_on_its_own_sites_port_and_do_nothing_else() -> None:
    first, second = authorized_keys(PLAN).splitlines()
    assert first == f'restrict,port-forwarding,permitlisten="localhost:20001" {key(1)} north'
    assert second.startswith('restrict,port-forwarding,permitlisten="localhost:20002" ')


def test_a_name_leads_to_its_sites_port() -> None:
    assert names(PLAN) == "north.example 20001\nsouth.example 20002\n"
    assert names(Plan()) == authorized_keys(Plan()) == ""


def test_everything_is_closed_to_others(settings: CentreSettings) -> None:
    folder = write_config(settings)
    write_plan(folder, PLAN)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert {path.name for path in folder.iterdir()} == {"haproxy.cfg", "sshd_config", "authorized_keys", "names.map"}


def test_writing_again_keeps_the_host_key_and_the_lists(settings: CentreSettings) -> None:
    folder = write_config(settings)
    write_plan(folder, PLAN)
    before = {path: path.read_bytes() for path in (settings.home / "pki" / "relay.key", folder / KEYS, folder / NAMES)}
    write_config(settings)
    assert {path: path.read_bytes() for path in before} == before


def test_nodes_pin_the_other_half_of_the_host_key(tmp_path: Path) -> None:
    make_host_key(tmp_path / "relay.key")
    private = serialization.load_ssh_private_key((tmp_path / "relay.key").read_bytes(), password=None)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert (tmp_path / "relay.pub").read_bytes() == public + b"\n"


def test_no_key_of_tls_is_in_the_relays_configuration(settings: CentreSettings) -> None:
    text = (write_config(settings) / "haproxy.cfg").read_text()
    assert " ssl " not in text
    assert "crt" not in text
    assert "mode tcp" in text


@pytest.mark.skipif(shutil.which("haproxy", path=SBIN) is None, reason="haproxy is not installed")
def test_haproxy_takes_its_configuration(settings: CentreSettings) -> None:
    folder = write_config(settings)
    write_plan(folder, PLAN)
    command = [stock_program("haproxy", "haproxy"), "-c", "-f", "haproxy.cfg"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_a_program_that_is_not_installed_is_named_with_its_package() -> None:
    assert code_of(lambda: stock_program("no-such-program", "a-package")) is Code.NODE_FAULT
