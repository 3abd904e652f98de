"""The routes: what they show, to whom, under which headers, and what the audit chain says of it."""

import gzip
import struct
from pathlib import Path

import httpx
import pytest

from client.gate.policy import Refusal
from client.gateway import sending
from client.gateway.records import Stage
from client.gateway.reports import Reports
from client.gateway.strays import ROWS_AN_HOUR
from protocol.codes import Code
from protocol.reading import AmendmentOpened, GrantRevoked, ReadOpened, ReportReceipt, ReportSigned, ReportStatus
from tests.fakes.gateway import CLAIM, READER, REQUEST, STUDY, GatewayUnderTest, a_post

OTHER = "9" * 32
REPORT = {
    "rsna_class": "typical", "corads": 5, "pcr": "positive", "critical": False, "impression": "Bilateral ground glass.",
    "zones": {"right": {"upper": 0, "middle": 2, "lower": 3}, "left": {"upper": 1, "middle": 1, "lower": 2}},
    "measurement": {"agrees": True},
}  # fmt: skip

PAGES = ["/reader", "/session", "/health", "/static/view.js", "/viewer/niivue.umd.js", f"/view/{REQUEST}", "/nothing"]


def looked(gateway: GatewayUnderTest) -> GatewayUnderTest:
    assert gateway.enter().status_code == 201
    assert gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz").status_code == 200
    return gateway


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("inside", [True, False])
def test_every_answer_carries_the_headers(gateway: GatewayUnderTest, path: str, inside: bool) -> None:
    if inside:
        gateway.enter()
    headers = gateway.ask("GET", path).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert not any(host in headers["Content-Security-Policy"] for host in ("http:", "https:", "unsafe-inline", "*"))
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Strict-Transport-Security"].startswith("max-age=")
    assert "access-control-allow-origin" not in headers


def test_no_page_holds_a_script_or_a_style_of_its_own(gateway: GatewayUnderTest) -> None:
    gateway.enter()
    for path in ("/reader", "/session", f"/view/{REQUEST}"):
        text = gateway.ask("GET", path).text
        assert "<style" not in text
        assert " style=" not in text
        assert " on" not in [word[:3] for word in text.split() if "=" in word]
        assert all(part.split(">", 1)[0].find("src=") >= 0 for part in text.split("<script")[1:])
        assert "http://" not in text
        assert "https://" not in text


def test_the_cookie_is_for_this_host_and_for_no_script(gateway: GatewayUnderTest) -> None:
    (cookie,) = gateway.enter().headers.get_list("set-cookie")
    name, *attributes = cookie.split("; ")
    assert name.startswith("__Host-acinus-northport=")
    assert len(name.split("=")[1]) == 43
    assert {part.lower() for part in attributes} == {"httponly", "secure", "samesite=strict", "path=/", "max-age=600"}


def test_the_cookie_is_not_kept_as_it_is(gateway: GatewayUnderTest) -> None:
    value = gateway.enter().headers["set-cookie"].split("=")[1].split(";")[0]
    dump = "\n".join(gateway.book.connection.iterdump())
    assert value not in dump


