"""The gate's promise: a planted identifier never leaves; and what leaves is audited and queued together or not at all."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.gate import gate as gates
from client.gate.policy import Clearance, Refusal, SitePolicy
from protocol.case import CaseRecord
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError
from protocol.plan import UpdateNotice
from protocol.reading import CodedResult, ReadPost, ReportReceipt, ReportStatus
from protocol.shape import Shape
from tests.fakes.parcels import a_case, a_post, an_opening
from tests.unit.client.gate.conftest import Border

IDENTIFIERS = st.one_of(
    st.from_regex(r"[A-Z]{3,12}\^[A-Z]{2,10}", fullmatch=True),  # PN
    st.from_regex(r"19[2-9]\d(0[1-9]|1[0-2])(0[1-9]|[12]\d)", fullmatch=True),  # DA
    st.from_regex(r"MRN-?\d{6,9}", fullmatch=True),  # LO
    st.from_regex(r"1\.2\.840\.\d{4,6}(\.\d{1,9}){2,5}", fullmatch=True),  # UI
    st.from_regex(r"[A-Z][a-z]{2,10} [A-Z][a-z]{2,12}", fullmatch=True),  # a name as people write it
    st.from_regex(r"\+\d{2} \d{3} \d{6}", fullmatch=True),
)


def a_receipt() -> ReportReceipt:
    coded = CodedResult(rsna_class="typical", corads=4, severity_score=9, agrees_with_measurement=True)  # type: ignore[arg-type]
    return ReportReceipt(
        request_id="1" * 32, claim_id="2" * 32, fence=1, version=1, status=ReportStatus.PRELIMINARY, report_sha256="a" * 64,
        coded=coded,
    )  # fmt: skip


def in_a_field(parcel: Shape, name: str, planted: Any) -> object:
    return parcel.model_copy(update={name: planted})


def in_a_new_field(parcel: Shape, name: str, planted: Any) -> object:
    return parcel.model_copy(update={f"{name}_note": planted})


def built_unchecked(parcel: Shape, name: str, planted: Any) -> object:
    return type(parcel).model_construct(**{**dict(parcel), name: planted})


def in_a_subclass(parcel: Shape, name: str, planted: Any) -> object:
    wider = type(
        "Wider", (type(parcel),), {"__annotations__": {"remark": str}, "remark": str(planted), "__module__": __name__}
    )
    return wider(**dict(parcel))


def as_a_dict(parcel: Shape, name: str, planted: Any) -> object:
    return {**parcel.model_dump(mode="json"), name: planted}


def as_text(parcel: Shape, name: str, planted: Any) -> object:
    return json.dumps(as_a_dict(parcel, name, planted))


def in_the_coded_part(parcel: Shape, name: str, planted: Any) -> object:
    receipt = a_receipt()
    return receipt.model_copy(update={"coded": receipt.coded.model_copy(update={"corads": planted, name: planted})})


def in_a_list(parcel: Shape, name: str, planted: Any) -> object:
    return parcel.model_copy(update={name: (planted,)})


def behind_the_closed_shape(parcel: Shape, name: str, planted: Any) -> object:
    """On the object, beside its fields: must not travel with them."""
    object.__setattr__(parcel, "__dict__", {**parcel.__dict__, "_remark": planted})
    return parcel


PLACES: list[Callable[[Shape, str, Any], object]] = [
    in_a_field, in_a_new_field, built_unchecked, in_a_subclass, as_a_dict, as_text, in_the_coded_part, in_a_list,
    behind_the_closed_shape,
]  # fmt: skip


@st.composite
def planted_parcels(draw: st.DrawFn) -> tuple[str, object]:
    identifier = draw(IDENTIFIERS)
    parcel: Shape = draw(st.sampled_from([a_case(), a_post(), an_opening(), a_receipt()]))
    name = draw(st.sampled_from(sorted(type(parcel).model_fields)))
    wrapped = draw(st.sampled_from([identifier, [identifier], {identifier: 1}, {"x": identifier}]))
    return identifier, draw(st.sampled_from(PLACES))(parcel, name, wrapped)


def everything_stored(border: Border) -> bytes:
    """All that could leave (outbox), all that is kept of it (audit), word for word."""
    rows = [tuple(row) for table in ("outbox", "audit") for row in border.connection.execute(f"SELECT * FROM {table}")]
    return b"\n".join(part if isinstance(part, bytes) else str(part).encode() for row in rows for part in row)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(planted=planted_parcels())
def test_a_planted_identifier_never_leaves(border: Border, planted: tuple[str, object]) -> None:
    identifier, candidate = planted
    before = border.gate.outbox.counts()["waiting"]
    verdict = border.gate.submit(candidate)  # type: ignore[arg-type]
    assert identifier.encode() not in everything_stored(border)
    if isinstance(verdict, Refusal):
        assert verdict.code is Code.POLICY_SHAPE
        assert border.gate.outbox.counts()["waiting"] == before
    else:
        assert type(candidate) in {CaseRecord, ReadPost, type(an_opening()), ReportReceipt}


def test_it_bites(border: Border, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the shape check off, the same search finds the identifier."""
    monkeypatch.setattr(gates, "shaped", lambda candidate: json.dumps(candidate.model_dump(), default=str).encode())
    monkeypatch.setattr(gates, "parse_parcel", lambda _: a_case())
    border.gate.submit(a_case().model_copy(update={"epi_week": "DOE^JANE"}))
    assert b"DOE^JANE" in everything_stored(border)


