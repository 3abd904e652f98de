"""What a node says of the release in use after it was promoted: one of four words, never a number."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from protocol.shape import ReleaseName, Shape


class Standing(StrEnum):
    """How a release does at a site.

    As before; something changed that a person should look at; worse than the release before; not in use, for it does not verify there.
    """

    STEADY = "steady"
    WATCH = "watch"
    WORSE = "worse"
    REFUSED = "refused"


class ReleaseStanding(Shape):
    """A release's standing at one site. A higher version replaces a lower one; it counts up with every word that leaves the site."""

    kind: Literal["release-standing"] = "release-standing"
    release: ReleaseName
    standing: Standing
    version: Annotated[int, Field(ge=1, le=1_000_000)]
