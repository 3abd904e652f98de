"""What the pages of reads show: where a read stands, its reports claim by claim, what was said, what can be done now."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from client.console.views import local
from client.console.ward import Read, Ward
from protocol.reading import AlarmReason, StudyKind

_SAID = ("pcr", "bsti", "distribution", "laterality", "signs", "effusion", "comparison", "alternative", "incidental")
"""What a reader may leave out; shown where it is said."""

KINDS = {StudyKind.CT_CHEST_ADULT: "adults", StudyKind.CT_CHEST_UNDER_20: "patients under 20"}
"""What a privilege may be for, in words."""

_WHOLE = {"delivered", "closed", "withdrawn", "expired"}
"""Stages in which no report is still to come: the read is taken note of as a whole, or over."""

_TITLES = {"pcr": "PCR", "bsti": "BSTI"}
_QUALITY = ("cannot be interpreted", "limited", "good")


def read_rows(reads: Iterable[Read]) -> list[dict[str, Any]]:
    """Return the reads that this hospital posted."""
    return [
        {
            "id": read.request_id, "study": read.study_key, "priority": str(read.priority), "stage": str(read.stage),
            "posted": local(read.posted_s),
        }
        for read in reads
    ]  # fmt: skip


def reads_of(ward: Ward, study_key: str) -> list[dict[str, Any]]:
    """Return the reads of one study, the newest first."""
    return read_rows(read for read in ward.reads() if read.study_key == study_key)


def privilege_rows(held: Iterable[Any]) -> list[dict[str, Any]]:
    """Return who may read for this hospital, until which day, and what."""
    return [
        {
            "reader": one.reader_id, "name": one.name, "studies": ", ".join(KINDS[kind] for kind in one.studies),
            "until": f"{one.until - timedelta(seconds=1):%d %b %Y}" if one.until is not None else "it is withdrawn",
        }
        for one in held
    ]  # fmt: skip


def claims_of(seen: Any) -> list[str]:
    """Return the claims under which reports on a read came."""
    return sorted({kept.report.claim_id for kept in seen.reports})


def seen_read(seen: Any) -> dict[str, Any]:
    """Return what is shown of one read: its reports claim by claim, the newest version first; what was said; what can be done now."""
    stage = str(seen.request.stage)
    alarming = AlarmReason.CRITICAL in seen.alarms
    notable = frozenset() if stage in _WHOLE else seen.finals - (frozenset() if alarming else seen.noted)
    return {
        **read_rows([seen.request])[0],
        "result": seen.result, "alarms": [words.replace("-", " ") for words in seen.alarms],
        "reports": [
            {**_seen_report(kept, seen.readers), "noted": kept.report_sha256 in seen.noted, "can_note": kept.report_sha256 in notable}
            for kept in seen.reports
        ],
        "finals": sorted(seen.finals),
        "messages": [
            {"side": str(one.side), "text": one.text, "claim": one.claim_id, "at": local(one.written_at.timestamp())} for one in seen.messages
        ],
        "waiting": list(seen.waiting),
        "can_acknowledge": stage == "delivered",
        "can_withdraw": stage in {"open", "claimed", "reading", "preliminary", "expired"},
        "expired": seen.request.expired if stage not in {"closed", "withdrawn"} else 0,
    }  # fmt: skip


def _seen_report(kept: Any, readers: Mapping[str, str]) -> dict[str, Any]:
    report, content = kept.report, kept.report.content
    words = content.model_dump(mode="json", exclude_none=True)
    said = {
        _TITLES.get(name, name.capitalize()): ", ".join(words[name]) if isinstance(words[name], list) else words[name]
        for name in _SAID
        if words.get(name)
    }
    return {
        "claim": report.claim_id, "version": report.version, "status": str(kept.status), "reader": readers.get(report.reader_key, "a reader no longer approved"),
        "rsna": content.rsna_class.value, "corads": content.corads, "score": report.severity_score, "critical": content.critical,
        "quality": _QUALITY[content.quality], "agrees": content.measurement.agrees, "said": said,
        "impression": content.impression, "sha256": kept.report_sha256,
    }  # fmt: skip
