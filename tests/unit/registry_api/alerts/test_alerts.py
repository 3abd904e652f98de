"""Alerts: whose rules, where they may send, once per week, tried again, signed; and none of it reaches further than it may."""

import base64
import http.server
import json
import re
import smtplib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
from pydantic import ValidationError
from sqlmodel import select

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError, UnavailableError
from registry_api.alerts.sending import SIGNATURE_HEADER, Carrier, Mailbox
from registry_api.alerts.service import ATTEMPTS_MOST, RULES_MOST, Delivery, Wishes, raise_alerts
from registry_api.alerts.tables import AlertRow
from registry_api.alerts.watch import Watch
from registry_api.people.readlog import readings
from registry_api.people.roles import Role
from registry_api.people.service import disable_person
from registry_api.people.tables import PersonRow
from registry_api.settings import AlertSettings
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import ORIGIN, Registry

V1 = "/v1/registry/alerts"
RULE = {"place": "XA-N", "above": 30, "target": "who@health.example"}


@dataclass
class Bag:
    """A carrier that keeps what it is given, or fails."""

    carried: list[Delivery] = field(default_factory=list)
    fails: bool = False

    def carry(self, delivery: Delivery) -> None:
        if self.fails:
            raise UnavailableError(Code.PEER_UNREACHABLE)
        self.carried.append(delivery)


@pytest.fixture
def open_registry(registry: Registry) -> Registry:
    """A registry of one region with two hospitals, whose alerts may go to one domain and one host."""
    allowed = AlertSettings(mail_domains=("health.example",), webhook_hosts=("hooks.example",))
    settings = registry.runtime.settings.model_copy(update={"alerts": allowed})
    object.__setattr__(registry.runtime, "settings", settings)
    for site in ("north-a", "north-b"):
        registry.enrol(site)
    return registry


def publish(registry: Registry, each: int) -> None:
    registry.clock.pass_(minutes=1)
    for site in ("north-a", "north-b"):
        registry.cases(site, each)
    registry.build()


def rows(registry: Registry) -> list[AlertRow]:
    with registry.runtime.database.reading() as session:
        return list(session.exec(select(AlertRow)))


def test_a_rule_goes_off_with_the_release_that_fulfils_it_and_once_a_week(
    open_registry: Registry, client: AsgiClient
) -> None:
    publish(open_registry, 10)
    headers = open_registry.key_of(Role.MINISTRY)
    open_registry.clock.pass_(minutes=1)
    assert client.post(V1, json=RULE, headers=headers).status_code == 201
    watch = Watch(open_registry.runtime, bag := Bag())
    assert watch.look() == 0
    publish(open_registry, 10)
    assert watch.look() == 1
    publish(open_registry, 10)
    assert [watch.look(), Watch(open_registry.runtime, bag).look()] == [0, 0]
    [delivery] = bag.carried
    assert (delivery.week, delivery.release, delivery.count, delivery.target) == ("2026-W08", 2, 40, RULE["target"])


def test_a_rule_that_is_younger_than_the_release_waits_for_the_next(
    open_registry: Registry, client: AsgiClient
) -> None:
    publish(open_registry, 20)
    open_registry.clock.pass_(minutes=1)
    client.post(V1, json=RULE, headers=open_registry.key_of(Role.MINISTRY))
    assert Watch(open_registry.runtime, Bag()).look() == 0


def test_before_the_first_release_there_is_nothing_to_look_at(open_registry: Registry) -> None:
    assert Watch(open_registry.runtime, Bag()).look() == 0


def test_what_is_not_taken_is_tried_again_ever_later_and_then_given_up(
    open_registry: Registry, client: AsgiClient
) -> None:
    client.post(V1, json=RULE, headers=open_registry.key_of(Role.MINISTRY))
    publish(open_registry, 20)
    watch = Watch(open_registry.runtime, Bag(fails=True))
    for attempt in range(1, ATTEMPTS_MOST + 1):
        watch.look()
        [row] = rows(open_registry)
        assert row.attempts == attempt
        open_registry.clock.pass_(minutes=2 ** (attempt - 1), seconds=-1)
        watch.look()
        assert rows(open_registry)[0].attempts == attempt
        open_registry.clock.pass_(seconds=1)
    assert (row.next_at, row.delivered_at) == (None, None)


def test_what_one_process_has_taken_no_other_gets(open_registry: Registry, client: AsgiClient) -> None:
    client.post(V1, json=RULE, headers=open_registry.key_of(Role.MINISTRY))
    publish(open_registry, 20)
    first, second = Watch(open_registry.runtime, Bag()), Watch(open_registry.runtime, Bag())
    first._look_at_release()
    assert (len(list(first._due())), len(list(second._due()))) == (1, 0)
    open_registry.clock.pass_(minutes=5)
    assert len(list(second._due())) == 1


