"""Do two reads of one study say the same? Pure; how far apart is too far is data."""

from dataclasses import dataclass
from enum import StrEnum

from protocol.case import RsnaClass


class Difference(StrEnum):
    """In what two reads differ so much that a third reader must decide."""

    RSNA_CLASS = "rsna-class"
    CORADS = "corads"
    SEVERITY_SCORE = "severity-score"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Coded:
    """The coded part of a report, as far as reads are compared by it."""

    rsna_class: RsnaClass
    corads: int
    severity_score: int
    critical: bool


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From how far apart two numbers disagree. Two CO-RADS categories, and five of the zone score's 24 points."""

    corads: int = 2
    severity_score: int = 5


THRESHOLDS = Thresholds()


def differences(first: Coded, second: Coded, thresholds: Thresholds = THRESHOLDS) -> tuple[Difference, ...]:
    """Return everything in which the reads disagree, in either order; empty means that they agree."""
    checks = (
        (first.rsna_class is not second.rsna_class, Difference.RSNA_CLASS),
        (abs(first.corads - second.corads) >= thresholds.corads, Difference.CORADS),
        (abs(first.severity_score - second.severity_score) >= thresholds.severity_score, Difference.SEVERITY_SCORE),
        (first.critical != second.critical, Difference.CRITICAL),
    )
    return tuple(difference for holds, difference in checks if holds)
