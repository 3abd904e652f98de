import tomllib
from pathlib import Path
from typing import Any

from deploy.local.settings_file import set_key

TEXT = """# the site's own limits
[training]
allowed = false   # nobody yet
bundles = []

[sharing]
cases = true
"""


def edited(tmp_path: Path, *edits: tuple[str, str, Any]) -> dict[str, Any]:
    path = tmp_path / "policy.toml"
    path.write_text(TEXT)
    for table, key, value in edits:
        set_key(path, table, key, value)
    return tomllib.loads(path.read_text())


def test_a_key_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    assert edited(tmp_path, ("training", "bundles", ["ab"]), ("training", "allowed", True)) == {
        "training": {"allowed": True, "bundles": ["ab"]},
        "sharing": {"cases": True},
    }


def test_a_missing_key_and_a_missing_table_are_added(tmp_path: Path) -> None:
    found = edited(
        tmp_path, ("training", "epsilon_total", 5.5), ("witness", "directory", "witness"), ("sharing", "reads", False)
    )
    assert found["training"]["epsilon_total"] == 5.5
    assert found["witness"] == {"directory": "witness"}
    assert found["sharing"] == {"cases": True, "reads": False}


def test_a_commented_key_is_set_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("[dicom]\n# quiet_seconds = 30.0\nport = 1\n[gateway]\nquiet_seconds = 9\n")
    set_key(path, "dicom", "quiet_seconds", 1.5)
    assert tomllib.loads(path.read_text()) == {
        "dicom": {"quiet_seconds": 1.5, "port": 1},
        "gateway": {"quiet_seconds": 9},
    }
