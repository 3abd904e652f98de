"""Routes of joining and of counts, and what every answer carries."""

import csv
import io
import json
import logging

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import Session

from protocol.enrolment import EnrolReply
from registry_api.api.rim import BODY_MAX, SECURITY_HEADERS
from registry_api.enrolment.invites import create_invite
from registry_api.enrolment.tables import SiteRow
from registry_api.main import create_app
from registry_api.people.roles import Role
from registry_api.releases.build import build_release
from registry_api.runtime import disclosure_rule
from registry_api.witness import Witness
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.centre_home import SERVICE_TOKEN, make_csr, supernode_key
from tests.unit.registry_api.conftest import ORIGIN, Registry


@pytest.fixture
def counted(registry: Registry) -> Registry:
    """Two releases: the first without week 7."""
    for site, region in {
        "north-a": "XA-N",
        "north-b": "XA-N",
        "south-a": "XA-S",
        "south-b": "XA-S",
        "far": "XB",
    }.items():
        registry.enrol(site, region)
    for site in ("north-a", "north-b", "south-a", "south-b"):
        registry.cases(site, 13)
        registry.cases(site, 12, severity_band="moderate")
    registry.cases("north-a", 2, severity_band="severe")
    registry.cases("north-b", 2, severity_band="severe")
    registry.cases("far", 4)
    build(registry)
    registry.cases("south-a", 9, week="2026-W07")
    registry.cases("south-b", 9, week="2026-W07")
    build(registry)
    return registry


def build(registry: Registry) -> None:
    runtime = registry.runtime
    build_release(runtime.database, disclosure_rule(runtime.settings), key=runtime.counts_key, now=registry.clock())


def enrolment(registry: Registry, **changes: object) -> dict[str, object]:
    with registry.runtime.database.writing() as session:
        token = create_invite(session, site="northport", region="XA-N", hours=1, now=registry.clock())
    content = {
        "token": token,
        "csr_pem": make_csr(ec.generate_private_key(ec.SECP256R1())),
        "supernode_key": supernode_key(),
        "gateway_origin": "https://gateway.example",
    }
    return {**content, **changes}


def test_enrolment_answers_with_everything_a_node_pins(registry: Registry, client: AsgiClient) -> None:
    answer = client.post("/v1/enrolments", json=enrolment(registry))
    assert answer.status_code == 201
    reply = EnrolReply.model_validate(answer.json())
    assert (reply.site, reply.region) == ("northport", "XA-N")
    assert (reply.link_address, reply.fleet_address) == ("localhost:8444", "localhost:8445")
    certificate = x509.load_pem_x509_certificate(reply.certificate_pem.encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(reply.ca_pem.encode()))
    assert client.get("/v1/ca.pem").text == reply.ca_pem
    assert reply.release_root.encode() == registry.runtime.release_root


def test_a_used_and_an_unknown_invite_have_their_codes(registry: Registry, client: AsgiClient) -> None:
    request = enrolment(registry)
    client.post("/v1/enrolments", json=request)
    again = client.post("/v1/enrolments", json={**request, "supernode_key": supernode_key()})
    assert (again.status_code, again.json()["code"]) == (409, "invite-used")
    unknown = client.post("/v1/enrolments", json={**request, "token": "x" * 43})
    assert (unknown.status_code, unknown.json()["code"]) == (403, "invite-invalid")


@pytest.mark.parametrize(
    "change", [{"token": "short"}, {"csr_pem": "x"}, {"note": "planted"}, {"gateway_origin": "http://x"}]
)
def test_a_malformed_request_names_the_field_and_not_its_value(registry: Registry, client: AsgiClient, change) -> None:
    answer = client.post("/v1/enrolments", json=enrolment(registry, **change))
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-request")
    assert answer.headers["Content-Type"] == "application/problem+json"
    [(field, value)] = change.items()
    assert "body." in answer.json()["detail"]
    assert str(value) not in answer.json()["detail"].replace(field, "").replace("string_too_short", "")


def test_the_federation_side_reads_the_sites(registry: Registry, client: AsgiClient) -> None:
    serial = registry.enrol("northport")
    answer = client.get("/v1/sites", headers={"Authorization": f"Bearer {SERVICE_TOKEN}"})
    [entry] = answer.json()
    assert (entry["site"], entry["active"], entry["certificate_serials"]) == ("northport", True, [serial])


