"""What the reading exchange says across the border: posts, states, coded results, grants. Never a text, a date or a UID."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from protocol.case import AgeBand, RsnaClass, Sex
from protocol.shape import OpaqueId, RegionCode, Sha256, Shape, SiteId, Thumbprint, Timestamp

Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}$")]
"""ISO 639-1."""

Origin = Annotated[str, StringConstraints(pattern=r"^https://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?$")]
"""Where a site's gateway answers, without a path."""


class Priority(StrEnum):
    """How soon a read is needed."""

    STAT = "stat"
    URGENT = "urgent"
    ROUTINE = "routine"


class ReportStatus(StrEnum):
    """FHIR DiagnosticReport.status, as far as it is used."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"


class Subspecialty(StrEnum):
    """What a radiologist is trained in beyond general radiology, as far as a hospital may ask for it."""

    THORACIC = "thoracic"
    CARDIAC = "cardiac"
    EMERGENCY = "emergency"
    ONCOLOGIC = "oncologic"
    PAEDIATRIC = "paediatric"


class StudyKind(StrEnum):
    """What a privilege may be limited to. Every study of the network is a CT of the chest; of whom differs."""

    CT_CHEST_ADULT = "ct-chest-adult"
    CT_CHEST_UNDER_20 = "ct-chest-under-20"


def kinds_of(age_band: AgeBand) -> frozenset[StudyKind]:
    """Return what a reader must be privileged for to read a study of somebody of this age; of unknown age, everything."""
    if age_band is AgeBand.UNKNOWN:
        return frozenset(StudyKind)
    young = age_band is AgeBand.UNDER_20
    return frozenset({StudyKind.CT_CHEST_UNDER_20 if young else StudyKind.CT_CHEST_ADULT})


class ReadPost(Shape):
    """A hospital asks for a read. The study stays behind; `request_id` means it only to the hospital."""

    kind: Literal["read-post"] = "read-post"
    request_id: OpaqueId
    priority: Priority = Priority.ROUTINE
    age_band: AgeBand
    sex: Sex
    slices: Annotated[int, Field(ge=1, le=10_000)]
    megabytes: Annotated[int, Field(ge=0, le=100_000)]
    ggo_percent: Annotated[int, Field(ge=0, le=100)]
    jurisdiction: RegionCode
    language: Language = "en"
    reads_required: Annotated[int, Field(ge=1, le=2)] = 1
    subspecialty: Subspecialty | None = None
    """None: any radiologist."""
    uncertainty_percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Width of the interval in which the measured opacity lies, in percentage points of lung."""


class ReaderPrivilege(Shape):
    """The hospital lets a reader of the network read for it, for how long and what, or no longer does. Nobody else can say so."""

    kind: Literal["reader-privilege"] = "reader-privilege"
    reader_id: OpaqueId
    granted: bool
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    """Counts what the hospital said of this reader; the highest counts, in whatever order they come."""
    valid_until: Timestamp | None = None
    """None: until the hospital withdraws it."""
    studies: Annotated[tuple[StudyKind, ...], Field(min_length=1, max_length=10)] = tuple(StudyKind)


class ReadOpened(Shape):
    """The node says that the claim's reader has opened the study for the first time."""

    kind: Literal["read-opened"] = "read-opened"
    request_id: OpaqueId
    claim_id: OpaqueId
    fence: Annotated[int, Field(ge=1)]


class CodedResult(Shape):
    """The coded part of a report: all of it that the centre learns."""

    rsna_class: RsnaClass
    corads: Annotated[int, Field(ge=0, le=6)]
    severity_score: Annotated[int, Field(ge=0, le=24)]
    agrees_with_measurement: bool
    critical: bool = False


class InfoAsked(Shape):
    """The claim's reader asked the hospital something; the words stay between the two. Questions of a claim count from 1."""

    kind: Literal["info-asked"] = "info-asked"
    request_id: OpaqueId
    claim_id: OpaqueId
    fence: Annotated[int, Field(ge=1)]
    question: Annotated[int, Field(ge=1, le=1000)]


class InfoAnswered(Shape):
    """The hospital answered that question."""

    kind: Literal["info-answered"] = "info-answered"
    request_id: OpaqueId
    claim_id: OpaqueId
    fence: Annotated[int, Field(ge=1)]
    question: Annotated[int, Field(ge=1, le=1000)]


class ReportReceipt(Shape):
    """The node holds a report: its hash and its codes."""

    kind: Literal["report-receipt"] = "report-receipt"
    request_id: OpaqueId
    claim_id: OpaqueId
    fence: Annotated[int, Field(ge=1)]
    version: Annotated[int, Field(ge=1, le=1000)]
    status: ReportStatus
    report_sha256: Sha256
    coded: CodedResult


class ReadDelivered(Shape):
    """The node has the signature and shows the final report to its hospital."""

    kind: Literal["read-delivered"] = "read-delivered"
    request_id: OpaqueId
    claim_id: OpaqueId
    report_sha256: Sha256


class ReadAcknowledged(Shape):
    """The hospital has taken note of these final reports; the reads that they came of may close."""

    kind: Literal["read-acknowledged"] = "read-acknowledged"
    request_id: OpaqueId
    reports: Annotated[tuple[Sha256, ...], Field(max_length=10)] = ()
    """Hashes, so that taking note of an amendment is not taken for the same word again. Empty, from a node of before: all of them."""


