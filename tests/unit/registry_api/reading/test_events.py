"""Events in order and once, each to those who may see it; as a stream, and as signed messages that are tried again."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlmodel import select

from protocol.errors import InvalidInputError
from protocol.reading import Priority, ReadPost
from registry_api.api import events as events_api
from registry_api.people.roles import Role
from registry_api.people.service import add_person, disable_person
from registry_api.people.tables import PersonRow
from registry_api.reading.claims import Claim
from registry_api.reading.events import ReadEvent, Viewer, events_after
from registry_api.reading.groups import set_group
from registry_api.reading.messenger import UNREACHABLE, Messenger, post
from registry_api.reading.tables import ReadEventRow, WebhookDeliveryRow, WebhookRow
from registry_api.reading.webhooks import (
    LEASE,
    PAUSES,
    Message,
    add_webhook,
    dead_letters,
    end_webhook,
    enqueue,
    redeliver,
    secret_of,
    settle,
    signature,
    take_due,
)
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import Registry
from tests.unit.registry_api.reading.conftest import NOW, REQUEST
from tests.unit.registry_api.reading.story import HASH, Story, delivered, opened, receipt

COORDINATOR = Viewer("c" * 32, Role.COORDINATOR)
KEY = Ed25519PrivateKey.generate()
Post = Callable[..., ReadPost]
AddReader = Callable[..., str]


def seen(story: Story, viewer: Viewer, cursor: int = 0) -> list[ReadEvent]:
    return story.look(lambda session: events_after(session, viewer, cursor, now=story.now)[0])


def signed_by(story: Story, reader: str, request: str = REQUEST) -> Claim:
    claim = story.claims(reader, request)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    story.signs(claim, reader)
    story.arrives(delivered(claim))
    return claim


def test_the_coordinator_follows_everything_in_order(story: Story, post: Post, add_reader: AddReader) -> None:
    story.arrives(post())
    claim = signed_by(story, add_reader())
    found = seen(story, COORDINATOR)
    assert [one.event for one in found] == ["posted", "claimed", "opened", "submitted", "signed", "delivered"]
    assert [one.id for one in found] == sorted({one.id for one in found})
    assert [one.claim_id for one in found] == [None] + [claim.claim_id] * 5
    assert seen(story, COORDINATOR, found[2].id) == found[3:]


def test_an_event_holds_nothing_of_a_report_or_a_patient(story: Story, post: Post, add_reader: AddReader) -> None:
    story.arrives(post())
    signed_by(story, add_reader())
    text = "".join(one.model_dump_json() for one in seen(story, COORDINATOR))
    assert not [word for word in (HASH, "typical", "corads", "60-69", "female") if word in text]
    fields = {"id", "at", "event", "state", "request_id", "number", "purpose", "priority", "site", "claim_id"}
    assert set(ReadEvent.model_fields) == fields


def test_each_reader_follows_their_own_claims_only(story: Story, post: Post, add_reader: AddReader) -> None:
    first, second, third = add_reader("A"), add_reader("B"), add_reader("C")
    story.arrives(post(reads_required=2))
    signed_by(story, first)
    story.releases(story.claims(second, REQUEST), second)
    story.claims(third, REQUEST)
    events = {
        reader: [one.event for one in seen(story, Viewer(reader, Role.READER))] for reader in (first, second, third)
    }
    assert events[first] == ["claimed", "opened", "submitted", "signed", "delivered"]
    assert events[second] == ["claimed", "released"]
    assert events[third] == ["claimed"]


def test_a_hospital_follows_its_own_reads_without_claims(story: Story, post: Post, add_reader: AddReader) -> None:
    story.arrives(post("1" * 32))
    story.arrives(post("2" * 32), site="southbay")
    story.claims(add_reader(), "1" * 32)
    found = seen(story, Viewer("9" * 32, Role.HOSPITAL, "northport"))
    assert [(one.request_id, one.event, one.claim_id) for one in found] == [
        ("1" * 32, "posted", None), ("1" * 32, "claimed", None),
    ]  # fmt: skip


def test_the_lead_of_a_group_hears_that_its_reads_are_late(story: Story, post: Post, add_reader: AddReader) -> None:
    lead, member, stranger = add_reader("Lead", sites=()), add_reader("Member"), add_reader("Stranger")
    with story.database.writing() as session:
        set_group(session, lead, group="Night readers", leads=True)
        set_group(session, member, group="Night readers")
    for number in (1, 2, 3):
        story.arrives(post(str(number) * 32, priority=Priority.STAT))
    story.wait(minutes=45)
    story.claims(member, "1" * 32)
    story.claims(stranger, "2" * 32)
    story.wait(minutes=4)
    story.escalates()
    found = seen(story, Viewer(lead, Role.READER))
    assert {(one.request_id, one.event, one.claim_id) for one in found} == {
        ("1" * 32, "warned", None), ("3" * 32, "warned", None),
    }  # fmt: skip
    own = seen(story, Viewer(stranger, Role.READER))
    assert [(one.request_id, one.event) for one in own] == [
        ("2" * 32, "claimed"), ("2" * 32, "widened"), ("2" * 32, "warned"),
    ]  # fmt: skip
    with story.database.writing() as session:
        set_group(session, lead, group="Night readers")
    assert seen(story, Viewer(lead, Role.READER)) == [], "who no longer leads hears nothing more"


def test_what_comes_after_a_gap_waits_until_the_gap_is_filled_or_old(story: Story, post: Post) -> None:
    """As PostgreSQL shows it: the second transaction is over, the first one is not."""
    story.arrives(post("1" * 32))
    story.arrives(post("2" * 32))
    story.arrives(post("3" * 32))
    with story.database.writing() as session:
        row = session.get_one(ReadEventRow, 2)
        kept = row.model_dump()
        session.delete(row)
    assert [one.id for one in seen(story, COORDINATOR)] == [1]
    with story.database.writing() as session:
        session.add(ReadEventRow(**kept))
    assert [one.id for one in seen(story, COORDINATOR)] == [1, 2, 3]
    with story.database.writing() as session:
        session.delete(session.get_one(ReadEventRow, 2))
    story.wait(seconds=11)
    assert [one.id for one in seen(story, COORDINATOR)] == [1, 3]


def test_the_stream_goes_on_from_a_cursor_and_from_the_last_event(
    client: AsgiClient, registry: Registry, bearer: Callable[..., dict[str, str]], post: Post
) -> None:
    registry.enrol("northport")
    story = Story(registry.runtime.database, registry.clock())
    for number in (1, 2, 3):
        story.arrives(post(str(number) * 32))
    headers = bearer(Role.COORDINATOR)

    def ids(query: str = "", **more: str) -> list[int]:
        answer = client.get(f"/v1/events?follow=false{query}", headers=headers | more)
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        frames = answer.text.split("\n\n")[:-1]
        for frame in frames:
            number, name, data = (line.split(": ", 1)[1] for line in frame.split("\n"))
            assert (int(number), name) == (json.loads(data)["id"], "read.posted")
        return [int(frame.split("\n")[0].removeprefix("id: ")) for frame in frames]

    assert (ids(), ids("&cursor=1"), ids("&cursor=3")) == ([1, 2, 3], [2, 3], [])
    assert ids("&cursor=0", **{"Last-Event-ID": "2"}) == [3]
    assert (ids(f"&cursor={2**31 - 1}"), ids(**{"Last-Event-ID": str(2**31 - 1)})) == ([], [])
    for wrong in ("-1", str(2**31)):
        assert client.get(f"/v1/events?follow=false&cursor={wrong}", headers=headers).status_code == 422
        last = headers | {"Last-Event-ID": wrong}
        assert client.get("/v1/events?follow=false", headers=last).status_code == 422


@pytest.mark.parametrize("change", [{"disabled_at": NOW}, {"region": "XB"}, {"role": Role.AUDITOR.value}])
def test_who_follows_gets_what_comes_and_loses_it_with_the_account_and_what_it_may(
    registry: Registry, post: Post, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    monkeypatch.setattr(events_api, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(events_api, "STREAM_SECONDS", 60.0)
    monkeypatch.setattr(events_api, "QUIET_SECONDS", 0.0)
    registry.enrol("northport")
    story = Story(registry.runtime.database, registry.clock())
    person = registry.add(Role.COORDINATOR).person_id

    async def follow() -> list[str]:
        heard = []
        async for frame in events_api.frames_of(registry.runtime, Viewer(person, Role.COORDINATOR), 0, follow=True):
            heard.append(frame)
            if len(heard) == 1:
                story.arrives(post())
            if frame.startswith("id:"):
                with registry.runtime.database.writing() as session:
                    session.get_one(PersonRow, person).sqlmodel_update(change)
        return heard

    heard = asyncio.run(follow())
    assert heard[0] == ": still here\n\n"
    assert heard[-1].startswith("id: 1\nevent: read.posted\n")


def test_a_stream_ends_by_itself_and_a_person_has_few_of_them(
    registry: Registry, client: AsgiClient, bearer: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_api, "STREAM_SECONDS", 0.0)
    headers = bearer(Role.COORDINATOR)
    assert client.get("/v1/events", headers=headers).text == ""
    assert not +registry.runtime.followers, "a stream that ended is counted no more"
    monkeypatch.setattr(events_api, "FOLLOWERS_MAX", 0)
    assert client.get("/v1/events", headers=headers).status_code == 429


@pytest.fixture
def hook(story: Story) -> WebhookRow:
    """A coordinator's webhook."""
    with story.database.writing() as session:
        person = add_person(session, "C", role=Role.COORDINATOR, now=NOW)
        return add_webhook(session, person.person_id, "https://ris.example/acinus", now=NOW)