@dataclass
class Slow(Bag):
    """A carrier that takes its time; the other process looks while the last alert is on its way."""

    registry: Registry | None = None
    other: Watch | None = None
    minutes: float = 0
    others: int = 0

    def carry(self, delivery: Delivery) -> None:
        assert self.registry
        assert self.other
        self.registry.clock.pass_(minutes=self.minutes)
        self.others += self.other.look()
        super().carry(delivery)


def test_alerts_that_wait_for_a_slow_one_are_not_taken_twice(open_registry: Registry, client: AsgiClient) -> None:
    headers = open_registry.key_of(Role.MINISTRY)
    for name in "abc":
        client.post(V1, json=RULE | {"target": f"{name}@health.example"}, headers=headers)
    publish(open_registry, 20)
    slow = Slow(registry=open_registry, minutes=2)
    watch = Watch(open_registry.runtime, slow)
    watch._look_at_release()
    slow.other = Watch(open_registry.runtime, late := Bag())
    slow.other._look_at_release()
    mine = watch.look()
    carried = [one.alert_id for one in slow.carried + late.carried]
    assert mine + slow.others == len(carried) == len(set(carried)) == 3


def test_who_was_too_slow_does_not_undo_what_another_process_delivered(
    open_registry: Registry, client: AsgiClient
) -> None:
    client.post(V1, json=RULE, headers=open_registry.key_of(Role.MINISTRY))
    publish(open_registry, 20)
    other = Watch(open_registry.runtime, Bag())
    Watch(open_registry.runtime, Slow(registry=open_registry, other=other, minutes=6, fails=True)).look()
    [row] = rows(open_registry)
    assert row.next_at is None
    assert row.delivered_at == open_registry.clock()


@pytest.mark.parametrize("role", [Role.READER, Role.HOSPITAL, Role.AUDITOR])
def test_who_has_another_role_now_is_told_nothing(open_registry: Registry, client: AsgiClient, role: Role) -> None:
    """At an organisation's log-in the groups of the day say who somebody is; only a ministry must have a place."""
    person = open_registry.add(Role.MINISTRY, region="XA")
    headers = {"Authorization": f"Bearer {person.api_key}"}
    client.post(V1, json=RULE, headers=headers)
    publish(open_registry, 20)
    watch = Watch(open_registry.runtime, bag := Bag())
    watch._look_at_release()
    client.post(V1, json=RULE | {"above": 35}, headers=headers)
    with open_registry.runtime.database.writing() as session:
        row = session.get_one(PersonRow, person.person_id)
        row.role, row.region = role.value, None
    publish(open_registry, 20)
    assert watch.look() == 0
    assert bag.carried == []
    assert [one.next_at for one in rows(open_registry)] == [None]


def test_whom_the_coordinator_removed_is_told_nothing(open_registry: Registry, client: AsgiClient) -> None:
    person = open_registry.add(Role.MINISTRY, region="XA")
    client.post(V1, json=RULE, headers={"Authorization": f"Bearer {person.api_key}"})
    with open_registry.runtime.database.writing() as session:
        disable_person(session, person.person_id, now=open_registry.clock())
    publish(open_registry, 20)
    assert Watch(open_registry.runtime, Bag()).look() == 0


def test_who_was_removed_or_sees_less_since_it_went_off_is_told_nothing(
    open_registry: Registry, client: AsgiClient
) -> None:
    people = [open_registry.add(Role.MINISTRY, region="XA") for _ in range(3)]
    for person in people:
        client.post(V1, json=RULE, headers={"Authorization": f"Bearer {person.api_key}"})
    publish(open_registry, 20)
    watch = Watch(open_registry.runtime, bag := Bag())
    watch._look_at_release()
    with open_registry.runtime.database.writing() as session:
        disable_person(session, people[0].person_id, now=open_registry.clock())
        session.get_one(PersonRow, people[1].person_id).region = "XB"
    assert watch.look() == 1
    assert [one.person_id for one in bag.carried] == [people[2].person_id]
    assert {row.next_at for row in rows(open_registry)} == {None}


def test_a_target_that_is_allowed_no_longer_is_given_up(open_registry: Registry, client: AsgiClient) -> None:
    client.post(V1, json=RULE, headers=open_registry.key_of(Role.MINISTRY))
    publish(open_registry, 20)
    settings = open_registry.runtime.settings.model_copy(update={"alerts": AlertSettings()})
    object.__setattr__(open_registry.runtime, "settings", settings)
    assert Watch(open_registry.runtime, bag := Bag()).look() == 0
    assert bag.carried == []
    assert [row.next_at for row in rows(open_registry)] == [None]


