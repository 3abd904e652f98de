"""The reader of HL7: odd separators, escapes, character sets, any order, huge fields; and whatever bytes may come."""

import tracemalloc

import hl7
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from client.context.fhir import parse_resources
from client.context.fhir import statements_of as of_fhir
from client.context.hl7 import Separators, parse_message, unescaped
from client.context.messages import Dialect, RejectedError, statements_of
from client.context.table import read_table
from client.store.facts import FactKind
from protocol.codes import Code
from protocol.errors import InvalidInputError
from tests.fakes.hl7_messages import header, imaging_order, patient, result
from tests.fakes.outcomes import code_of

USUAL = Separators()


def said(content: bytes) -> dict[FactKind, str]:
    return {one.kind: one.value for one in statements_of(parse_message(content), Dialect())}


def test_every_segment_is_found_in_any_order_and_with_any_line_ends() -> None:
    head, *rest = imaging_order().decode().split("\r")
    for end in ("\r", "\n", "\r\n", "\r\r\n"):
        turned = end.join([head, *reversed(rest), "ZZZ|CANARY", "NTE|1||x", ""]).encode()
        assert said(turned) == said(imaging_order())
    assert said(imaging_order())[FactKind.CARE_SETTING] == "inpatient"


def test_other_separators_say_the_same() -> None:
    odd = imaging_order().replace(b"^~\\&", b"\x00\x01\x02\x03").replace(b"^", b"$").replace(b"|", b"!")
    odd = odd.replace(b"\x00\x01\x02\x03", b"$~\\&")
    assert said(odd) == said(imaging_order())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f"), (r"\X48C3A4\!", "Hä!"), (r"\XE4\ ", "ä "), (r"x\.br\y", "x\ny"),
        (r"\H\bold\N\ \Zlocal\.", "bold ."), (r"one\two", r"one\two"), ("\\", "\\"), (r"\\", ""), (r"\X4\ ", " "),
    ],
)  # fmt: skip
def test_escapes_are_undone(written: str, meant: str) -> None:
    assert unescaped(written, USUAL) == meant


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("", "utf-8"),
        ("", "latin-1"),
        ("UNICODE UTF-8", "utf-8"),
        ("8859/1", "latin-1"),
        ("8859/2", "iso8859-2"),
        ("ISO IR87", "iso2022_jp"),
    ],
)
def test_text_is_read_in_its_own_character_set(name: str, encoding: str) -> None:
    word = {"iso8859-2": "płuco", "iso2022_jp": "肺炎"}.get(encoding, "Lungenentzündung")
    text = (
        imaging_order(question=word)
        .decode()
        .replace(header("ORM^O01^ORM_O01", "ORD-1", at="20260110070000"), header("ORM^O01", charset=name))
    )
    assert said(text.encode(encoding))[FactKind.QUESTION] == word


