"""What is installed is what was locked: every package by version and by hash, and nothing by an address."""

import json
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
ENTRY = re.compile(
    r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^\s;]+)(?P<marker> *;[^\\]*)?(?P<hashes>( \\\n +--hash=sha256:[0-9a-f]{64})+)$",
    re.MULTILINE,
)


def entries(lock: Path) -> list[re.Match[str]]:
    return list(ENTRY.finditer(lock.read_text(encoding="utf-8")))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_of_a_lock_is_a_version_with_its_hashes(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    left = ENTRY.sub("", re.sub(r"^#.*$", "", text, flags=re.MULTILINE)).strip()
    assert entries(lock)
    assert left == "", "what is neither a comment nor a version with hashes is not pinned"
    assert "://" not in text


def test_what_is_installed_is_what_the_lock_names() -> None:
    """Wheels of torch and what belongs to it differ by the build that was found; everything else is one version."""
    pinned = {found["name"]: found["version"] for found in entries(ROOT / "requirements.lock")}
    assert len(pinned) > 50
    other = {}
    for name, wanted in pinned.items():
        try:
            here = version(name)
        except PackageNotFoundError:  # of another system, or of a build of torch that is not here
            continue
        if here.partition("+")[0] != wanted.partition("+")[0]:
            other[name] = (here, wanted)
    assert other == {}


def test_setting_up_asks_for_hashes_whenever_it_installs_from_a_lock() -> None:
    calls = [
        line
        for line in (ROOT / "deploy/setup.sh").read_text(encoding="utf-8").splitlines()
        if ".lock" in line and "pip " in line
    ]
    assert len(calls) > 3
    assert [line for line in calls if "--require-hashes" not in line] == []


def test_the_viewers_packages_have_their_hashes_too() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    fetched = {name: package for name, package in packages.items() if name}
    assert fetched
    assert [name for name, package in fetched.items() if not package.get("integrity", "").startswith("sha512-")] == []