def test_what_left_is_kept_word_for_word_and_queued_once(border: Border) -> None:
    for _ in range(3):
        assert isinstance(border.gate.submit(a_case()), Clearance)
    rows = list(border.chain.rows())
    assert [(row.event, row.verdict, row.subject) for row in rows] == [
        ("parcel.case-record", "clear", a_case().case_id)
    ]
    (queued,) = border.gate.outbox.waiting()
    assert rows[0].body is not None
    assert rows[0].body.encode() == queued.body
    assert border.chain.verify().number == 1


def test_a_new_version_of_a_case_is_another_parcel(border: Border) -> None:
    border.gate.submit(a_case())
    border.gate.submit(a_case(version=2, withdrawn=True))
    assert border.gate.outbox.counts()["waiting"] == 2


def test_a_refusal_is_audited_without_what_was_refused(border: Border) -> None:
    border.policy = SitePolicy()
    assert border.gate.submit(a_case()) == Refusal(code=Code.POLICY_SHARING)
    (row,) = border.chain.rows()
    assert (row.verdict, row.body) == ("policy-sharing", None)
    assert border.gate.outbox.waiting() == []


def test_a_change_of_policy_counts_for_the_next_parcel(border: Border) -> None:
    shared, border.policy = border.policy, SitePolicy()
    assert isinstance(border.gate.submit(a_case()), Refusal)
    border.policy = shared
    assert isinstance(border.gate.submit(a_case()), Clearance)


def test_without_a_readable_policy_nothing_leaves(tmp_path: Path) -> None:
    border = Border(tmp_path)

    def unreadable() -> SitePolicy:
        raise InvalidInputError(Code.BAD_SETTING)

    border.gate = gates.Gate(border.connection, unreadable, border.clock, border.head)
    with pytest.raises(InvalidInputError):
        border.gate.submit(a_case())
    assert border.gate.outbox.waiting() == []


@pytest.mark.parametrize("table", ["audit", "outbox"])
def test_audit_and_outbox_are_one_commit(border: Border, table: str) -> None:
    """Whichever of the two writes fails, the other is undone."""
    border.connection.execute(
        f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with pytest.raises((sqlite3.DatabaseError, UnavailableError)):
        border.gate.submit(a_case())
    border.connection.execute("DROP TRIGGER full")
    assert list(border.chain.rows()) == []
    assert border.gate.outbox.waiting() == []
    assert isinstance(border.gate.submit(a_case()), Clearance)


def test_an_update_is_audited_before_it_leaves(border: Border) -> None:
    notice = UpdateNotice(
        run_id="1" * 32,
        round=2,
        site="northport",
        base_sha256="a" * 64,
        update_sha256="b" * 64,
        epsilon=1.5,
        delta=1e-5,
    )
    border.gate.note_update(notice)
    border.gate.note_order("1" * 32, 3, Refusal(code=Code.POLICY_BUNDLE))
    first, second = border.chain.rows()
    assert first.body is not None
    assert json.loads(first.body)["update_sha256"] == "b" * 64
    assert (second.subject, second.verdict) == (f"{'1' * 32}:3", "policy-bundle")
