"""What a sender is told of its instances: the Store Instances Response Module (PS3.18 annex I) and the HTTP status. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from client.pacs.taking import Named
from protocol.codes import Code

CANNOT_UNDERSTAND, OTHER_STUDY, CLASS_NOT_SUPPORTED = 0xC000, 0xA900, 0x0122
"""Failure reasons (PS3.18 table I.2-2). The table has none for a study other than the address names; A900 comes nearest."""

REASONS = {Code.NOT_CT: CLASS_NOT_SUPPORTED}
"""Why an instance of this code counts as failed; every other code as not understood. `already-exists` is no failure: both are kept."""

STORED, PARTLY_STORED, BROKEN, NONE_STORED = 200, 202, 400, 409


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one part: its names if it had any, and the failure reason, `None` if it is stored."""

    names: Named | None
    failure: int | None = None


def outcome_of(names: Named | None, code: Code | None) -> Outcome:
    """Return the outcome of an instance that the intake answered with `code`."""
    stored = code in {None, Code.ALREADY_EXISTS}
    return Outcome(names, None if stored or code is None else REASONS.get(code, CANNOT_UNDERSTAND))


def status_of(outcomes: Sequence[Outcome], *, whole: bool) -> int:
    """Return the HTTP status (PS3.18 table 10.5.3-1).

    Args:
        outcomes: Of the parts that came to their end.
        whole: Whether the body came to its own end.
    """
    stored = sum(outcome.failure is None for outcome in outcomes)
    if stored and whole and stored == len(outcomes):
        return STORED
    if stored:
        return PARTLY_STORED
    return NONE_STORED if outcomes else BROKEN


def module(outcomes: Sequence[Outcome], *, whole: bool) -> dict[str, Any]:
    """Return the module as DICOM JSON (PS3.18 annex F).

    The retrieve address stays empty, as the standard allows: this node lends nothing out. A part that broke off or that has no
    names is listed under Other Failures.
    """
    stored = [_reference(one.names) for one in outcomes if one.names is not None and one.failure is None]
    failed = [
        _reference(one.names) | _reason(one.failure)
        for one in outcomes
        if one.names is not None and one.failure is not None
    ]
    others = [_reason(one.failure or CANNOT_UNDERSTAND) for one in outcomes if one.names is None]
    others += [] if whole else [_reason(CANNOT_UNDERSTAND)]
    sequences = {"00081198": failed, "00081199": stored, "0008119A": others}
    return {"00081190": {"vr": "UR"}} | {
        tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items
    }  # fmt: skip


def _reference(names: Named) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [names.sop_class]},
        "00081155": {"vr": "UI", "Value": [names.instance]},
    }


def _reason(failure: int) -> dict[str, Any]:
    return {"00081197": {"vr": "US", "Value": [failure]}}