def ask(client: AsgiClient, headers: dict[str, str], **params: object):
    return client.get("/v1/registry/counts", params=params, headers=headers)


def test_counts_by_week_region_and_severity(counted: Registry, client: AsgiClient, bearer) -> None:
    answer = ask(client, bearer(Role.MINISTRY), by="week,region,severity")
    assert answer.status_code == 200
    body = answer.json()
    assert body["release"] == 2
    assert (body["count_precision"], body["count_adjusted_to"]) == ("rounded", [5, ">10"])
    cells = {(c["week"], c["region"], c["severity"]): (c["count"], c["status"], c["bound"]) for c in body["cells"]}
    assert len(cells) == 2 * 2 * 4
    assert cells["2026-W08", "XA-S", "mild"] == (25, "published", None)
    assert cells["2026-W08", "XA-S", "none"] == (0, "published", None)
    assert cells["2026-W08", "XA-N", "severe"] == (None, "masked", "1-10")
    assert cells["2026-W08", "XA-N", "moderate"] == (None, "withheld", None)


def test_a_ministry_sees_its_own_country_and_a_region_itself(counted: Registry, client: AsgiClient, bearer) -> None:
    def regions(region: str, by: str) -> set[str]:
        cells = ask(client, bearer(Role.MINISTRY, region=region), by=by).json()["cells"]
        return {cell["region"] for cell in cells}

    assert regions("XA", "week,region") == {"XA-N", "XA-S"}
    assert regions("XA", "week") == {"XA"}
    assert regions("XA-N", "week") == regions("XA-N", "week,region") == {"XA-N"}
    assert regions("XB", "week") == {"XB"}


def test_an_old_release_still_says_what_it_said(counted: Registry, client: AsgiClient, bearer) -> None:
    headers = bearer(Role.AUDITOR)
    old = ask(client, headers, by="week,country", release=1).json()
    assert {cell["week"] for cell in old["cells"]} == {"2026-W08"}
    assert ask(client, headers, release=3).status_code == 404


def test_too_fine_says_what_is_allowed(counted: Registry, client: AsgiClient, bearer) -> None:
    answer = ask(client, bearer(Role.MINISTRY), by="week,region,severity,age,sex")
    assert (answer.status_code, answer.json()["code"]) == (422, "too-fine")
    assert "at most 2 of severity, age, sex, pcr, rsna, ggo" in answer.json()["detail"]


@pytest.mark.parametrize(
    "params", [{"by": "hospital"}, {"site": "north-a"}, {"severity": "bad"}, {"release": 0}, {"week": "x" * 41}]
)
def test_what_does_not_exist_cannot_be_asked(counted: Registry, client: AsgiClient, bearer, params) -> None:
    answer = ask(client, bearer(Role.MINISTRY), **params)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-request")


def test_before_the_first_release_there_is_nothing(client: AsgiClient, bearer) -> None:
    assert ask(client, bearer(Role.MINISTRY)).status_code == 404


def test_an_answer_that_the_caller_has_is_not_sent_again(counted: Registry, client: AsgiClient, bearer) -> None:
    headers = bearer(Role.MINISTRY)
    first = ask(client, headers, by="week")
    assert first.headers["Cache-Control"] == "private, max-age=300"
    again = ask(client, {**headers, "If-None-Match": first.headers["ETag"]}, by="week")
    assert (again.status_code, again.content) == (304, b"")
    assert ask(client, {**headers, "If-None-Match": first.headers["ETag"]}, by="week,region").status_code == 200


def test_asking_a_hundred_times_gives_the_same_bytes(counted: Registry, client: AsgiClient, bearer) -> None:
    headers = bearer(Role.MINISTRY)
    assert len({ask(client, headers, by="week,region,age").content for _ in range(100)}) == 1


def test_exports_show_the_cells_of_the_answer(counted: Registry, client: AsgiClient, bearer) -> None:
    headers = bearer(Role.MINISTRY)
    cells = ask(client, headers, by="week,region,severity").json()["cells"]
    path = "/v1/registry/releases/2"
    rows = list(csv.DictReader(io.StringIO(client.get(f"{path}/export.csv", headers=headers).text)))
    assert [row["count"] for row in rows] == ["" if cell["count"] is None else str(cell["count"]) for cell in cells]
    dhis2 = client.get(f"{path}/dhis2.json", headers=headers).json()
    assert len(dhis2["import"]["dataValues"]) == sum(cell["count"] is not None for cell in cells)
    bundle = client.get(f"{path}/measurereport.json", headers=headers)
    assert bundle.headers["Content-Type"] == "application/fhir+json; fhirVersion=5.0"
    assert {entry["resource"]["subject"]["identifier"]["value"] for entry in bundle.json()["entry"]} == {"XA-N", "XA-S"}


