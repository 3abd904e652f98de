"""Tickets: what stands for a file, what only looks like it, and that no deposit outlives the request that carried its ticket."""

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse, PushObjectRequest, PushObjectResponse

from protocol.codes import Code
from strategies.flower import FOLDER_VARIABLE
from strategies.flower.pieces import SMALL_BYTES, Pieces, share, shared_pieces, with_content, with_ticket
from tests.fakes.outcomes import code_of

LARGE = b"w" * (SMALL_BYTES + 1)
SMALL = b"w" * SMALL_BYTES
STORED = "ab" * 32


@pytest.fixture
def pieces(tmp_path: Path) -> Pieces:
    return Pieces(tmp_path)


def files(pieces: Pieces) -> list[Path]:
    return sorted(pieces.folder.iterdir())


def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes some of a file and then nothing."""

    def write_bytes(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


# Tickets.


def test_a_deposit_is_found_by_its_ticket(pieces: Pieces) -> None:
    deposit = pieces.deposit(LARGE)
    ticket = pieces.ticket(deposit.name)
    assert len(ticket) < 100
    assert pieces.file_of(ticket) == pieces.deposited(ticket) == deposit
    assert pieces.resolved(ticket) == LARGE


def test_two_deposits_of_the_same_content_are_two_files(pieces: Pieces) -> None:
    assert pieces.deposit(LARGE) != pieces.deposit(LARGE)
    assert len(files(pieces)) == 2


TICKET = b"acinus-piece:" + b"0" * 32


@pytest.mark.parametrize(
    "content",
    [
        b"", b"acinus-piece:", TICKET[:-1], TICKET + b"0", TICKET + b"\n", b" " + TICKET, TICKET.upper(), TICKET[:-1] + b"g",
        TICKET[:-3] + b"/..", b"acinus-piece:../../etc/passwd", b"ConfigRecord  33\x00" + TICKET, TICKET + b"\x00" * SMALL_BYTES, LARGE,
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_no_ticket_stands_for_itself(pieces: Pieces, content: bytes) -> None:
    assert pieces.file_of(content) is None
    assert pieces.deposited(content) is None
    assert pieces.resolved(content) == content


def test_a_ticket_for_nothing_is_told_from_a_content(pieces: Pieces) -> None:
    assert pieces.file_of(TICKET) == pieces.folder / ("0" * 32)
    with pytest.raises(FileNotFoundError):
        pieces.resolved(TICKET)


def test_the_ticket_of_a_stored_object_is_no_deposit(pieces: Pieces) -> None:
    (pieces.folder / STORED).write_bytes(LARGE)
    ticket = pieces.ticket(STORED)
    assert pieces.deposited(ticket) is None
    assert pieces.resolved(ticket) == LARGE


def test_a_full_disk_is_one_error_and_leaves_no_file(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    no_room(monkeypatch)
    assert code_of(lambda: pieces.deposit(LARGE)) is Code.DISK_FULL
    assert files(pieces) == []


def test_a_folder_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    assert code_of(lambda: Pieces(tmp_path / "none").deposit(LARGE)) is Code.DISK_FULL


@pytest.mark.parametrize("folder", [None, ""])
def test_without_a_folder_nothing_is_shared(folder: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    if folder is not None:
        monkeypatch.setenv(FOLDER_VARIABLE, folder)
    assert shared_pieces() is None
    client: Any = SimpleNamespace(PushObject=1, PullObject=2)
    assert share(client, None) is client
    assert vars(client) == {"PushObject": 1, "PullObject": 2}


def test_a_process_shares_the_folder_that_it_was_started_with(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(pieces.folder))
    assert shared_pieces() == pieces


def test_the_bell_lies_beside_the_pieces(pieces: Pieces) -> None:
    hearer = pieces.whole()
    assert hearer.is_silent()
    pieces.whole().ring()
    assert not hearer.is_silent()
    assert [file.parent for file in files(pieces)] == [pieces.folder]


# Requests and answers of a SuperNode, as the fleet gateway changes them.


def a_push(content: bytes) -> PushObjectRequest:
    request = PushObjectRequest(run_id=2**63 + 1, object_id=STORED, session_id="session", object_content=content)
    request.node.node_id = 2**64 - 1
    return request


def test_a_large_object_is_replaced_and_nothing_else(pieces: Pieces) -> None:
    body, deposit = with_ticket(a_push(LARGE).SerializeToString(), pieces)
    assert deposit is not None
    assert files(pieces) == [deposit]
    assert deposit.read_bytes() == LARGE
    assert PushObjectRequest.FromString(body) == a_push(pieces.ticket(deposit.name))


@pytest.mark.parametrize(
    "body",
    [
        a_push(SMALL).SerializeToString(), a_push(b"").SerializeToString(), b"", b"\xff" * (2 * SMALL_BYTES), a_push(LARGE).SerializeToString()[:-1],
    ],
    ids=["small", "no content", "nothing", "noise", "cut off"],
)  # fmt: skip
def test_what_is_small_or_cannot_be_read_stays_as_it_is(pieces: Pieces, body: bytes) -> None:
    assert with_ticket(body, pieces) == (body, None)
    assert files(pieces) == []


@pytest.mark.parametrize("size", [SMALL_BYTES + 1, 2**14 + 1, 127, 128, 1, 3 * 2**20])
def test_an_answer_with_its_object_is_the_message_that_flower_would_have_written(pieces: Pieces, size: int) -> None:
    content = bytes(number % 251 for number in range(min(size, 1000))) * (size // 1000 + 1)
    (pieces.folder / STORED).write_bytes(content)
    answer = PullObjectResponse(object_found=True, object_available=True, object_content=pieces.ticket(STORED))
    whole = with_content(answer.SerializeToString(), pieces)
    answer.object_content = content
    assert PullObjectResponse.FromString(whole) == answer
    assert whole == answer.SerializeToString()


@pytest.mark.parametrize(
    "answer",
    [
        PullObjectResponse(),
        PullObjectResponse(object_found=True),
        PullObjectResponse(object_found=True, object_available=True, object_content=SMALL),
        PullObjectResponse(object_found=True, object_available=True, object_content=LARGE),
    ],
    ids=["unknown", "not here yet", "small", "large"],
)
def test_an_answer_without_a_ticket_stays_as_it_is(pieces: Pieces, answer: PullObjectResponse) -> None:
    assert with_content(answer.SerializeToString(), pieces) == answer.SerializeToString()


def test_an_answer_whose_object_has_gone_is_told(pieces: Pieces) -> None:
    answer = PullObjectResponse(object_found=True, object_available=True, object_content=pieces.ticket(STORED))
    with pytest.raises(FileNotFoundError):
        with_content(answer.SerializeToString(), pieces)


# A client of Flower's that shares a folder with its server.


@dataclass
class Server:
    """A server of Flower's behind a client. `take` is what it does with an object that is pushed."""

    pieces: Pieces
    take: Callable[[PushObjectRequest], bool] = lambda _: True
    pulled: PullObjectResponse = field(default_factory=PullObjectResponse)
    pushed: list[bytes] = field(default_factory=list)
    asked: int = 0

    def PushObject(self, request: PushObjectRequest) -> PushObjectResponse:  # noqa: N802
        assert request.session_id == "session"
        self.pushed.append(request.object_content)
        return PushObjectResponse(stored=self.take(request))

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:  # noqa: N802
        self.asked += 1
        return self.pulled


