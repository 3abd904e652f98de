"""The FHIR port: who may send, how much, and what it answers."""

import json
import ssl
import threading
import time
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from client.context.mllp import is_listed
from client.context.part import run_context
from client.context.web import TOKEN_FILE, create_app, read_token
from client.gate.keys import make_gateway_certificate
from client.gateway.serve import serve
from client.rooms.border import utc_now
from client.sections import FhirSettings
from tests.fakes.asgi_client import AsgiClient
from tests.fakes.hl7_messages import bundle, fhir_patient, fhir_result
from tests.fakes.node_home import Home
from tests.fakes.outcomes import code_of
from tests.fakes.ports import free_port

TOKEN = "a-word-of-twenty-four-letters"
SAID = json.dumps(bundle(fhir_patient(), fhir_result())).encode()


AUTHORISED: dict[str, str | bytes] = {"Authorization": f"Bearer {TOKEN}"}


def ask(
    home: Home, content: bytes = SAID, *, most: int = 1 << 20, address: str = "10.0.0.9",
    headers: dict[str, str | bytes] | None = None, method: str = "POST", path: str = "/fhir",
) -> httpx.Response:  # fmt: skip
    app = create_app(home.desk, token=TOKEN, senders=(ip_network("10.0.0.0/24"),), most_bytes=most)
    with AsgiClient(app, base_url="https://node", address=address) as client:
        return client.request(method, path, content=content, headers=headers or AUTHORISED)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.clock.now = time.time()
    return home


def test_a_bundle_is_kept_and_answered_without_its_content(home: Home) -> None:
    answer = ask(home)
    assert (answer.status_code, answer.json()["resourceType"]) == (200, "OperationOutcome")
    assert "CANARY" not in answer.text
    assert home.context().counts()["facts"] == 3


@pytest.mark.parametrize(
    ("headers", "address", "content", "status", "code"),
    [
        ({"Authorization": "Bearer wrong"}, "10.0.0.9", SAID, 401, "unauthenticated"),
        ({"Authorization": "é".encode("latin-1")}, "10.0.0.9", SAID, 401, "unauthenticated"),
        ({}, "10.0.1.9", SAID, 403, "forbidden"),
        ({}, "10.0.0.9", b'{"CANARY"', 422, "unreadable"),
        ({}, "10.0.0.9", b'{"CANARY": 1}', 422, "bad-request"),
        ({}, "10.0.0.9", b" " * 200_000, 422, "bad-request"),
    ],
)  # fmt: skip
def test_others_are_refused_with_a_code(
    home: Home, headers: dict[str, str | bytes], address: str, content: bytes, status: int, code: str
) -> None:
    answer = ask(home, content, most=100_000, address=address, headers=headers)
    assert (answer.status_code, answer.json()["issue"][0]["details"]["text"]) == (status, code)
    assert "CANARY" not in answer.text
    assert home.context().counts()["facts"] == 0


def test_there_is_nothing_else(home: Home) -> None:
    assert [ask(home, method="GET", path=path).status_code for path in ("/", "/docs", "/openapi.json", "/fhir")] == [
        404,
        404,
        404,
        405,
    ]


def test_over_tls_with_the_hospitals_own_certificate(home: Home) -> None:
    keys = home.settings.keys
    make_gateway_certificate(keys, site_name="test", gateway="https://localhost:9443", now=utc_now())
    assert code_of(lambda: read_token(keys)).value == "missing-certificate"
    (keys / TOKEN_FILE).write_text(TOKEN + "\n")
    fhir = FhirSettings(enabled=True, port=free_port(), senders=("127.0.0.1",))
    settings, stop = home.settings.model_copy(update={"fhir": fhir}), threading.Event()
    thread = threading.Thread(target=run_context, args=(settings, home.desk, stop, serve))
    thread.start()
    try:
        with closing(
            httpx.Client(
                verify=ssl.create_default_context(cafile=str(keys / "gateway-ca.pem")),
                headers={"Authorization": f"Bearer {TOKEN}"},
            )
        ) as peer:
            for _ in range(100):
                try:
                    answer = peer.post(f"https://localhost:{fhir.port}/fhir", content=SAID)
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
        assert answer.status_code == 200
    finally:
        stop.set()
        thread.join(timeout=20)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("address", "listed"),
    [
        ("10.0.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("10.0.1.1", False),
        ("::1", False),
        ("testclient", False),
        ("", False),
    ],
)
def test_addresses_are_compared_as_what_they_are(address: str, listed: bool) -> None:
    assert is_listed(address, (ip_network("10.0.0.0/24"),)) is listed
