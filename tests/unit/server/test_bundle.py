"""What a hospital allows by its hash is exactly these files, the same from every checkout."""

import io
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from server import bundle as bundle_module
from server.bundle import INCLUDED, Bundle, make_bundle

ROOT = Path(__file__).resolve().parents[3]
GENERATED = {"pyproject.toml", "LICENSE", ".info/CONTENT"}


def names_in(bundle: Bundle) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_bundle()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small tree with everything that must and must not travel."""
    files = {
        "server/app.py": "app = 1\n", "server/__init__.py": "", "client/app.py": "app = 1\n", "client/cli.py": "", "client/ledger/store.py": "",
        "strategies/fedavg.py": "", "models/net.py": "", "models/weights/starting.safetensors": "", "protocol/plan.py": "",
        "registry_api/main.py": "", "tests/unit/test_x.py": "", "deploy/demo.py": "", "docs/x.md": "", "conftest.py": "", "secret.key": "",
        "server/notes.txt": "", "server/__pycache__/app.cpython-311.pyc": "",
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_exactly_the_packages_that_are_meant_to_travel_do(bundle: Bundle) -> None:
    folders = ("server", "strategies", "models", "protocol")
    sources = {path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py")}
    assert names_in(bundle) == sources | {"client/app.py"} | GENERATED


def test_nothing_else_ever_travels(bundle: Bundle) -> None:
    assert {name.partition("/")[0] for name in names_in(bundle)} == {
        "server", "strategies", "models", "protocol", "client", "pyproject.toml", "LICENSE", ".info",
    }  # fmt: skip
    assert [name for name in names_in(bundle) if name.startswith("client/")] == ["client/app.py"]
    assert all(name.endswith(".py") for name in names_in(bundle) - GENERATED)


def test_the_project_file_says_the_same(bundle: Bundle) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    assert tuple(project["fab-include"]) == INCLUDED
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        shipped = tomllib.loads(archive.read("pyproject.toml").decode())["tool"]["flwr"]["app"]
    assert shipped["components"] == project["components"]
    assert shipped["flwr-version-target"] == project["flwr-version-target"] == "1.41.0"
    assert shipped["config"] == {"run-dir": ""}


def test_of_a_tree_only_the_packages_travel(checkout: Path) -> None:
    assert names_in(make_bundle(checkout)) == GENERATED | {
        "server/app.py", "server/__init__.py", "client/app.py", "strategies/fedavg.py", "models/net.py", "protocol/plan.py",
    }  # fmt: skip


def test_dates_owners_and_modes_make_no_difference(checkout: Path) -> None:
    first = make_bundle(checkout)
    for path in checkout.rglob("*.py"):
        path.chmod(0o755)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert make_bundle(checkout) == first


def test_files_that_do_not_travel_make_no_difference(checkout: Path) -> None:
    first = make_bundle(checkout)
    (checkout / "registry_api" / "main.py").write_text("changed")
    (checkout / "client" / "cli.py").write_text("changed")
    assert make_bundle(checkout) == first


@pytest.mark.parametrize(
    "name", ["server/app.py", "client/app.py", "strategies/fedavg.py", "models/net.py", "protocol/plan.py"]
)
def test_one_more_blank_is_another_bundle(checkout: Path, name: str) -> None:
    first = make_bundle(checkout)
    (checkout / name).write_text((checkout / name).read_text() + " ")
    assert make_bundle(checkout).sha256 != first.sha256


def test_the_hash_is_of_the_whole_content(bundle: Bundle) -> None:
    import hashlib

    assert bundle.sha256 == hashlib.sha256(bundle.content).hexdigest()


def test_the_module_prints_the_hash_and_the_files(bundle: Bundle) -> None:
    done = subprocess.run([sys.executable, "-m", "server.bundle"], cwd=ROOT, capture_output=True, text=True, check=True)
    first, *names = done.stdout.split()
    assert first == make_bundle().sha256
    assert set(names) == names_in(bundle)


def test_the_root_is_where_the_packages_are() -> None:
    assert (bundle_module._ROOT / "server" / "bundle.py").samefile(bundle_module.__file__)
