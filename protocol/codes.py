"""Every code that an error or a refusal may carry, with its family and its meaning.

A code is a promise: scripts match on it, so it is never renamed. A new one is one line here and one line in
`docs/reference/codes.md`; `tests/unit/test_docs.py` holds the two together.
"""

from enum import StrEnum


class Family(StrEnum):
    """What kind of failure a code is; fixes the HTTP status and the exit code (`errors.py`)."""

    INVALID = "invalid"
    CONFLICT = "conflict"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


class Code(StrEnum):
    """The closed list of codes."""

    # A scan that cannot be measured.
    NOT_CT = "not-ct"
    NOT_HU = "not-hu"
    NO_LUNG = "no-lung"
    GANTRY_TILT = "gantry-tilt"
    MISSING_SLICES = "missing-slices"
    LOCALIZER = "localizer"
    UNREADABLE = "unreadable"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported-transfer-syntax"
    MIXED_GEOMETRY = "mixed-geometry"
    NOT_AXIAL = "not-axial"
    BURNED_IN = "burned-in"
    STRUCTURED_REPORT = "structured-report"
    ENCAPSULATED_DOCUMENT = "encapsulated-document"
    SECONDARY_CAPTURE = "secondary-capture"
    SCREEN = "screen"
    OVERLAY = "overlay"
    CURVE = "curve"
    NO_LABEL_MATCH = "no-label-match"
    MACHINE_MADE = "machine-made"
    # Input from people and programs.
    BAD_SETTING = "bad-setting"
    BAD_REQUEST = "bad-request"
    BAD_SHAPE = "bad-shape"
    NOT_FOUND = "not-found"
    TOO_FINE = "too-fine"
    # A case record that breaks a rule of the registry.
    CASE_WEEK_UNKNOWN = "case-week-unknown"
    CASE_WEEK_AHEAD = "case-week-ahead"
    CASE_OPACITY_SUM = "case-opacity-sum"
    CASE_CORADS_PCR = "case-corads-pcr"
    CASE_CLASSES_DIFFER = "case-classes-differ"
    CASE_BASIS_WITHDRAWN = "case-basis-withdrawn"
    # Somebody else was first.
    ALREADY_EXISTS = "already-exists"
    STALE_FENCE = "stale-fence"
    STALE_REPORT = "stale-report"
    STALE_DRAWING = "stale-drawing"
    ILLEGAL_TRANSITION = "illegal-transition"
    INVITE_USED = "invite-used"
    RUN_IN_PROGRESS = "run-in-progress"
    # Refused, and it stays so until a person changes something.
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    INVITE_INVALID = "invite-invalid"
    POLICY_PURPOSE = "policy-purpose"
    POLICY_HOURS = "policy-hours"
    POLICY_BUNDLE = "policy-bundle"
    POLICY_LINEAGE = "policy-lineage"
    POLICY_SHAPE = "policy-shape"
    POLICY_SHARING = "policy-sharing"
    POLICY_STRATEGY = "policy-strategy"
    POLICY_PEERS = "policy-peers"
    POLICY_SECURE_SUM = "policy-secure-sum"
    POLICY_EVALUATION = "policy-evaluation"
    BUDGET_SPENT = "budget-spent"
    BUDGET_TOO_SMALL = "budget-too-small"
    COHORT_TOO_SMALL = "cohort-too-small"
    COHORT_TOO_LARGE = "cohort-too-large"
    SIGNATURE_INVALID = "signature-invalid"
    GRANT_INVALID = "grant-invalid"
    READER_NOT_APPROVED = "reader-not-approved"
    AUDIT_BROKEN = "audit-broken"
    STUDY_DELETED = "study-deleted"
    PEER_UNTRUSTED = "peer-untrusted"
    PEER_REFUSED = "peer-refused"
    QUORUM_MISSED = "quorum-missed"
    BAD_UPDATE = "bad-update"
    BAD_WEIGHTS = "bad-weights"
    TOO_FEW_SITES = "too-few-sites"
    PLAN_CHANGED = "plan-changed"
    VIEWS_DIFFER = "views-differ"
    SCREENED_UPDATE = "screened-update"
    WORSE_THAN_BASE = "worse-than-base"
    WORSE_THAN_PRESENT = "worse-than-present"
    EVALUATION_MISSED = "evaluation-missed"
    RELEASES_STALE = "releases-stale"
    PUBLIC_BUDGET_SPENT = "public-budget-spent"
    # Try again later.
    DISK_FULL = "disk-full"
    DATABASE_UNREACHABLE = "database-unreachable"
    PORT_TAKEN = "port-taken"
    MISSING_CERTIFICATE = "missing-certificate"
    PEER_UNREACHABLE = "peer-unreachable"
    PEER_GARBLED = "peer-garbled"
    RATE_LIMITED = "rate-limited"
    ROUND_LATE = "round-late"
    NODE_ABSENT = "node-absent"
    NODE_FAULT = "node-fault"
    RUN_FAILED = "run-failed"


