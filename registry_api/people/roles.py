"""What a caller may be, and what a key of theirs may be limited to."""

from enum import StrEnum


class Role(StrEnum):
    """One role per person. `SERVICE` is the centre's own federation side, which has a token and no row."""

    SERVICE = "service"
    COORDINATOR = "coordinator"
    MINISTRY = "ministry"
    HOSPITAL = "hospital"
    READER = "reader"
    AUDITOR = "auditor"


class Scope(StrEnum):
    """What a further API key opens. A person's own key and log-in open all that their role may."""

    COUNTS = "counts"
    QUALITY = "quality"
    READ_LOG = "read-log"
    ALERTS = "alerts"
