"""What a report says, statement by statement, under codes: RSNA, CO-RADS and BSTI have none in a public dictionary, so these are our own. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from client.gateway.report import Report, ReportCreate, Sign
from client.gateway.reports import Final
from client.report.concepts import CONSOLIDATION, GROUND_GLASS, PERCENT, PRIVATE_SCHEME, SCORE
from client.report.read import ReadDocument, Statement

QUALITY_WORDS = ("cannot be interpreted", "limited", "good")

_SIGNS = {
    sign: Code(f"sign-{number}", PRIVATE_SCHEME, sign.value.replace("-", " "))
    for number, sign in enumerate(Sign, start=1)
}


def document_of(final: Final, *, reader: str, header: Dataset) -> ReadDocument:
    """Return a final report ready to be written down.

    Args:
        final: The report.
        reader: Name under which the hospital knows its key.
        header: Of one slice of the study.
    """
    report = final.report
    return ReadDocument(
        claim_id=report.claim_id, version=report.version, sha256=final.report_sha256, reader=reader,
        written_at=datetime.fromtimestamp(final.written_s, UTC), signed_at=datetime.fromtimestamp(final.signed_s, UTC),
        statements=tuple(statements(report)), impression=report.content.impression, header=header, amended=final.amended,
    )  # fmt: skip


def statements(report: Report) -> Iterator[Statement]:
    """Yield what a report says beside its impression; what the reader left out is left out."""
    content = report.content
    yield _word("quality", "Image quality", str(content.quality), QUALITY_WORDS[content.quality])
    yield _word("rsna", "RSNA category", content.rsna_class.value, content.rsna_class.value)
    yield _word("co-rads", "CO-RADS", str(content.corads), f"CO-RADS {content.corads}")
    yield _word("pcr", "SARS-CoV-2 PCR as the reader knew it", content.pcr.value, content.pcr.value)
    yield from _chosen(content)
    yield Statement(_name("severity", f"Zone score, {report.severity_scale}"), float(report.severity_score), SCORE)
    for side, lung in (("right", content.zones.right), ("left", content.zones.left)):
        for third in ("upper", "middle", "lower"):
            name = _name(f"zone-{side[0]}-{third}", f"Zone score, {side} lung, {third} third")
            yield Statement(name, float(getattr(lung, third)), SCORE)
    yield from _measurement(content, report.model_release)
    yield from (Statement(_name("sign", "Sign"), _SIGNS[sign]) for sign in content.signs)
    for short, title, words in (
        ("alternative", "Other diagnosis", content.alternative),
        ("incidental", "Incidental finding", content.incidental),
    ):
        if words:
            yield Statement(_name(short, title), words)
    yield _word("critical", "Critical result", "yes" if content.critical else "no", "yes" if content.critical else "no")


def _chosen(content: ReportCreate) -> Iterator[Statement]:
    for short, title, value in (
        ("bsti", "BSTI class", content.bsti), ("distribution", "Distribution of opacity", content.distribution),
        ("laterality", "Laterality of opacity", content.laterality), ("effusion", "Pleural effusion", content.effusion),
        ("comparison", "Opacity compared with an earlier study", content.comparison),
    ):  # fmt: skip
        if value is not None:
            yield _word(short, title, value.value, value.value)


def _measurement(content: ReportCreate, release: str | None) -> Iterator[Statement]:
    said = "agrees" if content.measurement.agrees else "differs"
    yield _word("measured", f"Reader and measurement by {release or 'no release'}"[:64], said, said)
    for name, percent in (
        (GROUND_GLASS, content.measurement.ggo_percent),
        (CONSOLIDATION, content.measurement.consolidation_percent),
    ):
        if percent is not None:
            yield Statement(name, percent, PERCENT)


def _name(short: str, title: str) -> Code:
    return Code(short, PRIVATE_SCHEME, title)


def _word(short: str, title: str, value: str, words: str) -> Statement:
    return Statement(_name(short, title), Code(f"{short[:4]}-{value}"[:16], PRIVATE_SCHEME, words))