def test_dhis2_gets_its_import_alone_and_the_hidden_cells_as_a_side_file(
    counted: Registry, client: AsgiClient, bearer
) -> None:
    headers, path = bearer(Role.MINISTRY), "/v1/registry/releases/2/dhis2.json"
    both = client.get(path, headers=headers).json()
    parts = {part: client.get(f"{path}?part={part}", headers=headers) for part in ("import", "left-out")}
    assert {name: answer.json() for name, answer in parts.items()} == {
        "import": both["import"],
        "left-out": both["left_out"],
    }
    assert both["left_out"]
    assert "counts-2-dhis2-left-out.json" in parts["left-out"].headers["Content-Disposition"]


def test_fhir_comes_in_the_version_that_is_asked_for(counted: Registry, client: AsgiClient, bearer) -> None:
    headers, path = bearer(Role.MINISTRY), "/v1/registry/releases/2/measurereport.json"
    older = client.get(f"{path}?fhir=R4B", headers=headers)
    assert older.headers["Content-Type"] == "application/fhir+json; fhirVersion=4.3"
    assert older.content != client.get(path, headers=headers).content
    assert client.get(f"{path}?fhir=STU3", headers=headers).status_code == 422


@pytest.mark.parametrize("path", ["counts?fhir=R4B", "releases/2/export.csv?part=import"])
def test_a_parameter_of_another_export_is_refused(counted: Registry, client: AsgiClient, bearer, path: str) -> None:
    answer = client.get(f"/v1/registry/{path}", headers=bearer(Role.MINISTRY))
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-request")


def test_changes_are_new_weeks_and_revised_cells(counted: Registry, client: AsgiClient, bearer) -> None:
    headers, path = bearer(Role.MINISTRY), "/v1/registry/releases/{}/changes?by=week,region"
    registry = counted
    registry.cases("south-a", 10)
    build(registry)
    first, second, third = (client.get(path.format(number), headers=headers).json() for number in (1, 2, 3))
    assert (first["since"], first["new_weeks"], first["revisions"]) == (1, [], [])
    assert (second["since"], second["new_weeks"], second["revisions"]) == (1, ["2026-W07"], [])
    [change] = third["revisions"]
    assert (change["week"], change["region"], change["version_before"], change["version"]) == (
        "2026-W08",
        "XA-S",
        1,
        2,
    )
    assert (change["before"]["count"], change["count"]) == (50, 60)


def test_counts_say_how_many_hospitals_sent(counted: Registry, client: AsgiClient, bearer) -> None:
    reporting = ask(client, bearer(Role.MINISTRY), by="week,region", week="2026-W07").json()["reporting"]
    [one] = reporting
    quality = one.pop("quality")
    assert one == {"week": "2026-W07", "region": "XA-S", "sites": 2, "of": 2}
    assert (quality["heard"], quality["timely"]) == ({"sites": 2, "of": 2}, {"sites": 0, "of": 2})
    assert quality["sex"] == {"sites": 0, "of": 2}


def test_releases_are_listed_and_described(counted: Registry, client: AsgiClient, bearer) -> None:
    headers = bearer(Role.MINISTRY)
    assert [one["release"] for one in client.get("/v1/registry/releases", headers=headers).json()] == [2, 1]
    described = client.get("/v1/registry/releases/2", headers=headers).json()
    assert described["weeks"] == {"2026-W07": 1, "2026-W08": 1}
    assert described["places"] == ["XA", "XA-N", "XA-S"]
    assert described["rule"]["minimum"] == 10
    body = client.get("/v1/registry/releases/2/body.json", headers=bearer(Role.AUDITOR)).content
    assert json.loads(body)["number"] == 2


def test_dimensions_say_what_may_be_asked(client: AsgiClient, bearer) -> None:
    body = client.get("/v1/registry/dimensions", headers=bearer(Role.MINISTRY)).json()
    assert set(body["dimensions"]) == {"severity", "age", "sex", "pcr", "rsna", "ggo", "unit"}
    assert body["rule"]["masked"].startswith("1 to 10: null")