def test_an_alert_is_a_reading_and_stands_in_the_log(open_registry: Registry, client: AsgiClient) -> None:
    client.post(V1, json=RULE | {"of": "severity:mild"}, headers=open_registry.key_of(Role.MINISTRY))
    publish(open_registry, 20)
    Watch(open_registry.runtime, Bag()).look()
    with open_registry.runtime.database.reading() as session:
        [line] = readings(session, since=open_registry.clock().date(), about=None)
    assert (line.what, line.release, line.question) == ("alert", 1, "region,severity region=XA-N severity=mild")


def test_what_cannot_be_written_down_is_not_sent(
    open_registry: Registry, client: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post(V1, json=RULE, headers=open_registry.key_of(Role.MINISTRY))
    publish(open_registry, 20)

    def full(*_: object, **__: object) -> None:
        raise UnavailableError(Code.DISK_FULL)

    monkeypatch.setattr("registry_api.people.readlog._add", full)
    assert Watch(open_registry.runtime, bag := Bag()).look() == 0
    assert bag.carried == []
    assert rows(open_registry)[0].next_at is not None


def test_one_alert_that_cannot_be_carried_keeps_no_other(open_registry: Registry, client: AsgiClient) -> None:
    headers = open_registry.key_of(Role.MINISTRY)
    for target in ("first@health.example", "second@health.example"):
        client.post(V1, json=RULE | {"target": target}, headers=headers)
    publish(open_registry, 20)
    carried: list[str] = []

    class Faulty(Bag):
        def carry(self, delivery: Delivery) -> None:
            if not carried:
                carried.append("")
                raise ValueError("a fault with the target in its text")
            super().carry(delivery)

    watch = Watch(open_registry.runtime, bag := Faulty())
    assert watch.look() == 1
    assert len(bag.carried) == 1
    open_registry.clock.pass_(minutes=1)
    assert watch.look() == 1
    assert {one.target for one in bag.carried} == {"first@health.example", "second@health.example"}


def test_two_processes_that_raise_at_once_raise_one_alert(open_registry: Registry, client: AsgiClient) -> None:
    client.post(V1, json=RULE, headers=open_registry.key_of(Role.MINISTRY))
    publish(open_registry, 20)
    runtime, now = open_registry.runtime, open_registry.clock()
    with runtime.database.reading() as session:
        entry = runtime.archive.entry(session)
        document = runtime.archive.open(session, entry)

    def raised() -> int:
        with runtime.database.writing() as session:
            return raise_alerts(session, document, built_at=entry.built_at, now=now)

    assert [raised(), raised()] == [1, 0]
    assert len(rows(open_registry)) == 1


def test_each_caller_has_their_own_rules(open_registry: Registry, client: AsgiClient) -> None:
    mine, other = (open_registry.key_of(Role.MINISTRY) for _ in "ab")
    rule_id = client.post(V1, json=RULE | {"of": "severity:severe"}, headers=mine).json()["id"]
    [rule] = client.get(V1, headers=mine).json()
    assert (rule["id"], rule["of"], rule["above"], rule["measure"]) == (rule_id, "severity:severe", 30, "count")
    assert client.get(V1, headers=other).json() == []
    assert client.request("DELETE", f"{V1}/{rule_id}", headers=other).status_code == 404
    assert client.request("DELETE", f"{V1}/{rule_id}", headers=mine).status_code == 204
    assert client.get(V1, headers=mine).json() == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"place": "XB"}, 404), ({"of": "ggo:0;sex:male"}, 422), ({"of": "colour:red"}, 422), ({"of": "sex:male;sex:female"}, 422),
        ({"below": 3}, 422), ({"above": None}, 422), ({"measure": "records"}, 422), ({"target": "who@evil.example"}, 422),
        ({"target": "https://10.0.0.1/x"}, 422), ({"note": "x"}, 422),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused(
    open_registry: Registry, client: AsgiClient, change: dict[str, Any], status: int
) -> None:
    assert client.post(V1, json=RULE | change, headers=open_registry.key_of(Role.MINISTRY)).status_code == status


def test_there_are_so_many_rules_and_no_more(open_registry: Registry, client: AsgiClient) -> None:
    headers = open_registry.key_of(Role.MINISTRY)
    statuses = [client.post(V1, json=RULE, headers=headers).status_code for _ in range(RULES_MOST + 1)]
    assert statuses == [201] * RULES_MOST + [422]


