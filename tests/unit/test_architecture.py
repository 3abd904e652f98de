"""What ARCHITECTURE.md says of imports and import-linter cannot see, because it knows other packages by their first name only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADAPTER = ROOT / "strategies" / "flower"
PUBLIC = {"flwr.app", "flwr.clientapp", "flwr.serverapp"}
PACKAGES = ("protocol", "identity", "models", "strategies", "client", "server", "registry_api", "deploy", "bench")


UNPICKLING = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
PICKLES = {"torch.load", "torch.save", "torch.jit.load", "pandas.read_pickle", "pd.read_pickle"}


def unpickling(source: str) -> set[str]:
    """Return what in a file could run a program that somebody sent as data."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & UNPICKLING
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} & UNPICKLING
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & PICKLES
        elif isinstance(node, ast.Attribute):
            found |= {ast.unparse(node)} & PICKLES
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            found.add("allow_pickle")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_unpickles(package: str) -> None:
    files = {path: unpickling(path.read_text(encoding="utf-8")) for path in (ROOT / package).rglob("*.py")}
    assert files
    assert {path.relative_to(ROOT).as_posix(): found for path, found in files.items() if found} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "def f():\n    from marshal import loads", "import torch\ntorch.load(path, weights_only=True)",
        "from torch import load", "np.load(path, allow_pickle=True)", "np.load(path, allow_pickle=trusted)",
    ],
)  # fmt: skip
def test_what_unpickles_is_seen(source: str) -> None:
    assert unpickling(source)


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
