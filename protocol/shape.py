r"""The base of every shape that crosses a border, and the closed kinds of text it may hold.

No shape holds free text: a string is an enumeration, a hash, an opaque id, or matches a narrow pattern.
`tests/unit/protocol/test_shapes.py` walks every field and fails on one that could carry a name. Digits are spelt `[0-9]`: pydantic's `\d` takes
those of every script, and a week written in another one would be a week more.
"""

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

OpaqueId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
"""128 bits in hex, keyed or random: means nothing outside the side that made it."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A full SHA-256 in lower-case hex."""

SiteId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,30}$")]
"""A site's short name as the coordinator wrote it into the invite."""

RegionCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
"""A country (ISO 3166-1) or a unit of it, of ISO 3166-2 or of the country's own list; both begin with the country's code."""

EpiWeek = Annotated[str, StringConstraints(pattern=r"^20[0-9][0-9]-W(0[1-9]|[1-4][0-9]|5[0-3])$")]
"""An ISO 8601 week, such as 2026-W07."""

ReleaseName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}@[0-9]{1,6}$")]
"""A model release: lineage and version, such as ggo@3."""

Lineage = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
"""A family of model releases that descend from one another, such as ggo."""

Thumbprint = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
"""A JWK thumbprint (RFC 7638), base64url of SHA-256."""


def _on_the_calendar(text: str) -> str:
    """Refuse 30 February: who reads a time off a shape need not look again."""
    datetime.fromisoformat(text)
    return text


Timestamp = Annotated[
    str,
    StringConstraints(pattern=r"^20[0-9]{2}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z$"),
    AfterValidator(_on_the_calendar),
]
"""A time of the federation's own doings (never of a study), UTC to the second."""


class Shape(BaseModel):
    """A frozen value that refuses fields it does not know, and numbers that are none (JSON has neither NaN nor infinity)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


def canonical_json(shape: Shape | dict[str, Any]) -> bytes:
    """Return the one byte string that stands for `shape`: sorted keys, no spaces, UTF-8.

    What is hashed or signed is always this string.
    """
    content = shape.model_dump(mode="json") if isinstance(shape, Shape) else shape
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