def test_the_volume_passes_without_the_names_of_its_gzip_header(gateway: GatewayUnderTest) -> None:
    path = gateway.studies / STUDY / "ct.nii.gz"
    plain = gzip.decompress(path.read_bytes())
    with path.open("wb") as file, gzip.GzipFile("SMITH^JOHN.nii", "wb", fileobj=file, mtime=1_700_000_000) as named:
        named.write(plain)
    assert b"SMITH" in path.read_bytes()
    gateway.enter()
    answer = gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz")
    assert b"SMITH" not in answer.content
    assert answer.content[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert gzip.decompress(answer.content) == plain
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert "content-encoding" not in answer.headers


def test_a_volume_on_its_way_stops_where_its_session_ends(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def revoke(*_: object) -> None:
        gateway.sessions.revoke(GrantRevoked(jti=OTHER))

    monkeypatch.setattr(sending, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(Reports, "note_opened", revoke)  # the last step before the first byte
    gateway.enter(gateway.grant(jti=OTHER))
    answer = gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 1000
    assert [(record.msg, record.code) for record in caplog.records if record.name == sending.__name__] == [
        ("volume.cut", "grant-invalid")
    ]


@pytest.mark.parametrize(
    ("offset", "what"), [(4, "data_type"), (14, "db_name"), (148, "descrip"), (228, "aux_file"), (328, "intent")]
)
def test_a_volume_with_a_text_in_its_header_is_not_shown(gateway: GatewayUnderTest, offset: int, what: str) -> None:
    path = gateway.studies / STUDY / "ct.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[offset : offset + 5] = b"SMITH"
    path.write_bytes(gzip.compress(bytes(content)))
    gateway.enter()
    answer = gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz")
    assert (answer.status_code, answer.json()["code"]) == (403, "policy-shape")
    assert what in answer.json()["detail"]
    assert "SMITH" not in answer.text
    assert gateway.gate.parcels == []


@pytest.mark.parametrize("field", ["extension", "offset"])
def test_a_volume_with_a_header_extension_is_not_shown(gateway: GatewayUnderTest, field: str) -> None:
    path = gateway.studies / STUDY / "ct.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    if field == "extension":
        content[348] = 1
    else:
        struct.pack_into("<f", content, 108, 368.0)
    path.write_bytes(gzip.compress(bytes(content)))
    gateway.enter()
    assert gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz").json()["code"] == "policy-shape"


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"short", mtime=0), gzip.compress(bytes(400), mtime=0), None]
)
def test_a_damaged_volume_is_refused_with_a_code(gateway: GatewayUnderTest, content: bytes | None) -> None:
    path = gateway.studies / STUDY / "ct.nii.gz"
    path.unlink() if content is None else path.write_bytes(content)
    gateway.enter()
    answer = gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz")
    assert (answer.status_code, answer.json()["code"]) == (422, "unreadable")


def test_the_first_look_is_told_once(gateway: GatewayUnderTest) -> None:
    looked(gateway)
    gateway.ask("GET", f"/vol/{REQUEST}/mask.nii.gz")
    gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz")
    assert gateway.gate.parcels == [ReadOpened(request_id=REQUEST, claim_id=CLAIM, fence=1)]


def test_no_pixel_passes_if_the_gate_refuses_to_tell(gateway: GatewayUnderTest) -> None:
    gateway.gate.answer = lambda _: Refusal(code=Code.POLICY_SHARING)
    gateway.enter()
    assert gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz").json()["code"] == "policy-sharing"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/view/{OTHER}"),
        ("GET", f"/vol/{OTHER}/ct.nii.gz"),
        ("GET", f"/vol/{OTHER}/mask.nii.gz"),
        ("POST", f"/reports/{OTHER}"),
        ("GET", f"/reports/{OTHER}"),
        ("GET", f"/reports/{CLAIM}"),
        ("GET", f"/vol/{REQUEST}"),
        ("GET", "/vol"),
        ("GET", "/view"),
        ("GET", "/reports"),
        ("GET", "/studies"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/dicom-web/studies/1.2.3/metadata"),
    ],
)  # fmt: skip
def test_what_is_not_the_readers_looks_absent(gateway: GatewayUnderTest, method: str, path: str) -> None:
    gateway.book.post(a_post(OTHER), study_key="8" * 32)
    gateway.claimed(OTHER, request_id=OTHER)
    gateway.write_study()
    gateway.enter()
    answer = gateway.ask(method, path, json=REPORT if method == "POST" else None)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize("name", ["seg.dcm", "finding.json", "..%2f..%2fnode.db", "lungs.nii.gz"])
def test_no_other_file_can_be_had(gateway: GatewayUnderTest, name: str) -> None:
    gateway.enter()
    assert gateway.ask("GET", f"/vol/{REQUEST}/{name}").status_code in {404, 422}


