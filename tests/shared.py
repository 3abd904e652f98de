"""Where real test images lie: a folder `shared` beside the checkout, present in CI, absent at a user's."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="real test images are not beside the checkout (folder ../shared/data)"
)
