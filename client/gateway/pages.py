"""The gateway's pages: the reader's key, the way in, the viewer with its report form. Scripts are files; nothing is inline."""

import json
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from client.gateway.records import Prior
from client.gateway.report import Bsti, Comparison, Distribution, Sides, Sign
from client.gateway.sessions import Session
from client.gateway.statements import QUALITY_WORDS
from client.store.records import Finding
from protocol.case import PcrStatus, RsnaClass
from protocol.reading import GrantScope
from protocol.shape import SiteId

STATIC = Path(__file__).with_name("static")

RSNA_WORDS = {
    RsnaClass.TYPICAL: "Typical appearance",
    RsnaClass.INDETERMINATE: "Indeterminate appearance",
    RsnaClass.ATYPICAL: "Atypical appearance",
    RsnaClass.NEGATIVE: "Negative for pneumonia",
}
CORADS_WORDS = (
    "not interpretable", "very low", "low", "equivocal", "high", "very high", "proven by PCR",
)  # fmt: skip

_templates = Environment(
    loader=PackageLoader("client.gateway"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, *, status: int = 200, **content: Any) -> HTMLResponse:
    """Return a page; everything in it is escaped."""
    return HTMLResponse(_templates.get_template(template).render(**content), status_code=status)


def error_page(code: str, status: int, detail: str) -> HTMLResponse:
    """Return the page that says what went wrong and what to do."""
    return page("error.html", status=status, code=code, detail=detail)


def reader_page(site: SiteId) -> HTMLResponse:
    """Return the page on which a reader's browser makes its key for this hospital."""
    return page("reader.html", site=site)


def session_page(site: SiteId) -> HTMLResponse:
    """Return the page that takes the grant out of the address and exchanges it for a session."""
    return page("session.html", site=site)


def view_page(
    site: SiteId, session: Session, finding: Finding | None, prior: Prior | None, *, kept: bool
) -> HTMLResponse:
    """Return the viewer with the report form beside it; `kept` says that the hospital holds a version of the report already."""
    return page(
        "view.html",
        site=site,
        reader=session.reader_name,
        request_id=session.claim.request_id,
        claim_id=session.claim.claim_id,
        expires_s=session.expires_s,
        measured=_measured(finding),
        prior=prior,
        writes=session.scope is GrantScope.REPORT,
        kept=kept,
        rsna=RSNA_WORDS,
        corads=CORADS_WORDS,
        pcr=list(PcrStatus),
        bsti=list(Bsti),
        distribution=list(Distribution),
        sides=list(Sides),
        signs=list(Sign),
        comparison=list(Comparison),
        quality=QUALITY_WORDS,
    )


def _measured(finding: Finding | None) -> dict[str, Any] | None:
    """Return what the form shows of the measurement; percents are for display only."""
    if finding is None:
        return None
    document = json.loads(finding.document)
    return {
        "ggo": round(100 * document["ggo_fraction"], 1),
        "consolidation": round(100 * document["consolidation_fraction"], 1),
        "lung_ml": round(document["lung_volume_ml"]),
        "interval": [round(100 * bound) for bound in document["opacity_interval"]],
        "severity": document["severity"],
        "quality": document["quality"],
        "release": finding.model_release,
    }