@pytest.mark.parametrize("path", [f"/view/{REQUEST}", f"/vol/{REQUEST}/ct.nii.gz", f"/reports/{CLAIM}"])
@pytest.mark.parametrize("cookie", [None, "", "A" * 43])
def test_without_a_session_nothing_is_shown(gateway: GatewayUnderTest, path: str, cookie: str | None) -> None:
    if cookie is not None:
        gateway.cookies.set("__Host-acinus-northport", cookie)
    answer = gateway.ask("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_a_browser_gets_its_refusal_as_a_page(gateway: GatewayUnderTest) -> None:
    answer = gateway.ask("GET", f"/view/{REQUEST}", headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert "unauthenticated" in answer.text
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
)  # fmt: skip
def test_another_sites_page_can_send_nothing(gateway: GatewayUnderTest, headers: dict[str, str]) -> None:
    token = gateway.grant()
    refused = gateway.ask("POST", "/session", json={"token": token}, headers=headers | {"DPoP": gateway.proof(token)})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    looked(gateway)
    refused = gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert gateway.gate.kinds() == ["read-opened"]


def test_a_form_of_another_kind_is_no_report(gateway: GatewayUnderTest) -> None:
    looked(gateway)
    assert gateway.ask("POST", f"/reports/{CLAIM}", data={"impression": "x"}).status_code == 422


def test_a_report_is_kept_here_and_its_codes_leave(gateway: GatewayUnderTest) -> None:
    looked(gateway)
    answer = gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT)
    assert answer.status_code == 201
    content = answer.json()
    assert (content["version"], content["severity_score"], content["fence"], content["status"]) == (
        1,
        9,
        1,
        "preliminary",
    )
    receipt = gateway.gate.parcels[-1]
    assert isinstance(receipt, ReportReceipt)
    assert receipt.report_sha256 == content["report_sha256"]
    assert receipt.coded.severity_score == 9
    assert "ground glass" not in receipt.model_dump_json()
    assert gateway.ask("GET", f"/reports/{CLAIM}").json() == content


def two_versions(gateway: GatewayUnderTest) -> list[str]:
    looked(gateway)
    sent = [
        gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT | {"critical": critical}).json()
        for critical in (False, True)
    ]
    assert [one["version"] for one in sent] == [1, 2]
    return [one["report_sha256"] for one in sent]


def signature_of(sha256: str) -> ReportSigned:
    return ReportSigned(request_id=REQUEST, claim_id=CLAIM, fence=1, report_sha256=sha256)


def test_versions_count_up_and_the_last_can_be_signed(gateway: GatewayUnderTest) -> None:
    first, second = two_versions(gateway)
    assert first != second
    assert not gateway.reports.sign(signature_of("f" * 64))
    assert gateway.reports.sign(signature_of(second))
    assert gateway.gate.kinds() == ["read-opened", "report-receipt", "report-receipt", "read-delivered"]
    assert gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT).json()["code"] == "grant-invalid"


def test_what_was_signed_is_final_though_a_later_version_came(gateway: GatewayUnderTest) -> None:
    """The reader corrected the report while the link was slow, and signed what the centre knew of."""
    first, _ = two_versions(gateway)
    for _ in range(2):
        assert gateway.reports.sign(signature_of(first))
    final = gateway.reports.final(CLAIM)
    assert final is not None
    assert (final.report_sha256, final.report.version, final.amended) == (first, 1, False)
    assert [one.status for one in gateway.reports.of_claim(CLAIM)] == [ReportStatus.PRELIMINARY, ReportStatus.FINAL]
    assert gateway.book.request(REQUEST).stage is Stage.DELIVERED
    assert gateway.gate.kinds()[-1] == "read-delivered"
    assert gateway.gate.kinds().count("read-delivered") == 1
    assert gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT).json()["code"] == "grant-invalid"


