"""Where NiiVue's ready-made bundle is looked for: it is installed at set-up, never fetched by a browser from elsewhere."""

import hashlib
from pathlib import Path

from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError

BUNDLE = Path("node_modules/@niivue/niivue/dist/niivue.umd.js")
BUNDLE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
"""Of @niivue/niivue 0.69.0 (BSD-2-Clause). A script that draws patients' images is pinned like a key."""


def find_bundle(home: Path) -> Path:
    """Return the bundle: a copy in the node's home (`viewer/niivue.umd.js`), or where set-up installed it beside the programs.

    Raises:
        UnavailableError: `node-fault` if it is in neither place.
        RefusedError: `signature-invalid` if it is not the version that was tested.
    """
    places = (home / "viewer" / BUNDLE.name, Path(__file__).parents[2] / BUNDLE)
    for place in places:
        if place.is_file():
            return _pinned(place)
    named = " or ".join(str(place) for place in places)
    raise UnavailableError(
        Code.NODE_FAULT,
        f"The viewer's bundle is in neither {named}. Run `make setup`, or `npm ci` beside package.json.",
    )


def _pinned(place: Path) -> Path:
    if hashlib.sha256(place.read_bytes()).hexdigest() != BUNDLE_SHA256:
        raise RefusedError(
            Code.SIGNATURE_INVALID, f"{place} is not the viewer that was tested (NiiVue 0.69.0). Run `npm ci` again."
        )
    return place