def due(story: Story) -> list[Message]:
    with story.database.writing() as session:
        enqueue(session, now=story.now)
        return take_due(session, KEY, now=story.now)


def came_of_it(story: Story, messages: list[Message], outcome: str) -> None:
    with story.database.writing() as session:
        for one in messages:
            settle(session, one.delivery_id, outcome, now=story.now)


def test_a_message_is_signed_over_time_and_body(story: Story, post: Post, hook: WebhookRow) -> None:
    story.arrives(post())
    (message,) = due(story)
    secret = secret_of(KEY, hook.id)
    assert json.loads(message.body)["event"] == "posted"
    moment, mac = (part.split("=")[1] for part in message.headers["Acinus-Signature"].split(","))
    expected = hmac.new(secret.encode(), f"{moment}.".encode() + message.body, hashlib.sha256).hexdigest()
    assert (int(moment), mac) == (int(story.now.timestamp()), expected)
    assert (message.headers["Acinus-Webhook"], message.headers["Acinus-Event"]) == (hook.id, "1")
    assert signature(secret, message.body + b" ", story.now) != message.headers["Acinus-Signature"]


def test_each_webhook_has_a_secret_of_its_own_and_no_table_holds_it(story: Story, hook: WebhookRow) -> None:
    secret = secret_of(KEY, hook.id)
    assert secret != secret_of(KEY, "0" * 32)
    assert secret != secret_of(Ed25519PrivateKey.generate(), hook.id)
    assert len(secret) == 6 + 43
    kept = story.look(lambda session: session.get_one(WebhookRow, hook.id)).model_dump_json()
    assert secret[6:] not in kept


