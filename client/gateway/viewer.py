"""Where NiiVue's ready-made bundle is looked for: it is installed at set-up, never fetched by a browser from elsewhere."""

import hashlib
from pathlib import Path

from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError

BUNDLE = Path("node_modules/@niivue/niivue/dist/niivue.umd.js")
BUNDLE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
"""Of @niivue/niivue 0.69.0 (BSD-2-Clause). A script that draws patients' images is pinned like a key."""


def find_bundle(home: Path) -> Path:
    """Return the bundle: a copy in the node's home (`viewer/niivue.umd.js`), else where set-up puts it beside the programs.

    Asked each time that a page needs it, so that a gateway without it still serves reading programs.

    Raises:
        UnavailableError: `node-fault` if it is in neither place.
        RefusedError: `signature-invalid` if it is another version than the tested one.
    """
    own = home / "viewer" / BUNDLE.name
    return checked(own if own.is_file() else Path(__file__).parents[2] / BUNDLE)


def checked(bundle: Path) -> Path:
    """Return `bundle` if it is the version that was tested.

    Raises:
        UnavailableError: `node-fault` if there is no such file.
        RefusedError: `signature-invalid` if it is another version.
    """
    if not bundle.is_file():
        raise UnavailableError(
            Code.NODE_FAULT,
            f"The viewer is not installed: it was looked for in {bundle} and in viewer/{bundle.name} of the node's home."
            " Run `make setup`, or `npm ci` beside package.json.",
        )
    if hashlib.sha256(bundle.read_bytes()).hexdigest() != BUNDLE_SHA256:
        raise RefusedError(
            Code.SIGNATURE_INVALID, f"{bundle} is not the viewer that was tested (NiiVue 0.69.0). Run `npm ci` again."
        )
    return bundle
