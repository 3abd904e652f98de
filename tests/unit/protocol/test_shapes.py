"""No shape that crosses a border has room for a name, a text or a date of study."""

import re
import types
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, StringConstraints, ValidationError

from protocol import enrolment, evaluation, parcel, plan, reading, release, secure_sum, standing
from protocol.case import CaseRecord
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.parcel import parse_notice, parse_parcel
from protocol.shape import Shape, canonical_json

NAMES = ["Müller^Hans", "Garcia Lopez, Maria", "John Smith", "O'Brien", "李小龍", "19560412", "1956-04-12"]
CERTIFICATE_FIELDS = {"csr_pem", "certificate_pem", "ca_pem", "supernode_key"}


def union_members(alias: object) -> tuple[type[Shape], ...]:
    return get_args(get_args(alias)[0])


def all_shapes() -> list[type[Shape]]:
    found: list[type[Shape]] = []
    for module in (parcel, reading, release, plan, enrolment, secure_sum, evaluation, standing):
        found += [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Shape) and v is not Shape]
    return sorted(set(found), key=lambda shape: shape.__name__)


def leaves(annotation: object, metadata: tuple[Any, ...] = ()) -> list[tuple[type, tuple[Any, ...]]]:
    """Every plain type inside an annotation, with the constraints that stand around it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return leaves(inner, (*metadata, *more))
    if origin in (Union, types.UnionType, tuple):
        return [
            leaf
            for part in get_args(annotation)
            if part not in (Ellipsis, type(None))
            for leaf in leaves(part, metadata)
        ]
    if origin is Literal:
        return []
    assert isinstance(annotation, type), annotation
    return [(annotation, metadata)]


@pytest.mark.parametrize("shape", all_shapes(), ids=lambda shape: shape.__name__)
def test_every_field_is_closed(shape: type[Shape]) -> None:
    for name, field in shape.model_fields.items():
        for kind, constraints in leaves(field.rebuild_annotation()):
            if issubclass(kind, str) and not issubclass(kind, Enum):
                patterns = [c.pattern for c in constraints if isinstance(c, StringConstraints)]
                assert patterns, f"{shape.__name__}.{name} is free text"
                assert not any(r"\d" in str(one) for one in patterns), (
                    f"{shape.__name__}.{name} takes digits of every script"
                )
            elif kind in (int, float):
                bounded = any(isinstance(c, Ge | Gt | Le | Lt) or hasattr(c, "metadata") for c in constraints)
                assert bounded or name in {"iat", "nbf", "exp"}, f"{shape.__name__}.{name} is an unbounded number"
            else:
                assert issubclass(kind, Enum | BaseModel | bool), f"{shape.__name__}.{name} is a {kind}"


@pytest.mark.parametrize("shape", all_shapes(), ids=lambda shape: shape.__name__)
def test_no_text_field_takes_a_name_or_a_date(shape: type[Shape]) -> None:
    for name, field in shape.model_fields.items():
        for kind, constraints in leaves(field.rebuild_annotation()):
            if not issubclass(kind, str) or issubclass(kind, Enum) or name in CERTIFICATE_FIELDS:
                continue
            for rule in constraints:
                if isinstance(rule, StringConstraints) and rule.pattern:
                    taken = [text for text in NAMES if re.search(str(rule.pattern), text)]
                    assert not taken, f"{shape.__name__}.{name} takes {taken}"


def test_only_shapes_with_a_kind_of_their_own_travel() -> None:
    kinds = [m.model_fields["kind"].default for alias in (parcel.Parcel, parcel.Notice) for m in union_members(alias)]
    assert len(kinds) == len(set(kinds))


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=30) | st.integers() | st.none(), max_size=6))
def test_what_is_no_shape_is_refused_without_quoting_it(body: dict[str, object]) -> None:
    raw = canonical_json({**body, "kind": "case-record", "patient": "Garcia"})
    for parse in (parse_parcel, parse_notice):
        with pytest.raises(InvalidInputError) as refused:
            parse(raw)
        assert refused.value.code is Code.BAD_SHAPE
        assert "Garcia" not in str(refused.value)


def case(**change: object) -> dict[str, object]:
    return {
        "case_id": "0" * 32,
        "epi_week": "2026-W07",
        "ggo_percent": 12,
        "consolidation_percent": 3,
        "opacity_percent": 15,
        "severity_score": 4,
        "severity_band": "mild",
        "model_release": "ggo@0",
        **change,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"epi_week": "2026-02-14"},
        {"epi_week": "2026-W54"},
        {"epi_week": "20٢٦-W07"},
        {"case_id": "1.2.840.113619.2.55"},
        {"ggo_percent": 101},
        {"severity_band": "Garcia"},
        {"comment": "seen by Dr Garcia"},
        {"model_release": "ggo"},
        {"model_release": "ggo@٣"},
    ],
)
def test_a_case_record_refuses(change: dict[str, object]) -> None:
    CaseRecord.model_validate(case())
    with pytest.raises(ValidationError):
        CaseRecord.model_validate(case(**change))


@pytest.mark.parametrize(
    "day", ["2027-02-30T00:00:00Z", "2027-13-01T00:00:00Z", "2027-01-01T24:00:00Z", "20٢٧-01-01T00:00:00Z"]
)
def test_a_time_that_no_calendar_has_is_no_shape(day: str) -> None:
    """The registry would stumble over it each time that the hospital's node sends it."""
    body: dict[str, object] = {"kind": "reader-privilege", "reader_id": "0" * 32, "granted": True, "version": 1}
    parse_parcel(canonical_json({**body, "valid_until": "2027-02-28T23:59:59Z"}))
    with pytest.raises(InvalidInputError) as refused:
        parse_parcel(canonical_json({**body, "valid_until": day}))
    assert refused.value.code is Code.BAD_SHAPE


def test_canonical_json_does_not_depend_on_the_order_of_fields() -> None:
    record = CaseRecord.model_validate(case())
    shuffled = CaseRecord.model_validate(dict(reversed(case().items())))
    assert canonical_json(record) == canonical_json(shuffled)
    assert b" " not in canonical_json(record)
    assert CaseRecord.model_validate_json(canonical_json(record)) == record