_INVALID = Family.INVALID
_CONFLICT = Family.CONFLICT
_REFUSED = Family.REFUSED
_UNAVAILABLE = Family.UNAVAILABLE

MEANINGS: dict[Code, tuple[Family, str]] = {
    Code.NOT_CT: (_INVALID, "The object is not a CT image."),
    Code.NOT_HU: (_INVALID, "The pixel values are not Hounsfield units."),
    Code.NO_LUNG: (_INVALID, "No lung was found in the scan."),
    Code.GANTRY_TILT: (_INVALID, "The gantry was tilted: slices do not stack along their normal."),
    Code.MISSING_SLICES: (_INVALID, "The stack of slices has a gap."),
    Code.LOCALIZER: (_INVALID, "The image is a localizer (scout), not a cross-section."),
    Code.UNREADABLE: (_INVALID, "The file is damaged, truncated or of no known format."),
    Code.UNSUPPORTED_TRANSFER_SYNTAX: (_INVALID, "The pixel data is compressed in a way that is not decoded."),
    Code.MIXED_GEOMETRY: (_INVALID, "The slices differ in orientation, matrix or pixel spacing."),
    Code.NOT_AXIAL: (_INVALID, "The slices are coronal or sagittal reformats, not cross-sections."),
    Code.BURNED_IN: (_INVALID, "The image may show identifiers in its pixels."),
    Code.STRUCTURED_REPORT: (_INVALID, "The object is a structured report, not an image."),
    Code.ENCAPSULATED_DOCUMENT: (_INVALID, "The object holds a document."),
    Code.SECONDARY_CAPTURE: (_INVALID, "The image is a secondary capture, not a CT slice."),
    Code.SCREEN: (_INVALID, "The image is a screen or a page of dose figures, not a CT slice."),
    Code.OVERLAY: (_INVALID, "The image has an overlay, which may show identifiers."),
    Code.CURVE: (_INVALID, "The image has a curve, which may show identifiers."),
    Code.NO_LABEL_MATCH: (_INVALID, "The label mask matches no stored series by geometry."),
    Code.MACHINE_MADE: (_INVALID, "A program made the segmentation; only a person's becomes a label."),
    Code.BAD_SETTING: (_INVALID, "A setting is missing, misspelt or out of range."),
    Code.BAD_REQUEST: (_INVALID, "The request lacks something or has a value out of range."),
    Code.BAD_SHAPE: (_INVALID, "The message is none of the shapes that may cross a border."),
    Code.NOT_FOUND: (_INVALID, "There is nothing of that name that the caller may see."),
    Code.TOO_FINE: (_INVALID, "The counts asked for are finer than the disclosure rule allows."),
    Code.CASE_WEEK_UNKNOWN: (_INVALID, "The case record's week does not exist: its year has no week of that number."),
    Code.CASE_WEEK_AHEAD: (
        _INVALID,
        "The case record's week lies in the future. Check the date of the study and the node's clock.",
    ),
    Code.CASE_OPACITY_SUM: (
        _INVALID,
        "Ground glass and consolidation of the case record do not add up to its opacity within one percent.",
    ),
    Code.CASE_CORADS_PCR: (_INVALID, "The case record says CO-RADS 6, which needs a positive PCR."),
    Code.CASE_CLASSES_DIFFER: (
        _INVALID,
        "The case record's RSNA class is negative, which contradicts its CO-RADS 5 or 6.",
    ),
    Code.CASE_BASIS_WITHDRAWN: (
        _INVALID,
        "The site has withdrawn the legal basis that the case record rests on. Set another one in the site's policy.",
    ),
    Code.ALREADY_EXISTS: (_CONFLICT, "Something of that name exists already."),
    Code.STALE_FENCE: (_CONFLICT, "The claim has moved on since the caller last saw it."),
    Code.STALE_REPORT: (_CONFLICT, "A report has come or was amended since the caller last saw them."),
    Code.STALE_DRAWING: (
        _CONFLICT,
        "The corrected mask has moved on since the caller last saw it, or was lost in part.",
    ),
    Code.ILLEGAL_TRANSITION: (_CONFLICT, "That step is not allowed in the present state."),
    Code.INVITE_USED: (_CONFLICT, "The invite was used before."),
    Code.RUN_IN_PROGRESS: (_CONFLICT, "Another run is in progress."),
    Code.UNAUTHENTICATED: (_REFUSED, "The caller did not prove who they are."),
    Code.FORBIDDEN: (_REFUSED, "The caller's role does not allow this."),
    Code.INVITE_INVALID: (_REFUSED, "The invite is unknown, expired, revoked or for another centre."),
    Code.POLICY_PURPOSE: (_REFUSED, "The site's policy does not allow this purpose."),
    Code.POLICY_HOURS: (_REFUSED, "The site's policy does not allow training at this hour."),
    Code.POLICY_BUNDLE: (_REFUSED, "The app bundle is not on the site's allow-list."),
    Code.POLICY_LINEAGE: (_REFUSED, "The base model is not a release that the site knows and trusts."),
    Code.POLICY_SHAPE: (_REFUSED, "The parcel is none of the shapes that may leave the site."),
    Code.POLICY_SHARING: (_REFUSED, "The site's policy does not share this kind of parcel."),
    Code.POLICY_STRATEGY: (_REFUSED, "The site's policy does not allow the plan's way to combine updates."),
    Code.POLICY_PEERS: (_REFUSED, "The site's policy asks for more other sites in the plan, or in its quorum."),
    Code.POLICY_SECURE_SUM: (_REFUSED, "The site's policy does not allow the plan's way to add updates up."),
    Code.POLICY_EVALUATION: (
        _REFUSED,
        "The site's policy lets nothing leave that was measured on its held-out patients.",
    ),
    Code.BUDGET_SPENT: (_REFUSED, "The charge would pass the site's privacy budget."),
    Code.BUDGET_TOO_SMALL: (_REFUSED, "The whole run would pass the site's privacy budget; nothing of it was charged."),
    Code.COHORT_TOO_SMALL: (_REFUSED, "The site has fewer labelled patients than its policy demands."),
    Code.COHORT_TOO_LARGE: (_REFUSED, "The site has more labelled patients than its policy's delta was chosen for."),
    Code.SIGNATURE_INVALID: (_REFUSED, "A signature or a hash does not match."),
    Code.GRANT_INVALID: (_REFUSED, "The grant is forged, expired, revoked or for another study, node or key."),
    Code.READER_NOT_APPROVED: (_REFUSED, "The hospital has not approved this reader's key."),
    Code.AUDIT_BROKEN: (_REFUSED, "The audit chain does not verify."),
    Code.STUDY_DELETED: (_REFUSED, "The study was deleted on request and is not taken again."),
    Code.PEER_UNTRUSTED: (_REFUSED, "The other side's certificate is not one that this side trusts."),
    Code.PEER_REFUSED: (_REFUSED, "The other side refuses this for good; trying again would not change it."),
    Code.QUORUM_MISSED: (_REFUSED, "Too few sites answered for the round to count."),
    Code.BAD_UPDATE: (_REFUSED, "The update is malformed, not finite or bound to another round, site or base."),
    Code.TOO_FEW_SITES: (
        _REFUSED,
        "Too few sites are left for a secure summation on the plan's terms, or on those of a site.",
    ),
    Code.PLAN_CHANGED: (_REFUSED, "The order's plan is another one than the site agreed to when the run began."),
    Code.BAD_WEIGHTS: (_REFUSED, "The weights hold values that are not finite, or larger than any training makes."),
    Code.VIEWS_DIFFER: (_REFUSED, "The sites were told different things about one round of training."),
    Code.SCREENED_UPDATE: (_REFUSED, "The update stands too far from those of the other sites to be counted."),
    Code.WORSE_THAN_BASE: (_REFUSED, "The release does worse than the weights that its training started from."),
    Code.WORSE_THAN_PRESENT: (
        _REFUSED,
        "The release does worse than the present one on patients whom the sites held out.",
    ),
    Code.RELEASES_STALE: (_UNAVAILABLE, "The centre's signed list of model releases has expired."),
    Code.PUBLIC_BUDGET_SPENT: (
        _REFUSED,
        "Publishing the week for everybody would take its year above the yearly privacy loss.",
    ),
    Code.EVALUATION_MISSED: (
        _REFUSED,
        "Too few sites or patients compared the release with the present one, or none did.",
    ),
    Code.DISK_FULL: (_UNAVAILABLE, "There is not enough space to store safely."),
    Code.DATABASE_UNREACHABLE: (_UNAVAILABLE, "The registry's database is away, starting or busy."),
    Code.PORT_TAKEN: (_UNAVAILABLE, "Another program listens on that port."),
    Code.MISSING_CERTIFICATE: (_UNAVAILABLE, "A certificate or key file is missing or unreadable."),
    Code.PEER_UNREACHABLE: (_UNAVAILABLE, "The other side does not answer."),
    Code.PEER_GARBLED: (_UNAVAILABLE, "The other side's answer breaks off or cannot be understood."),
    Code.RATE_LIMITED: (_UNAVAILABLE, "Too many attempts in a short time."),
    Code.ROUND_LATE: (_UNAVAILABLE, "The site did not answer before the end of the round."),
    Code.NODE_ABSENT: (_UNAVAILABLE, "The site's SuperNode is not connected."),
    Code.NODE_FAULT: (_UNAVAILABLE, "A fault inside the node; its own log says more."),
    Code.RUN_FAILED: (_UNAVAILABLE, "The federated run ended early; it can be taken up again."),
}


def meaning_of(code: str) -> str:
    """Return what a code means; nothing of one that a newer program at the other side knows."""
    return next((meaning for known, (_, meaning) in MEANINGS.items() if known == code), "")