def test_the_word_of_a_signature_that_comes_again_ends_no_amendment(gateway: GatewayUnderTest) -> None:
    _, second = two_versions(gateway)
    gateway.reports.sign(signature_of(second))
    gateway.book.reopened(AmendmentOpened(request_id=REQUEST, claim_id=CLAIM, fence=1))
    assert gateway.reports.sign(signature_of(second))
    assert gateway.enter().status_code == 201


def test_nobody_reports_on_what_they_did_not_open(gateway: GatewayUnderTest) -> None:
    gateway.enter()
    answer = gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT)
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal-transition")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"corads": 6, "pcr": "negative"}, "CO-RADS 6"),
        ({"corads": 7}, "corads"),
        ({"rsna_class": "likely"}, "rsna_class"),
        ({"impression": "  "}, "impression"),
        ({"impression": "x" * 8001}, "impression"),
        ({"zones": {"right": {"upper": 5, "middle": 0, "lower": 0}, "left": {"upper": 0, "middle": 0, "lower": 0}}}, "upper"),
        ({"measurement": {"agrees": False}}, "measurement"),
        ({"measurement": {"agrees": True, "ggo_percent": 3}}, "measurement"),
        ({"patient_name": "Smith"}, "patient_name"),
        ({"severity_score": 3}, "severity_score"),
    ],
)  # fmt: skip
def test_a_report_that_is_not_whole_is_sent_back(
    gateway: GatewayUnderTest, change: dict[str, object], field: str
) -> None:
    looked(gateway)
    answer = gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT | change)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-request")
    assert field in answer.json()["detail"]
    assert "Smith" not in answer.text
    assert gateway.gate.kinds() == ["read-opened"]


def test_what_is_too_large_is_not_read(gateway: GatewayUnderTest) -> None:
    looked(gateway)
    assert gateway.ask("POST", f"/reports/{CLAIM}", content=b"x" * 70_000).status_code == 413
    chunks = (b"x" * 10_000 for _ in range(8))

    async def stream():
        for chunk in chunks:
            yield chunk

    headers = {"Content-Type": "application/json"}
    assert gateway.ask("POST", f"/reports/{CLAIM}", content=stream(), headers=headers).status_code == 413


def test_every_request_for_a_study_is_in_the_audit_chain(gateway: GatewayUnderTest) -> None:
    looked(gateway)
    gateway.ask("GET", f"/view/{REQUEST}")
    gateway.ask("GET", f"/view/{OTHER}")
    gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT)
    gateway.enter("a.b.c", "d.e.f")
    gateway.cookies.clear()
    gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz")
    gateway.ask("GET", "/reader")
    assert gateway.audit == [
        ("gateway.session", REQUEST, "answered-201"),
        ("gateway.volume", REQUEST, "answered-200"),
        ("gateway.view", REQUEST, "answered-200"),
        ("gateway.view", OTHER, "not-found"),
        ("gateway.report", CLAIM, "answered-201"),
        ("gateway.session", "-", "grant-invalid"),
        ("gateway.volume", REQUEST, "unauthenticated"),
    ]


@pytest.mark.parametrize(
    ("method", "path", "row"),
    [
        ("POST", f"/reports/{CLAIM}", ("gateway.report", CLAIM, "bad-request")),
        ("POST", "/session", ("gateway.session", "-", "bad-request")),
        ("POST", f"/masks/{CLAIM}", ("gateway.mask", CLAIM, "bad-request")),
        ("POST", "/elsewhere", ("gateway.stray", "-", "bad-request")),
    ],
)
def test_what_is_too_large_has_its_row(
    gateway: GatewayUnderTest, method: str, path: str, row: tuple[str, str, str]
) -> None:
    headers = {"Content-Length": str(10**9)}
    assert gateway.ask(method, path, content=b"x", headers=headers).status_code == 413
    assert gateway.audit == [row]