@pytest.mark.parametrize(
    "target",
    [
        "a@health.example.evil", "@health.example", "a b@health.example", "a@x,b@health.example", "a@health.example\nBcc: x@y",
        "x@evil.example(@health.example", "x@evil.example:@health.example", "[@health.example", '"@health.example', "a..b@health.example",
        "x@evil.example\t@health.example", "x@[evil]@health.example", "x\u2024y@health.example", "https://hooks.example:abc/",
        "https://hooks.example:99999/", "https://hooks.example:0/", "https://hooks.example\\@evil/", "https://hooks.example/\n",
        "http://hooks.example/", "https://hooks.example.evil/", "https://user@hooks.example/", "https://evil/#hooks.example", "a",
    ],
)  # fmt: skip
def test_alerts_go_nowhere_but_where_the_coordinator_allows(target: str) -> None:
    wishes = Wishes(["health.example"], ["hooks.example"])
    wishes.check("https://hooks.example/acinus?key=1")
    wishes.check("a.b@health.example")
    with pytest.raises(InvalidInputError, match="Alerts go to"):
        wishes.check(target)


@pytest.mark.parametrize(
    "table", [{"smtp_host": "mail.example"}, {"smtp_host": "mail.example", "smtp_sender": "a@b", "smtp_tls": False},
              {"smtp_host": "localhost", "smtp_sender": "a@b", "smtp_tls": False, "smtp_user": "me"}]
)  # fmt: skip
def test_a_mail_server_in_the_open_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AlertSettings.model_validate(table)


def delivery_of(open_registry: Registry, client: AsgiClient, target: str = "who@health.example") -> Delivery:
    client.post(V1, json=RULE | {"target": target}, headers=open_registry.key_of(Role.MINISTRY))
    publish(open_registry, 20)
    watch = Watch(open_registry.runtime, bag := Bag())
    watch.look()
    return bag.carried[0]