def test_what_was_delivered_is_not_sent_again(story: Story, post: Post, hook: WebhookRow) -> None:
    story.arrives(post())
    messages = due(story)
    assert due(story) == [], "somebody is at it"
    came_of_it(story, messages, "204")
    story.wait(days=3)
    assert due(story) == []


def test_a_sender_that_died_is_followed_by_another(story: Story, post: Post, hook: WebhookRow) -> None:
    story.arrives(post())
    first = due(story)
    story.wait(seconds=LEASE.total_seconds())
    assert [one.delivery_id for one in due(story)] == [one.delivery_id for one in first]


@pytest.mark.parametrize("outcome", ["500", "302", UNREACHABLE])
def test_a_failure_is_tried_again_with_growing_pauses_and_then_given_up(
    story: Story, post: Post, hook: WebhookRow, outcome: str
) -> None:
    story.arrives(post())
    for pause in PAUSES:
        came_of_it(story, due(story), outcome)
        story.wait(seconds=pause.total_seconds() - 1)
        assert due(story) == []
        story.wait(seconds=1)
    assert story.look(lambda session: dead_letters(session, hook.id)) == []
    came_of_it(story, due(story), outcome)
    story.wait(days=30)
    assert due(story) == []
    (dead,) = story.look(lambda session: dead_letters(session, hook.id))
    assert (dead.outcome, dead.attempts) == (outcome, len(PAUSES) + 1)
    with story.database.writing() as session:
        assert redeliver(session, hook.id, now=story.now) == 1
    came_of_it(story, due(story), "200")
    assert story.look(lambda session: dead_letters(session, hook.id)) == []