@pytest.mark.parametrize(
    "content",
    [
        b"", b"MSH", b"MSH|^~\\&", b"PID|1", b"MSH|||||||", b"MSHa^~\\&|x|y", b"MSH|^^\\&|x|y|z",
        header(charset="KLINGON").encode(), header(charset="UNICODE UTF-8").encode() + b"\rPID|1||\xff\xfe",
        header().encode() + b"\rOBX" * 6000,
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused_by_one_code(content: bytes) -> None:
    assert code_of(lambda: parse_message(content)) is Code.UNREADABLE


@pytest.mark.parametrize(
    ("content", "answer", "error"),
    [
        (result().replace(b"\rPID|", b"\rPIX|"), "AE", 100), (result(number=""), "AE", 101), (result(number='""'), "AE", 101),
        (result().replace(b"ORU^R01", b"ORU^R30"), "AR", 201), (result().replace(b"ORU^R01", b"ADT^A40"), "AR", 201),
        (result().replace(b"ORU^R01", b"MDM^T02"), "AR", 200),
    ],
)  # fmt: skip
def test_messages_that_are_not_taken_have_a_code_of_the_standard(content: bytes, answer: str, error: int) -> None:
    with pytest.raises(RejectedError) as raised:
        statements_of(parse_message(content), Dialect())
    assert (raised.value.acknowledgement, raised.value.error) == (answer, error)


@pytest.mark.parametrize(
    ("value", "flag", "state", "kept"),
    [
        ("260373001^Detected^SCT", "", "F", "positive"), ("LA11883-8", "", "F", "negative"), ("POSITIVE", "", "C", "positive"),
        ("Not  Detected", "NEG", "F", "negative"), ("text", "POS", "F", "positive"), ("260373001", "NEG", "F", ""),
        ("260373001", "", "P", None), ("260373001", "", "I", None), ("pending", "", "F", ""), ("260373001", "", "W", ""),
    ],
)  # fmt: skip
def test_results_count_only_when_they_are_final_and_plain(value: str, flag: str, state: str, kept: str | None) -> None:
    found = [
        one
        for one in statements_of(parse_message(result(value, flag=flag, state=state)), Dialect())
        if one.kind is FactKind.PCR
    ]
    assert [("" if one.retracted else one.value) for one in found] == ([] if kept is None else [kept])


def test_a_result_of_another_test_and_a_laboratory_order_say_nothing_of_a_scan() -> None:
    assert FactKind.PCR not in said(result().replace(b"94500-6^SARS-CoV-2 RNA Resp Ql NAA+probe", b"2823-3^Potassium"))
    laboratory = imaging_order().replace(b"ACC-77|", b"ACC-77||||||LAB|", 1).replace(b"|||||||||||||R05", b"|||||||R05")
    assert FactKind.CARE_SETTING not in said(laboratory)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["PID", "OBX", "ORC", "ZZZ"]), st.lists(st.text("ab^&~1", max_size=6), max_size=6)),
        max_size=6,
    )
)
def test_fields_are_split_as_the_library_splits_them(lines: list[tuple[str, list[str]]]) -> None:
    text = "\r".join([header(), *("|".join([name, *fields]) for name, fields in lines)])
    theirs, ours = hl7.parse(text), parse_message(text.encode())
    kept = [segment for segment in theirs[1:] if str(segment[0]) in {"PID", "OBX", "ORC"}]
    assert [one.name for one in ours.segments] == [str(segment[0]) for segment in kept]
    for mine, other in zip(ours.segments, kept, strict=True):
        assert [mine.raw(at) for at in range(1, len(other))] == [str(other[at]) for at in range(1, len(other))]


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([
            header().encode(), b"\r", patient().encode(), result(), imaging_order(), b"|", b"^", b"~", b"\\X", b"\\", b"OBX|", b"MSH|",
        ]),
    ),
    max_size=30,
).map(b"".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(PIECES)
@example(header().encode() + b"\rPID|1||" + b"~" * 50_000)
@example(header().encode() + b"\rPID|1||x\rOBX|1|ST|" + b"\\X" * 50_000)
def test_no_bytes_crash_the_readers(content: bytes) -> None:
    for read in (
        lambda: statements_of(parse_message(content), Dialect()),
        lambda: of_fhir(parse_resources(content), Dialect()),
        lambda: list(read_table(content)),
    ):
        try:
            read()
        except (InvalidInputError, RejectedError):
            continue


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["Observation", "94500-6", "final", "p1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "resourceType",
                    "entry",
                    "resource",
                    "code",
                    "coding",
                    "subject",
                    "identifier",
                    "status",
                    "class",
                    "period",
                    "id",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["resourceType", "entry", "subject", "code", "identifier", "encounter"]), JSON, max_size=5), st.sampled_from(["Bundle", "Patient", "Observation", "Encounter", "ServiceRequest"]))  # fmt: skip
def test_no_resource_crashes_the_reader(resource: dict[str, object], kind: str) -> None:
    import json

    body = json.dumps({**resource, "resourceType": kind, "entry": resource.get("entry"), "status": "final"}).encode()
    of_fhir(parse_resources(body), Dialect())


@pytest.mark.slow
@pytest.mark.parametrize("sign", [b"|", b"^", b"~", b"&", b"\\", b"\r", b"a"])
def test_a_field_as_large_as_a_message_may_be_stays_within_bounds(sign: bytes) -> None:
    content = (
        header().encode()
        + b"\r"
        + patient().encode()
        + b"\rOBR|1|"
        + sign * (1 << 20)
        + b"\rOBX|1|ST|94500-6||"
        + sign * 1000
    )
    tracemalloc.start()
    try:
        try:
            statements_of(parse_message(content), Dialect())
        except InvalidInputError:
            assert sign == b"\r"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 << 20