@pytest.mark.parametrize(
    "path", ["/", "/login", "/v1/health", "/v1/sites", "/nowhere", "/v1/nowhere", "/static/acinus.css"]
)
def test_every_answer_carries_the_security_headers(client: AsgiClient, path: str) -> None:
    answer = client.get(path)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "access-control-allow-origin" not in answer.headers


def test_what_is_not_there_is_a_problem_for_programs_and_a_page_for_people(client: AsgiClient) -> None:
    assert client.get("/v1/nowhere").json()["code"] == "not-found"
    page = client.get("/nowhere")
    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert client.request("DELETE", "/v1/health").status_code == 405


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_refused(client: AsgiClient, *, declared: bool) -> None:
    body = b"x" * (BODY_MAX + 1)

    async def pieces():
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    answer = client.post("/v1/enrolments", content=body if declared else pieces())
    assert answer.status_code == 413
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_a_fault_tells_nothing_of_itself(registry: Registry, client: AsgiClient, caplog, monkeypatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of a person")

    monkeypatch.setattr("registry_api.api.enrolment.list_sites", broken)
    answer = client.get("/v1/sites", headers={"Authorization": f"Bearer {SERVICE_TOKEN}"})
    assert (answer.status_code, answer.json()["code"]) == (500, "fault")
    assert "secret" not in answer.text
    [record] = [record for record in caplog.records if record.msg == "request.fault"]
    assert (record.fault, record.exc_info) == ("RuntimeError", None)
    assert any(step.startswith("enrolment.py:") for step in record.where), "our own step that met it"
    assert "secret" not in str(record.__dict__)


@pytest.mark.parametrize("path", ["/v1/readers/{}/declaration", "/v1/readers/{}/conflicts/north-a"])
def test_what_a_request_names_and_nobody_looked_for_is_not_found(
    registry: Registry, client: AsgiClient, caplog, monkeypatch, path: str
) -> None:
    """The database holds the reference, whatever the route forgot."""
    registry.enrol("north-a")
    monkeypatch.setattr("registry_api.api.readers.require_reader", lambda *_: None)
    coordinator = registry.key_of(Role.COORDINATOR)
    answer = client.request("PUT", path.format("f" * 32), headers=coordinator, json={"says": "nothing"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert "f" * 32 not in answer.text
    [record] = [record for record in caplog.records if record.msg == "request.overtaken"]
    assert record.code == "not-found"
    assert record.where, "our own steps, down to the one that stored it"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"site": "north-a", "region": "XA-N"}, (409, "already-exists")),
        ({"site": "north-b", "region": None}, (500, "fault")),
    ],
)
def test_who_comes_second_is_told_so_and_our_own_faults_stay_faults(
    registry: Registry, client: AsgiClient, monkeypatch, row: dict[str, str], said: tuple[int, str]
) -> None:
    registry.enrol("north-a")

    def another(session: Session, **_: object) -> None:
        session.add(SiteRow(**row))
        session.flush()

    monkeypatch.setattr("registry_api.api.enrolment.list_sites", another)
    answer = client.get("/v1/sites", headers={"Authorization": f"Bearer {SERVICE_TOKEN}"})
    assert (answer.status_code, answer.json()["code"]) == said
    assert "north" not in answer.text


def test_the_access_log_names_routes_and_nothing_that_was_sent(registry: Registry, client: AsgiClient, caplog) -> None:
    caplog.set_level(logging.INFO)
    client.get("/v1/registry/releases/77?by=secret", headers={"Authorization": "Bearer acn_secret"})
    [record] = [record for record in caplog.records if record.msg == "request.served"]
    assert (record.method, record.route, record.status) == ("GET", "/v1/registry/releases/{number}", 401)
    assert "secret" not in str(record.__dict__)


def test_a_witness_keeps_what_was_received(registry: Registry, tmp_path) -> None:
    object.__setattr__(registry.runtime, "witness", Witness(tmp_path / "witness"))
    with AsgiClient(create_app(registry.runtime), base_url=ORIGIN) as client:
        client.post(
            "/v1/enrolments?planted=query", json={"token": "planted-body"}, headers={"X-Note": "planted-header"}
        )
    seen = (tmp_path / "witness" / "registry-http.bin").read_bytes()
    for word in (b"planted=query", b"planted-body", b"planted-header"):
        assert word in seen
