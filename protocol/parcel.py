"""The closed lists of what travels on the link: parcels leave a node, notices come from the centre.

The gate's allow-list *is* `Parcel`: what does not parse as one of these shapes does not leave.
"""

from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from protocol.case import CaseRecord
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.reading import (
    AdjudicationOpened,
    AmendmentOpened,
    ClaimEnded,
    ClaimMade,
    DiscrepancyOpened,
    GrantRenewed,
    GrantRevoked,
    InfoAnswered,
    InfoAsked,
    ReadAcknowledged,
    ReadAlarm,
    ReadConcluded,
    ReadDelivered,
    ReaderPrivilege,
    ReadExpired,
    ReadOpened,
    ReadPost,
    ReadReposted,
    ReadWithdrawn,
    ReportNoted,
    ReportReceipt,
    ReportSigned,
    SecondReadAdded,
)
from protocol.release import ReleaseAnnounced
from protocol.standing import ReleaseStanding

Parcel = Annotated[
    CaseRecord
    | ReadPost
    | ReadOpened
    | InfoAsked
    | InfoAnswered
    | ReportReceipt
    | ReadDelivered
    | ReadAcknowledged
    | ReportNoted
    | ReadWithdrawn
    | ReadReposted
    | ReaderPrivilege
    | ReleaseStanding,
    Field(discriminator="kind"),
]
Notice = Annotated[
    ClaimMade
    | ClaimEnded
    | GrantRenewed
    | GrantRevoked
    | ReportSigned
    | SecondReadAdded
    | AdjudicationOpened
    | ReadConcluded
    | ReadExpired
    | ReadAlarm
    | AmendmentOpened
    | DiscrepancyOpened
    | ReleaseAnnounced,
    Field(discriminator="kind"),
]

_PARCEL: TypeAdapter[Parcel] = TypeAdapter(Parcel)
_NOTICE: TypeAdapter[Notice] = TypeAdapter(Notice)


def parse_parcel(body: bytes) -> Parcel:
    """Return the parcel in `body` (JSON).

    Raises:
        InvalidInputError: `bad-shape` if it is none of the shapes; the message names no value.
    """
    try:
        return _PARCEL.validate_json(body)
    except ValidationError as error:
        raise InvalidInputError(Code.BAD_SHAPE, "The parcel is none of the shapes of protocol/parcel.py.") from error


def parse_notice(body: bytes) -> Notice:
    """Return the notice in `body` (JSON).

    Raises:
        InvalidInputError: `bad-shape` if it is none of the shapes; the message names no value.
    """
    try:
        return _NOTICE.validate_json(body)
    except ValidationError as error:
        raise InvalidInputError(Code.BAD_SHAPE, "The notice is none of the shapes of protocol/parcel.py.") from error