@pytest.fixture
def server(pieces: Pieces) -> Iterator[Server]:
    made = Server(pieces)
    client: Any = made
    assert share(client, pieces) is client
    return made


def test_a_large_object_goes_out_by_ticket_and_who_takes_it_keeps_the_file(server: Server, pieces: Pieces) -> None:
    def take(request: PushObjectRequest) -> bool:
        deposit = pieces.deposited(request.object_content)
        assert deposit is not None
        deposit.rename(pieces.folder / STORED)
        return True

    server.take = take
    assert server.PushObject(a_push(LARGE)).stored
    assert [len(content) for content in server.pushed] == [len(TICKET)]
    assert files(pieces) == [pieces.folder / STORED]
    assert files(pieces)[0].read_bytes() == LARGE


def test_what_the_server_refuses_leaves_no_deposit(server: Server, pieces: Pieces) -> None:
    server.take = lambda _: False
    assert not server.PushObject(a_push(LARGE)).stored
    assert files(pieces) == []


def test_a_server_that_breaks_off_leaves_no_deposit(server: Server, pieces: Pieces) -> None:
    def gone(_: PushObjectRequest) -> bool:
        assert len(files(pieces)) == 1
        raise ConnectionError

    server.take = gone
    with pytest.raises(ConnectionError):
        server.PushObject(a_push(LARGE))
    assert files(pieces) == []


