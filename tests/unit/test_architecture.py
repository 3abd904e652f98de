"""What ARCHITECTURE.md says of imports and import-linter cannot see, because it knows other packages by their first name only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADAPTER = ROOT / "strategies" / "flower"
PUBLIC = {"flwr.app", "flwr.clientapp", "flwr.serverapp"}
PACKAGES = ("protocol", "identity", "models", "strategies", "client", "server", "registry_api", "deploy", "bench")


def imported_from_flower(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in named if name.split(".")[0] == "flwr")


@pytest.mark.parametrize("package", PACKAGES)
def test_one_folder_knows_flowers_private_modules(package: str) -> None:
    knowing = {
        path.relative_to(ROOT).as_posix(): private
        for path in (ROOT / package).rglob("*.py")
        if path.parent != ADAPTER and (private := set(imported_from_flower(path)) - PUBLIC)
    }
    assert not knowing


def test_the_adapter_does_know_them() -> None:
    known = {name for path in ADAPTER.glob("*.py") for name in imported_from_flower(path)}
    assert known - PUBLIC, "the test above sees nothing"
