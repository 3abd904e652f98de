"""What the pages show, made from what the store holds. Percents and local times exist only here."""

import difflib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from client.console import advice
from client.console.curve import curve
from client.console.loosening import Change, changes
from client.console.proposals import EXPIRED, REJECTED, STALE, Proposal, Seen
from client.console.ward import Spent, Ward
from client.gate.policy import SitePolicy
from client.gate.policy_file import parse_policy
from client.staff.roles import words_of
from client.store.labelling import Kind, Labelled
from client.store.records import Finding, Quarantined, Study
from client.store.results import PICTURE
from protocol.case import SeverityBand
from protocol.errors import InvalidInputError
from protocol.plan import LabelUse

BANDS = tuple(band.value for band in SeverityBand)
"""Of the zone score."""


def link(path: str, asked: Mapping[str, str]) -> str:
    """Return the address of a list with what was asked of it, ready for `page=`."""
    return f"{path}?{urlencode(asked)}&" if asked else f"{path}?"


def study_rows(found: Iterable[tuple[Study, Finding | None]]) -> list[dict[str, Any]]:
    """Return what a table shows of each study."""
    return [study_row(study, finding) for study, finding in found]


def study_row(study: Study, finding: Finding | None) -> dict[str, Any]:
    """Return what a table shows of a study."""
    row = {
        "key": study.study_key, "state": study.state.value, "code": study.code, "received": local(study.received_at), "measured": None,
        "meaning": advice.meaning(study.code) if study.code else "", "next": advice.next_step(study.code) if study.code else "",
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


def quarantine_rows(found: Iterable[Quarantined]) -> list[dict[str, Any]]:
    """Return what could not be used: code, meaning, size and time. The header stays unread."""
    return [
        {
            "sha256": one.sha256, "code": one.code, "meaning": advice.meaning(one.code), "next": advice.next_step(one.code),
            "kilobytes": -(-one.bytes // 1024), "received": local(one.received_at),
        }
        for one in found
    ]  # fmt: skip


def label_row(label: Labelled | None, use: LabelUse) -> dict[str, Any] | None:
    """Return what is shown of a label, and in a word whether it is trained on under a policy that allows `use`."""
    if label is None:
        return None
    scored = label.kind is Kind.ZONE_SCORES
    reasons = (
        (label.withdrawn, "withdrawn"), (label.held_out, "held out"), (label.outranked, "mask counts"),
        (not label.on_present_grid, "another grid"), (scored and use is LabelUse.MASKS, "not allowed"),
    )  # fmt: skip
    loss = label.loss
    return {
        "key": label.study_key, "kind": "zone scores" if scored else "mask", "source": f"reader {label.source[:10]}" if scored else label.source,
        "at": local(label.labelled_at), "grid": label.grid[:10], "on_grid": label.on_present_grid, "held_out": label.held_out,
        "withdrawn": label.withdrawn, "outranked": label.outranked, "points": label.points, "release": label.model_release,
        "state": next((word for holds, word in reasons if holds), "trained on"),
        "loss": None if loss is None else {
            "dice": f"{loss.dice:.3f}", "volume": percent(loss.volume_ratio), "outside": percent(loss.outside_fraction),
        },
    }  # fmt: skip


def draft_rows(ward: Ward) -> list[dict[str, str]]:
    """Return the masks that wait for a radiologist's word: by whom, what they hold, whose label they would take the place of."""
    return [
        {
            "sha256": one.sha256, "key": one.study_key, "author": one.author or "nobody named", "at": local(one.received_at),
            "ground_glass_ml": f"{one.ground_glass_ml:.1f}", "consolidation_ml": f"{one.consolidation_ml:.1f}", "present": one.present or "",
        }
        for one in ward.store.drawn.drafts()
    ]  # fmt: skip


def earlier_rows(ward: Ward, study_key: str) -> list[dict[str, str]]:
    """Return the masks of a study that others took the place of: by whom, from when until when."""
    return [
        {"source": one.source, "at": local(one.labelled_at), "until": local(one.superseded_at)}
        for one in ward.store.labels.history(study_key)
    ]


def labels_allowed(ward: Ward) -> LabelUse:
    """Return which labels the policy allows; masks alone where it cannot be read."""
    try:
        return ward.policy().training.labels
    except InvalidInputError:
        return LabelUse.MASKS


def account_rows(ward: Ward) -> list[dict[str, Any]]:
    """Return every account; who gave the role is shown by name."""
    accounts = ward.accounts.all()
    names = {account.account_id: account.name for account in accounts}
    return [
        {
            "id": one.account_id, "name": one.name, "local": one.local, "roles": words_of(one.roles), "disabled": one.disabled,
            "must_change": one.must_change,
            "granted_by": " and ".join(dict.fromkeys(names.get(by, by) for by in (one.granted_by, one.password_by))),
            "entered": local(one.entered_at) if one.entered_at is not None else "never",
        }
        for one in accounts
    ]  # fmt: skip


def policy_notice(ward: Ward) -> dict[str, Any]:
    """Return since when the present policy holds, whether somebody wrote it outside the console, and whether a change waits."""
    seen = ward.proposals.look()
    return {
        "outside": seen.outside, "since": local(seen.seen_at),
        "waits": ward.proposals.waiting() is not None,
    }  # fmt: skip


def policy_problem(ward: Ward) -> str:
    """Return why the present policy cannot be read; empty if it can."""
    try:
        ward.policy()
    except InvalidInputError as error:
        return str(error)
    return ""


def waiting_change(ward: Ward, account_id: str | None) -> dict[str, Any] | None:
    """Return the change that waits: its difference in lines and in words, and whether this account may confirm it."""
    proposal = ward.proposals.waiting()
    if proposal is None:
        return None
    before = ward.proposals.text()
    return {
        "id": proposal.proposal_id, "by": _name(ward, proposal.proposed_by), "at": local(proposal.proposed_at),
        "expires": local(proposal.expires_at), "lines": difference(before, proposal.text),
        "changes": _changes(before, proposal.text),
        "confirmable": account_id is not None and ward.proposals.can_confirm(proposal, account_id),
    }  # fmt: skip


def difference(before: str, after: str) -> list[tuple[str, str]]:
    """Return the lines of a difference, each with its sign: -, + or a space."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=3)
    return [(line[0], line[1:]) for line in list(lines)[2:] if line[:1] in {"-", "+", " "}]


def policy_history(ward: Ward) -> list[dict[str, Any]]:
    """Return how the policy came to be what it is, the newest first: texts of the file, and proposals that came to nothing."""
    shown = [(seen.seen_at, _told(seen.seen_at, seen.sha256, _origin(ward, seen))) for seen in ward.proposals.history()]
    shown += [
        (one.decided_at or one.proposed_at, _told(one.decided_at or one.proposed_at, one.text_sha256, _end(ward, one)))
        for one in ward.proposals.latest()
        if one.state in {REJECTED, STALE, EXPIRED}
    ]
    return [row for _, row in sorted(shown, key=lambda pair: pair[0], reverse=True)]


def _told(at: float, sha256: str, what: str) -> dict[str, Any]:
    return {"at": local(at), "sha256": sha256[:12], "what": what}


def _origin(ward: Ward, seen: Seen) -> str:
    """Say how a text came into the file."""
    if seen.proposal is None:
        return "changed outside the console" if seen.outside else "first seen by the console"
    by, also = _name(ward, seen.proposal.proposed_by), _name(ward, seen.proposal.decided_by)
    return f"proposed by {by}, confirmed by {also}"


def _end(ward: Ward, proposal: Proposal) -> str:
    """Say what became of a proposal that never took effect."""
    by = f" by {_name(ward, proposal.decided_by)}" if proposal.decided_by else ""
    return f"proposed by {_name(ward, proposal.proposed_by)}, {proposal.state}{by}"


def _changes(before: str, after: str) -> list[Change]:
    """Return what a change means; everything as looser than nothing where the present text cannot be read."""
    try:
        present = parse_policy(before, subject="The policy")
    except InvalidInputError:
        present = SitePolicy()
    return changes(present, parse_policy(after, subject="The proposal"))


def _name(ward: Ward, account_id: str | None) -> str:
    """Return the name behind an account id."""
    try:
        return ward.accounts.get(account_id or "").name
    except InvalidInputError:
        return account_id or "nobody"


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
                "sigma": entry.spend.event.noise_multiplier, "rate": entry.spend.event.sample_rate,
                "at": local(datetime.fromisoformat(entry.charged_at).timestamp()),
            }
            for entry in reversed(spent.charges)
        ],
    }  # fmt: skip


def mean_ggo(ward: Ward) -> float | None:
    """Return the mean ground-glass share of every measured study, in percent."""
    mean = ward.search.mean_ggo()
    return percent(mean) if mean is not None else None


def has_picture(ward: Ward, study_key: str) -> bool:
    """Say whether there is an overlay picture of a study."""
    return (ward.store.folder(study_key) / PICTURE).is_file()


def percent(fraction: float) -> float:
    """Return a fraction as percent, to one decimal."""
    return round(100 * fraction, 1)


def local(seconds: float) -> str:
    """Return a time in the site's own zone, to the minute; with its year unless that is this one."""
    moment, now = datetime.fromtimestamp(seconds, UTC).astimezone(), datetime.now(UTC).astimezone()
    return moment.strftime("%d %b %H:%M" if moment.year == now.year else "%d %b %Y %H:%M")
