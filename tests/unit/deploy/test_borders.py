import ast
from pathlib import Path

import pytest

import deploy.local

FOLDER = Path(deploy.local.__file__).parent
PROGRAMS = {"client", "server", "registry_api", "strategies", "protocol"}


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_the_demo_drives_the_programs_from_outside_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in imported} & PROGRAMS
