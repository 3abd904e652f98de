"""What a caller may be."""

from enum import StrEnum


class Role(StrEnum):
    """One role per person. `SERVICE` is the centre's own federation side, which has a token and no row."""

    SERVICE = "service"
    COORDINATOR = "coordinator"
    MINISTRY = "ministry"
    HOSPITAL = "hospital"
    READER = "reader"
    AUDITOR = "auditor"
