"""Edits a program's TOML file as a person with an editor would: one key in one table, the rest as it is."""

import json
import re
from pathlib import Path


def set_key(path: Path, table: str, key: str, value: str | float | bool | list[str]) -> None:
    """Set `key` in `[table]` of the TOML file at `path`; both are added where they are missing.

    Raises:
        OSError: If the file cannot be read or written.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    entry = f"{key} = {json.dumps(value)}"  # of these types JSON and TOML write alike
    begin, end = _table_lines(lines, table)
    if begin is None:
        lines += ["", f"[{table}]", entry]
    else:
        found = next((at for at in range(begin, end) if re.match(rf"\s*#?\s*{re.escape(key)}\s*=", lines[at])), None)
        lines[found if found is not None else begin : found + 1 if found is not None else begin] = [entry]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table_lines(lines: list[str], table: str) -> tuple[int | None, int]:
    """Return the first line after the heading of `table`, and the line after its last one."""
    headings = [at for at, line in enumerate(lines) if re.match(r"\s*\[", line)]
    for at, following in zip(headings, [*headings[1:], len(lines)], strict=True):
        if re.match(rf"\s*\[{re.escape(table)}\]", lines[at]):
            return at + 1, following
    return None, 0