def test_a_webhook_gets_what_its_person_may_see_from_its_making_on(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    reader, other = add_reader("A"), add_reader("B")
    story.arrives(post("1" * 32))
    story.claims(reader, "1" * 32)
    with story.database.writing() as session:
        hook = add_webhook(session, reader, "https://ris.example/", now=story.now)
    story.arrives(post("2" * 32))
    for who in (other, reader):
        claim = story.claims(who, "2" * 32)
        if who is other:
            story.releases(claim, other)
    sent = [json.loads(one.body) for one in due(story)]
    assert [(one["request_id"], one["event"]) for one in sent] == [("2" * 32, "claimed")]
    with story.database.writing() as session:
        disable_person(session, reader, now=story.now)
    story.releases(claim, reader)
    assert due(story) == []
    story.wait(minutes=5)
    assert due(story) == [], "what was taken before, and of which nothing was heard, is not tried again"
    with story.database.writing() as session:
        end_webhook(session, hook.id, now=story.now)
    with pytest.raises(InvalidInputError), story.database.writing() as session:
        end_webhook(session, hook.id, now=story.now)


@pytest.mark.parametrize(
    "url",
    [
        "http://ris.example/",
        "https://",
        "ris.example",
        "https://u:p@ris.example/",
        "https://x/#y",
        "file:///etc/x",
        "https://x:abc/",
        "https://x:99999/",
    ],
)
def test_only_a_plain_https_address_is_called(story: Story, add_reader: AddReader, url: str) -> None:
    with pytest.raises(InvalidInputError), story.database.writing() as session:
        add_webhook(session, add_reader(), url, now=NOW)


def test_who_may_not_follow_gets_no_webhook(story: Story) -> None:
    with story.database.writing() as session:
        auditor = add_person(session, "A", role=Role.AUDITOR, now=NOW).person_id
    for person in (auditor, "0" * 32):
        with pytest.raises(InvalidInputError), story.database.writing() as session:
            add_webhook(session, person, "https://ris.example/", now=NOW)


def test_the_messenger_sends_what_is_due_and_notes_what_came_of_it(registry: Registry, post: Post) -> None:
    registry.enrol("northport")
    story = Story(registry.runtime.database, registry.clock())
    person = registry.add(Role.COORDINATOR).person_id
    with registry.runtime.database.writing() as session:
        hook = add_webhook(session, person, "https://ris.example/", now=registry.clock())
    for number in (1, 2):
        story.arrives(post(str(number) * 32))
    sent: list[Message] = []

    async def send(message: Message) -> str:
        sent.append(message)
        return "200" if message.headers["Acinus-Event"] == "1" else UNREACHABLE

    messenger = Messenger(registry.runtime, send)
    assert asyncio.run(messenger.step()) == 2
    assert asyncio.run(messenger.step()) == 0
    registry.clock.pass_(seconds=timedelta(minutes=1).total_seconds())
    assert asyncio.run(messenger.step()) == 1
    assert [one.headers["Acinus-Event"] for one in sent] == ["1", "2", "2"]
    assert sent[2].headers["Acinus-Signature"] != sent[1].headers["Acinus-Signature"], "signed anew, at its own time"
    with registry.runtime.database.reading() as session:
        rows = session.exec(select(WebhookDeliveryRow).where(WebhookDeliveryRow.webhook_id == hook.id)).all()
    assert [(row.attempts, row.delivered_at is not None) for row in rows] == [(1, True), (2, False)]


def test_a_message_follows_no_redirect_and_survives_a_broken_line() -> None:
    calls = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(str(request.url))
        if request.url.path == "/broken":
            raise httpx.ConnectError("refused")
        return httpx.Response(302, headers={"Location": "https://inside.example/"})

    async def send(path: str) -> str:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, follow_redirects=False) as client:
            return await post(client, Message(1, f"https://ris.example{path}", b"{}", {}))

    assert asyncio.run(send("/moved")) == "302"
    assert asyncio.run(send("/broken")) == UNREACHABLE
    assert asyncio.run(send(":abc/")) == UNREACHABLE, "an address from before its port was looked at"
    assert calls == ["https://ris.example/moved", "https://ris.example/broken"]
