"""What sites and centre say to each other in a round of secure summation: keys, sealed shares, a view to agree on, shares to open it."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from protocol.enrolment import Pem, RawKey
from protocol.plan import RoundOrder
from protocol.shape import Sha256, Shape, SiteId

Signature = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{80,142}$")]
"""ECDSA on P-256 or P-384 with SHA-256, DER in base64url."""

Box = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{198}$")]
"""Two shares of 66 bytes and a tag of 16, sealed by one site for another, base64url."""

ShareValue = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{132}$")]
"""A value of 66 bytes, hex."""

_Most = Field(min_length=1, max_length=1000)


class RoundKeys(Shape):
    """A site's public keys of one round, made for it and used in no other.

    `order_sha256` binds run, round, plan and base weights; `seed_sha256` lets the centre notice a false share.
    """

    order_sha256: Sha256
    site: SiteId
    box_key: RawKey
    pad_key: RawKey
    seed_sha256: Sha256


class SignedKeys(Shape):
    """Keys with the enrolled identity that vouches for them."""

    keys: RoundKeys
    certificate_pem: Pem
    signature: Signature


class Circle(Shape):
    """Who takes part in a round, each with keys. Its hash stands for it in all that follows."""

    members: Annotated[tuple[SignedKeys, ...], _Most]


class SealedShares(Shape):
    """One site's shares for another: of the seed of its own pad, and of the key behind the pads that it has with others."""

    sender: SiteId
    receiver: SiteId
    box: Box


class Boxes(Shape):
    """From a site: one box for every other. To a site: one box from every other that shared."""

    boxes: Annotated[tuple[SealedShares, ...], _Most]


class PaddedNotice(Shape):
    """What a site says of its padded summand."""

    circle_sha256: Sha256
    site: SiteId
    words_sha256: Sha256
    epsilon: Annotated[float, Field(ge=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]


class View(Shape):
    """Who shared secrets, and whose summands are in the sum. Every site that helps to open the sum has signed the same view."""

    circle_sha256: Sha256
    sharers: Annotated[tuple[SiteId, ...], _Most]
    survivors: Annotated[tuple[SiteId, ...], _Most]


class SignedView(Shape):
    """A site's signature under the view that it was shown."""

    site: SiteId
    signature: Signature


class Agreement(Shape):
    """The signatures under one view."""

    signatures: Annotated[tuple[SignedView, ...], _Most]


class SecretKind(StrEnum):
    """Of which of a site's two secrets a share is. Nobody gives shares of both."""

    SEED = "seed"
    PAD_KEY = "pad-key"


class Opened(Shape):
    """One share, opened: of the seed of a site that is in the sum, or of the pad key of one that was lost."""

    site: SiteId
    kind: SecretKind
    value: ShareValue


class Openings(Shape):
    """The shares of one site, about every other and itself."""

    shares: Annotated[tuple[Opened, ...], _Most]


class SecureQuestion(Shape):
    """What the centre asks of a site in one step of an order: will you take part (nothing asked yet), or what `asked` calls for.

    With boxes come the base weights.
    """

    order: RoundOrder
    asked: Circle | Boxes | View | Agreement | None = None


class SecureReply(Shape):
    """What a site answers. With a `PaddedNotice` comes its padded summand."""

    said: SignedKeys | Boxes | PaddedNotice | SignedView | Openings