def test_a_small_object_goes_out_as_it_is(server: Server, pieces: Pieces) -> None:
    server.PushObject(a_push(SMALL))
    assert server.pushed == [SMALL]
    assert files(pieces) == []


def test_a_full_disk_is_told_and_nothing_goes_out(
    server: Server, pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_room(monkeypatch)
    assert code_of(lambda: server.PushObject(a_push(LARGE))) is Code.DISK_FULL
    assert server.pushed == []
    assert files(pieces) == []


def pulled(server: Server, **answer: Any) -> tuple[bool, bool, bytes]:
    server.pulled = PullObjectResponse(**answer)
    said = server.PullObject(PullObjectRequest(object_id=STORED))
    return said.object_found, said.object_available, said.object_content


def test_an_object_that_lies_in_the_servers_store_is_taken_from_there_without_a_question(
    server: Server, pieces: Pieces
) -> None:
    (pieces.folder / STORED).write_bytes(SMALL)
    assert pulled(server) == (True, True, SMALL)
    assert server.asked == 0
    assert files(pieces) == [pieces.folder / STORED], "it is the server's, and others may ask for it"


def test_a_ticket_that_comes_back_is_redeemed(server: Server, pieces: Pieces) -> None:
    ticket = pieces.ticket("cd" * 32)
    pieces.file_of(ticket).write_bytes(LARGE)  # type: ignore[union-attr] # it is one
    assert pulled(server, object_found=True, object_available=True, object_content=ticket) == (True, True, LARGE)
    assert server.asked == 1


@pytest.mark.parametrize(
    "name", ["", "..", "../secret", "/etc/passwd", "tasks.bell", STORED.upper(), STORED + "/..", "0" * 63]
)
def test_no_other_file_is_taken_for_an_object(server: Server, pieces: Pieces, name: str) -> None:
    """The names of objects that a runner asks for are the centre's."""
    pieces.whole().ring()
    (pieces.folder.parent / "secret").write_bytes(LARGE)
    assert pieces.stored(name) is None
    said = server.PullObject(PullObjectRequest(object_id=name))
    assert (server.asked, said.object_found) == (1, False)


def test_of_a_store_an_object_is_given_if_it_is_there(pieces: Pieces) -> None:
    assert pieces.stored(STORED) is None
    (pieces.folder / STORED).write_bytes(LARGE)
    assert pieces.stored(STORED) == LARGE


@pytest.mark.parametrize("said", [(True, True, SMALL), (True, False, b""), (False, False, b"")])
def test_every_other_answer_comes_back_as_it_is(server: Server, said: tuple[bool, bool, bytes]) -> None:
    found, available, content = said
    assert pulled(server, object_found=found, object_available=available, object_content=content) == said


def test_an_object_that_was_let_go_of_meanwhile_is_not_found(server: Server, pieces: Pieces) -> None:
    ticket = pieces.ticket(STORED)
    assert pulled(server, object_found=True, object_available=True, object_content=ticket) == (False, False, b"")