class ReportNoted(Shape):
    """The hospital has taken note of one final report while others of the request are still to come; nothing closes by it."""

    kind: Literal["report-noted"] = "report-noted"
    request_id: OpaqueId
    claim_id: OpaqueId
    report_sha256: Sha256


class ReadWithdrawn(Shape):
    """The hospital no longer needs the read."""

    kind: Literal["read-withdrawn"] = "read-withdrawn"
    request_id: OpaqueId


class ReadReposted(Shape):
    """The hospital asks anew for the read of this slot, which nobody claimed in time."""

    kind: Literal["read-reposted"] = "read-reposted"
    request_id: OpaqueId
    number: Annotated[int, Field(ge=1)]


class GrantScope(StrEnum):
    """What a grant lets its reader do at the gateway."""

    VIEW = "view"
    """Look at the study, and at nothing else."""
    REPORT = "report"
    """Look at it, report on it and correct its mask."""


class GrantClaims(Shape):
    """What a grant says (a JWT signed by the centre, Ed25519; names of RFC 7519 and RFC 9449).

    `exp - iat` is at most 600 s. `cnf_jkt` travels as `cnf.jkt`: the reader key that the *hospital* approved.
    """

    iss: Literal["acinus-centre"] = "acinus-centre"
    aud: SiteId
    sub: OpaqueId
    jti: OpaqueId
    claim_id: OpaqueId
    request_id: OpaqueId
    fence: Annotated[int, Field(ge=1)]
    scope: GrantScope
    cnf_jkt: Thumbprint
    iat: int
    nbf: int
    exp: int


GRANT_SECONDS_MAX = 600
"""No grant lives longer (`docs/explanation/borders.md`, the fourth)."""


class ClaimMade(Shape):
    """The centre tells the node who holds its request, by key only."""

    kind: Literal["claim-made"] = "claim-made"
    request_id: OpaqueId
    claim_id: OpaqueId
    reader_id: OpaqueId
    fence: Annotated[int, Field(ge=1)]


class ClaimEnded(Shape):
    """The claim lapsed or was released: every grant under it is void."""

    kind: Literal["claim-ended"] = "claim-ended"
    request_id: OpaqueId
    claim_id: OpaqueId


class GrantRevoked(Shape):
    """One grant is void from now on."""

    kind: Literal["grant-revoked"] = "grant-revoked"
    jti: OpaqueId


class SecondReadAdded(Shape):
    """The hospital asked for one read, and by its agreements two are made: whatever the node waits for, it waits for two."""

    kind: Literal["second-read-added"] = "second-read-added"
    request_id: OpaqueId


class AdjudicationOpened(Shape):
    """Two signed reads disagree; a third reader decides. Whatever the node waits for, it waits for one read more."""

    kind: Literal["adjudication-opened"] = "adjudication-opened"
    request_id: OpaqueId


class ReadExpired(Shape):
    """Nobody claimed this slot of a request in time: no report comes of it, unless the hospital asks anew."""

    kind: Literal["read-expired"] = "read-expired"
    request_id: OpaqueId
    number: Annotated[int, Field(ge=1)]


class ReadConcluded(Shape):
    """Of a double read, the report under this claim is the result.

    `agreed` says that both readers agreed. Otherwise the third one decided, or it is the only report, with which the hospital is content.
    """

    kind: Literal["read-concluded"] = "read-concluded"
    request_id: OpaqueId
    claim_id: OpaqueId
    agreed: bool


class GrantRenewed(Shape):
    """The centre's fresh grant for a reader who is still there. It opens nothing: a session that stands may go on until its `exp`."""

    kind: Literal["grant-renewed"] = "grant-renewed"
    token: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$", max_length=4096)
    ]


class AmendmentOpened(Shape):
    """The reader of a signed report amends it: under this claim the gateway lets the reader in again, until `ClaimEnded` or a signature."""

    kind: Literal["amendment-opened"] = "amendment-opened"
    request_id: OpaqueId
    claim_id: OpaqueId
    fence: Annotated[int, Field(ge=1)]


class DiscrepancyOpened(Shape):
    """A peer reviewer disagrees with the report under this claim so far that it matters (RADPEER 3 or 4)."""

    kind: Literal["discrepancy-opened"] = "discrepancy-opened"
    request_id: OpaqueId
    claim_id: OpaqueId
    score: Annotated[int, Field(ge=3, le=4)]


class AlarmReason(StrEnum):
    """Why a hospital is alarmed about a read of its own."""

    LATE = "late"
    OVERDUE = "overdue"
    CRITICAL = "critical-unacknowledged"
    DISCREPANCY = "discrepancy"
    EXPIRED = "expired"


class ReadAlarm(Shape):
    """Most of the time is gone and the read is not signed, all of it is, or nobody took note of a critical result."""

    kind: Literal["read-alarm"] = "read-alarm"
    request_id: OpaqueId
    reason: AlarmReason


class ReportSigned(Shape):
    """The claim's holder signed the report with this hash; the node makes it final."""

    kind: Literal["report-signed"] = "report-signed"
    request_id: OpaqueId
    claim_id: OpaqueId
    fence: Annotated[int, Field(ge=1)]
    report_sha256: Sha256
