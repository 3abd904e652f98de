"""The app bundle (FAB) that Flower wants for a run, assembled from the installed packages, so that a checkout and a wheel give the same.

Flower sends it to every SuperNode. No node runs it: a node compares its SHA-256 with the site's allow-list and runs its own wheel.
"""

import hashlib
import io
import json
import sys
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from strategies.flower.fleet import build_bundle

INCLUDED = ("server/**/*.py", "client/app.py", "strategies/**/*.py", "models/**/*.py", "protocol/**/*.py")
"""What the ServerApp needs, and `client/app.py` for people who want to read what a site is asked to run."""

_PROJECT = """[project]
name = "acinus"
version = "{version}"
description = "Federated learning on chest CT across hospitals"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>=1.41,<1.42"]

[tool.flwr.app]
publisher = "acinus"
fab-format-version = 1
flwr-version-target = "1.41.0"
fab-include = {included}

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
run-dir = ""
"""

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Bundle:
    """A FAB and its full SHA-256, as sites write it into their policies."""

    content: bytes
    sha256: str


def make_bundle(root: Path = _ROOT) -> Bundle:
    """Return the bundle of the packages in `root`. The same sources give the same bytes, whatever their dates and owners."""
    included = [
        pattern for pattern in INCLUDED if any(root.glob(pattern))
    ]  # Flower refuses a pattern that matches nothing
    content = build_bundle({**_descriptions(included), **_sources(root, included)})
    return Bundle(content, hashlib.sha256(content).hexdigest())


def _sources(root: Path, included: list[str]) -> dict[str, bytes]:
    found = sorted({path for pattern in included for path in root.glob(pattern)})
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def _descriptions(included: list[str]) -> dict[str, bytes]:
    """Return the two files that Flower demands beside the sources. A wheel holds neither `pyproject.toml` nor `LICENSE`."""
    project = _PROJECT.format(version=version("acinus"), included=json.dumps([*included, "LICENSE"]))
    return {"pyproject.toml": project.encode(), "LICENSE": b"SPDX-License-Identifier: Apache-2.0\n"}


def main() -> None:
    """Print the bundle's SHA-256 and the files in it: what a site that allows it has allowed."""
    bundle = make_bundle()
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        names = sorted(archive.namelist())
    sys.stdout.write("\n".join([bundle.sha256, *names]) + "\n")


if __name__ == "__main__":
    main()