@pytest.mark.parametrize(
    ("path", "row"),
    [
        ("/studies", ("gateway.stray", "-", "not-found")),
        ("/SMITH^JOHN", ("gateway.stray", "-", "not-found")),
        (f"/studies/{OTHER}", ("gateway.stray", OTHER, "not-found")),
        (f"/vol/{REQUEST}", ("gateway.volume", REQUEST, "not-found")),
        ("/dicom-web/patients", ("gateway.dicomweb", "-", "not-found")),
        ("/sessions", ("gateway.stray", "-", "not-found")),
    ],
)
def test_what_leads_nowhere_has_its_row(gateway: GatewayUnderTest, path: str, row: tuple[str, str, str]) -> None:
    assert gateway.ask("GET", path).status_code == 404
    assert gateway.audit == [row]


def test_who_probes_cannot_fill_the_chain_and_no_readers_row_is_lost_for_it(gateway: GatewayUnderTest) -> None:
    """So many rows an hour, then one that says how many more there were."""
    looked(gateway)
    gateway.audit.clear()
    cookies, gateway.cookies = gateway.cookies, httpx.Cookies()
    for number in range(ROWS_AN_HOUR + 7):
        gateway.ask("GET", f"/{number}")
        gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz")
    assert len(gateway.audit) == ROWS_AN_HOUR
    gateway.cookies = cookies
    gateway.ask("GET", f"/view/{REQUEST}")
    assert gateway.audit[-1] == ("gateway.view", REQUEST, "answered-200")
    gateway.cookies.clear()
    assert gateway.enter().status_code == 201
    assert gateway.audit[-1] == ("gateway.session", REQUEST, "answered-201")
    gateway.wait(hours=1)
    gateway.cookies.clear()
    gateway.ask("GET", "/elsewhere")
    assert gateway.audit[-2:] == [
        ("gateway.unlisted", "-", str(ROWS_AN_HOUR + 14)), ("gateway.stray", "-", "not-found"),
    ]  # fmt: skip


def test_no_pixel_leaves_if_the_audit_row_cannot_be_written(gateway: GatewayUnderTest) -> None:
    gateway.enter()

    def full(*_row: str) -> None:
        raise OSError("no space")

    object.__setattr__(gateway.desk, "audit", full)
    answer = gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz")
    assert answer.status_code == 500
    assert len(answer.content) < 200


def test_a_fault_of_ours_says_nothing_of_what_was_asked(gateway: GatewayUnderTest) -> None:
    gateway.enter()

    def broken(_: str) -> None:
        raise KeyError("Smith")

    gateway.desk.findings.finding = broken  # type: ignore[assignment, method-assign]
    answer = gateway.ask("GET", f"/view/{REQUEST}")
    assert (answer.status_code, answer.json()["code"]) == (500, "node-fault")
    assert "Smith" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert gateway.audit[-1] == ("gateway.view", REQUEST, "node-fault")


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/session"), ("PUT", f"/reports/{CLAIM}"), ("POST", f"/view/{REQUEST}")]
)
def test_another_method_finds_nothing(gateway: GatewayUnderTest, method: str, path: str) -> None:
    answer = gateway.ask(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "not-found")


def test_the_view_shows_the_measurement_and_nothing_of_the_patient(gateway: GatewayUnderTest) -> None:
    gateway.enter()
    text = gateway.ask("GET", f"/view/{REQUEST}").text
    for shown in ("12.3 %", "9 / 24", "thick-slices", "ggo@1", "Measurement aid, not a diagnosis", "Dr Example"):
        assert shown in text
    assert STUDY not in text
    assert READER not in text


def test_the_root_leads_to_the_one_page_for_everybody(gateway: GatewayUnderTest) -> None:
    answer = gateway.ask("GET", "/", follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/reader")


def test_on_loopback_no_browser_is_told_to_insist_on_tls(tmp_path: Path) -> None:
    for number, origin in enumerate(("https://localhost:9443", "https://127.0.0.1:9443")):
        local = GatewayUnderTest(tmp_path / str(number), origin=origin)
        assert "Strict-Transport-Security" not in local.ask("GET", "/reader").headers
