"""Parcels and notices as the rooms make them, for tests of what carries them."""

from typing import Any

from protocol.case import CaseRecord, SeverityBand
from protocol.reading import ClaimEnded, ClaimMade, ReadOpened, ReadPost


def a_case(number: int = 1, **changes: Any) -> CaseRecord:
    content: dict[str, Any] = {
        "case_id": f"{number:032x}", "epi_week": "2026-W07", "ggo_percent": 12, "consolidation_percent": 2, "opacity_percent": 14,
        "severity_score": 9, "severity_band": SeverityBand.MODERATE, "model_release": "ggo@0",
    }  # fmt: skip
    return CaseRecord(**(content | changes))


def a_post(number: int = 1) -> ReadPost:
    return ReadPost.model_validate(
        {"request_id": f"{number:032x}", "age_band": "60-69", "sex": "female", "slices": 24, "megabytes": 1, "ggo_percent": 12,
         "jurisdiction": "XA"}
    )  # fmt: skip


def an_opening(number: int = 1) -> ReadOpened:
    return ReadOpened(request_id=f"{number:032x}", claim_id=f"{number:032x}", fence=1)


def a_claim(number: int = 1) -> ClaimMade:
    return ClaimMade(request_id=f"{number:032x}", claim_id=f"{number:032x}", reader_id="9" * 32, fence=1)


def an_end(number: int = 1) -> ClaimEnded:
    return ClaimEnded(request_id=f"{number:032x}", claim_id=f"{number:032x}")
