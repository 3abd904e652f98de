"""What a long benchmark has done already: results on the disk, each under the hash of everything that it rests on."""

import ast
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class Kept:
    """Results, one line each, so that hours of work survive whatever ends them. Several processes may write.

    Args:
        path: The file.
        rests_on: Whatever the results would change with: code, files, settings.
    """

    def __init__(self, path: Path, rests_on: Iterable[bytes]) -> None:
        self._path = path
        self._key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in rests_on)).hexdigest()

    def get(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what is kept under `name`, or compute and keep it."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        for line in map(json.loads, lines):
            if (line["key"], line["name"]) == (self._key, name):
                return dict(line["result"])
        result = compute()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": self._key, "name": name, "result": result}) + "\n")
        return result


def code_of(module: str, root: Path = ROOT) -> bytes:
    """Return the code of a module and of every module of the project that it imports, at whatever depth; without comments and layout."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file_of(name, root)
        if path is not None and name not in found:
            tree = ast.parse(path.read_bytes())
            found[name] = ast.unparse(tree)
            waiting += _imports(tree)
    return json.dumps(sorted(found.items())).encode()


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports, also inside functions. Whether `b` of `from a import b` is a module, only a look at the disk tells."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)