class Hook(http.server.BaseHTTPRequestHandler):
    """A webhook that keeps what it gets and answers as it is told."""

    got: ClassVar[list[tuple[bytes, str]]] = []
    answers = 204
    announces = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((body, self.headers[SIGNATURE_HEADER]))
        self.send_response(self.answers)
        self.send_header("Content-Length", str(self.announces))
        self.send_header("Location", "https://localhost/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook(home: Path) -> Iterator[tuple[str, ssl.SSLContext]]:
    """The webhook over TLS, and whom to trust for it."""
    Hook.got, Hook.answers, Hook.announces = [], 204, 0
    server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "pki" / "registry.pem", home / "pki" / "registry.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://localhost:{server.server_port}/", ssl.create_default_context(cafile=home / "pki" / "ca.pem")
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_what_happened_signed(open_registry: Registry, client: AsgiClient, hook) -> None:
    address, trust = hook
    delivery = delivery_of(open_registry, client)
    key = open_registry.runtime.counts_key
    object.__setattr__(delivery, "target", address)
    Carrier(ORIGIN, key, trust, None).carry(delivery)
    [(body, signature)] = Hook.got
    key.public_key().verify(base64.urlsafe_b64decode(signature + "=="), body)
    said = json.loads(body)
    assert (said["place"], said["count"], said["above"], said["release"]) == ("XA-N", 40, 30, 1)


def test_of_a_webhook_that_takes_it_the_rest_of_the_answer_is_not_waited_for(
    open_registry: Registry, client: AsgiClient, hook
) -> None:
    address, trust = hook
    Hook.answers, Hook.announces = 200, 10**12
    delivery = delivery_of(open_registry, client)
    object.__setattr__(delivery, "target", address)
    Carrier(ORIGIN, open_registry.runtime.counts_key, trust, None).carry(delivery)
    assert len(Hook.got) == 1


@pytest.mark.parametrize("status", [302, 500])
def test_a_webhook_that_does_not_take_it_or_points_elsewhere_has_not_got_it(
    open_registry: Registry, client: AsgiClient, hook, status: int
) -> None:
    address, trust = hook
    Hook.answers = status
    delivery = delivery_of(open_registry, client)
    object.__setattr__(delivery, "target", address)
    with pytest.raises(UnavailableError, match=str(status)):
        Carrier(ORIGIN, open_registry.runtime.counts_key, trust, None).carry(delivery)
    assert len(Hook.got) == 1


def test_a_webhook_of_an_unknown_authority_gets_nothing(open_registry: Registry, client: AsgiClient, hook) -> None:
    delivery = delivery_of(open_registry, client)
    object.__setattr__(delivery, "target", hook[0])
    with pytest.raises(UnavailableError):
        Carrier(ORIGIN, open_registry.runtime.counts_key, ssl.create_default_context(), None).carry(delivery)
    assert Hook.got == []


def test_a_target_from_before_that_no_library_opens_is_not_reached(open_registry: Registry, client: AsgiClient) -> None:
    delivery = delivery_of(open_registry, client)
    object.__setattr__(delivery, "target", "https://hooks.example:abc/")
    with pytest.raises(UnavailableError, match="InvalidURL"):
        Carrier(ORIGIN, open_registry.runtime.counts_key, ssl.create_default_context(), None).carry(delivery)


def test_a_mail_goes_to_its_target_or_not_at_all(
    open_registry: Registry, client: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtplib, "SMTP", Server)
    Server.calls = []
    delivery = delivery_of(open_registry, client)
    object.__setattr__(delivery, "target", "x@evil.example(@health.example")
    key, mailbox = open_registry.runtime.counts_key, Mailbox("localhost", 25, "a@b", tls=False)
    with pytest.raises(RefusedError):
        Carrier(ORIGIN, key, ssl.create_default_context(), mailbox).carry(delivery)
    assert Server.calls == []


class Server:
    """What `smtplib.SMTP` would be connected to."""

    calls: ClassVar[list[object]] = []

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.calls.append((host, port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def starttls(self, *, context: ssl.SSLContext) -> None:
        self.calls.append("tls" if context.check_hostname else "open")

    def login(self, user: str, password: str) -> None:
        self.calls.append((user, password))

    def send_message(self, message: EmailMessage) -> None:
        self.calls.append(message)


def test_a_mail_goes_over_tls_and_says_what_happened(
    open_registry: Registry, client: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtplib, "SMTP", Server)
    Server.calls = []
    mailbox = Mailbox("mail.example", 587, "registry@acinus.example", tls=True, user="me", password="secret")
    carrier = Carrier(ORIGIN, open_registry.runtime.counts_key, ssl.create_default_context(), mailbox)
    carrier.carry(delivery_of(open_registry, client))
    address, tls, login, message = Server.calls
    assert (address, tls, login) == (("mail.example", 587), "tls", ("me", "secret"))
    assert isinstance(message, EmailMessage)
    assert (message["To"], message["From"]) == ("who@health.example", "registry@acinus.example")
    assert "XA-N, week 2026-W08, all studies: 40 studies (rounded)." in message.get_content()


def test_without_a_mail_server_or_when_it_refuses_it_is_tried_again(
    open_registry: Registry, client: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = delivery_of(open_registry, client)
    key, trust = open_registry.runtime.counts_key, ssl.create_default_context()
    with pytest.raises(UnavailableError, match="No mail server"):
        Carrier(ORIGIN, key, trust, None).carry(delivery)

    def refuse(*_: object) -> None:
        raise smtplib.SMTPRecipientsRefused({})

    monkeypatch.setattr(smtplib, "SMTP", Server)
    monkeypatch.setattr(Server, "send_message", refuse)
    with pytest.raises(UnavailableError, match="SMTPRecipientsRefused"):
        Carrier(ORIGIN, key, trust, Mailbox("localhost", 25, "a@b", tls=False)).carry(delivery)


def test_the_page_adds_shows_and_removes_a_rule_by_its_own_forms(open_registry: Registry, client: AsgiClient) -> None:
    publish(open_registry, 20)
    client.post("/login", data={"api_key": open_registry.add(Role.MINISTRY, region="XA").api_key})
    page = client.get("/alerts").text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)
    assert csrf
    assert "health.example" in page
    form = {"place": "XA-N", "of": "severity:severe", "measure": "count", "direction": "above", "threshold": "30"}
    whole = form | {"target": "who@health.example", "csrf": csrf[1]}
    assert client.post("/alerts/add", data=form | {"target": "who@health.example"}).status_code == 403
    assert client.post("/alerts/add", data=whole).status_code == 303
    refused = client.post("/alerts/add", data=whole | {"target": "who@evil.example", "direction": "below"})
    assert refused.status_code == 422
    for kept in (
        'role="alert"',
        'value="who@evil.example"',
        'value="30"',
        '"severity:severe" selected',
        '"below" selected',
    ):
        assert kept in refused.text  # nobody has to fill the form again
    page = client.get("/alerts").text
    assert "XA-N (severe): number of studies ≥ 30" in page
    rule_id = re.search(r'name="rule_id" value="([^"]+)"', page)
    assert rule_id
    assert client.post("/alerts/remove", data={"rule_id": rule_id[1], "csrf": csrf[1]}).status_code == 303
    assert "None yet." in client.get("/alerts").text
