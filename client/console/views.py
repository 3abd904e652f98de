"""What the pages show, made from what the store holds. Percents and local times exist only here."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from client.console.curve import curve
from client.console.ward import Read, Spent, Studies, Ward
from client.store.records import Finding, Study, StudyState
from client.store.studies import PICTURE

SHOWN = 200
"""Most rows of a table; the newest."""


def study_rows(store: Studies) -> list[dict[str, Any]]:
    """Return one row for each study, the newest first."""
    newest = sorted(store.studies(), key=lambda study: study.received_at, reverse=True)[:SHOWN]
    return [study_row(study, store.finding(study.study_key)) for study in newest]


def study_row(study: Study, finding: Finding | None) -> dict[str, Any]:
    """Return what a table shows of a study."""
    row = {
        "key": study.study_key, "state": study.state.value, "code": study.code, "received": local(study.received_at), "measured": None,
    }  # fmt: skip
    return row if finding is None else row | {"measured": measured(finding)}


def measured(finding: Finding) -> dict[str, Any]:
    """Return the numbers of a finding as a person reads them."""
    document = json.loads(finding.document)
    return {
        "ggo": percent(document["ggo_fraction"]),
        "consolidation": percent(document["consolidation_fraction"]),
        "opacity": percent(document["opacity_fraction"]),
        "interval": [percent(bound) for bound in document["opacity_interval"]],
        "lung_ml": round(document["lung_volume_ml"]),
        "severity": document["severity"],
        "flags": document["quality"],
        "lungs": {side: percent(share["ggo_fraction"]) for side, share in document["per_lung"].items()},
        "thirds": {third: percent(share["ggo_fraction"]) for third, share in document["per_third"].items()},
        "release": finding.model_release,
        "at": local(finding.measured_at),
        "verdict": finding.verdict,
    }


def quarantine_rows(store: Studies) -> list[dict[str, Any]]:
    """Return what could not be used, the newest first."""
    newest = sorted(store.quarantined(), key=lambda one: one.received_at, reverse=True)[:SHOWN]
    return [
        {"sha256": one.sha256, "code": one.code, "kilobytes": one.bytes // 1024, "received": local(one.received_at)}
        for one in newest
    ]


def read_rows(reads: Iterable[Read]) -> list[dict[str, Any]]:
    """Return the reads that this hospital posted."""
    return [
        {
            "id": read.request_id, "study": read.study_key, "priority": str(read.priority), "stage": str(read.stage),
            "posted": local(read.posted_s),
        }
        for read in reads
    ]  # fmt: skip


def budget(ward: Ward) -> dict[str, Any]:
    """Return ε now, what the policy allows, and what is left."""
    spent: Spent = ward.spent()
    limit = ward.policy().training
    share = spent.epsilon / limit.epsilon_total if limit.epsilon_total else 0.0
    return {
        "epsilon": spent.epsilon,
        "total": limit.epsilon_total,
        "per_run": limit.epsilon_per_run,
        "left": max(0.0, limit.epsilon_total - spent.epsilon),
        "percent": round(100 * min(1.0, share)),  # a broken ledger has spent without bound
        "delta": limit.delta,
        "allowed": limit.allowed,
        "broken": spent.broken,
        "curve": curve(spent.course, limit=limit.epsilon_total),
        "charges": [
            {
                "number": entry.number, "run": entry.spend.run_id, "round": entry.spend.round, "steps": entry.spend.event.steps,
                "sigma": entry.spend.event.noise_multiplier, "rate": entry.spend.event.sample_rate, "at": entry.charged_at,
            }
            for entry in reversed(spent.charges)
        ],
    }  # fmt: skip


def mean_ggo(rows: Iterable[dict[str, Any]]) -> float | None:
    """Return the mean ground-glass share of the measured studies shown, in percent."""
    shares = [row["measured"]["ggo"] for row in rows if row["state"] == StudyState.MEASURED and row["measured"]]
    return round(sum(shares) / len(shares), 1) if shares else None


def has_picture(ward: Ward, study_key: str) -> bool:
    """Say whether there is an overlay picture of a study."""
    return (ward.store.folder(study_key) / PICTURE).is_file()


def percent(fraction: float) -> float:
    """Return a fraction as percent, to one decimal."""
    return round(100 * fraction, 1)


def local(seconds: float) -> str:
    """Return a time in the site's own zone, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%d %b %H:%M")
