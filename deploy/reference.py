"""Write the parts of the documentation that the code already says: `make docs`.

    ARCHITECTURE.md           the table of files, from the first line of each module's docstring
    docs/reference/codes.md   every code with family, HTTP status, exit code and meaning

`tests/unit/test_docs.py` fails when either is out of date.
"""

import ast
import tomllib
from pathlib import Path

from protocol.codes import MEANINGS
from protocol.errors import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("protocol", "identity", "models", "strategies", "client", "server", "registry_api", "deploy", "bench")
BEGIN, END = "<!-- written by `make docs`: begin -->", "<!-- written by `make docs`: end -->"


def main() -> None:
    """Write both files."""
    architecture = ROOT / "ARCHITECTURE.md"
    architecture.write_text(with_tables(architecture.read_text(encoding="utf-8")), encoding="utf-8")
    (ROOT / "docs" / "reference" / "codes.md").write_text(codes_page(), encoding="utf-8")


def with_tables(page: str) -> str:
    """Return `page` with what stands between its two marks written anew."""
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n\n{_file_tables()}\n{_pure_modules()}\n{END}{tail}"


def codes_page() -> str:
    """Return the reference page of codes."""
    rows = [
        f"| `{code}` | {family} | {FAMILIES[family].http_status} | {FAMILIES[family].exit_code} | {meaning} |"
        for code, (family, meaning) in MEANINGS.items()
    ]
    head = (
        "# Codes\n\nWritten by `make docs` from `protocol/codes.py`. A code never changes its name; scripts may match on it.\n"
        "Messages beside a code are for people and may be reworded.\n\n"
        "| Code | Family | HTTP | Exit | Meaning |\n|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def _file_tables() -> str:
    return "\n".join(_package_table(package) for package in PACKAGES)


def _package_table(package: str) -> str:
    """One heading per package, with its own docstring, and one row per module."""
    folder = ROOT / package
    lines = [f"### `{package}/`", "", _phrase(folder / "__init__.py"), "", "| File | |", "|---|---|"]
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name == f"{package}/__init__.py" or "_pb2" in name or path.parent.name == "versions":
            continue
        shown = name.removesuffix("__init__.py") or name
        lines.append(f"| `{shown}` | {_phrase(path)} |")
    return "\n".join(lines) + "\n"


def _phrase(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split()).replace("|", "\\|")


def _pure_modules() -> str:
    """The modules that import-linter keeps free of I/O."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    pure = next(c for c in contracts if c["name"].startswith("Pure modules"))["source_modules"]
    return (
        "### Pure modules\n\nNo I/O, no clock, no randomness of their own; import-linter holds them to it.\n\n"
        + "".join(f"* `{module}`\n" for module in sorted(pure))
    )


if __name__ == "__main__":
    main()
