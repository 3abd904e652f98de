"""The DICOMweb receiver: STOW-RS (PS3.18 section 10.5). An instance is answered for only when it is on the disk and in the index.

The event loop reads; parsing, writing and the intake run in threads of their own, so that one sender's disk never holds up another's line.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from client.logs import fault_of
from client.pacs.door import refuse_stranger
from client.pacs.multipart import PartSpool, boundary_of
from client.pacs.response import OTHER_STUDY, Outcome, module, outcome_of, status_of
from client.pacs.taking import Take, named
from client.store.files import free_mb, make_folder
from protocol.codes import MEANINGS, Code
from protocol.errors import FederationError, InvalidInputError, UnavailableError

_WRITERS = 4
_RETRY_SECONDS = 60
_DRAIN_BYTES = 8 << 20
"""How much of a refused body is still read: a sender that is cut off while it sends never sees why."""

_STATUS = {Code.UNAUTHENTICATED: 401, Code.BAD_REQUEST: 400}
_TOO_SLOW, _TOO_LARGE, _NOT_DICOM = 408, 413, 415

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """All that the endpoint works with. `take` is called from several threads at once."""

    tokens: Callable[[], frozenset[bytes]] | None
    """The digests of the tokens, read anew for every request; `None` where a client certificate alone is asked for."""
    take: Take
    folder: Path
    minimum_free_mb: int
    most_bytes: int
    silence_seconds: float


def create_app(desk: Desk) -> Starlette:
    """Return the application that takes what senders post."""
    writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="stow")
    endpoint = _Endpoint(desk, writers)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with writers:
            yield

    return Starlette(
        routes=[
            Route("/dicom-web/studies", endpoint.store, methods=["POST"]),
            Route("/dicom-web/studies/{study}", endpoint.store, methods=["POST"]),
        ],
        exception_handlers={FederationError: _refusal, Exception: _fault},
        lifespan=lifespan,
    )


class _Batch:
    """One request's instances. Its methods run in a writer's thread, one after another."""

    def __init__(self, desk: Desk, study: str | None, boundary: bytes) -> None:
        self.outcomes: list[Outcome] = []
        self.whole = False
        self._desk, self._study = desk, study
        self._spool = PartSpool(boundary, desk.folder, self._take)
        self.feed = self._spool.feed

    def finish(self) -> None:
        """Note whether the body came to its own end."""
        try:
            self._spool.finish()
            self.whole = True
        except InvalidInputError:
            log.warning("stow.cut-off", extra={"instances": len(self.outcomes)})

    def close(self) -> None:
        """Remove a part that never ended."""
        with self._spool:
            pass

    def _take(self, spooled: Path) -> None:
        _require_space(self._desk)
        names = named(spooled)
        if names is not None and self._study is not None and names.study != self._study:
            self.outcomes.append(Outcome(names, OTHER_STUDY))
            return
        code = self._desk.take(spooled).code
        if code is not None:
            log.warning("stow.quarantined", extra={"code": code.value})
        self.outcomes.append(outcome_of(names, code))


class _Endpoint:
    """Answers the requests."""

    def __init__(self, desk: Desk, writers: ThreadPoolExecutor) -> None:
        self._desk, self._writers = desk, writers

    async def store(self, request: Request) -> Response:
        """Take the instances of one request (PS3.18 section 10.5)."""
        desk = self._desk
        if desk.tokens is not None:
            refuse_stranger(request.headers.get("Authorization", ""), desk.tokens())
        boundary = boundary_of(request.headers.get("Content-Type", ""))
        if boundary is None:
            return await _refused(request, _NOT_DICOM, "Send multipart/related with parts of application/dicom.")
        length = request.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > desk.most_bytes:
            return await _refused(request, _TOO_LARGE, "The request is too large. Send fewer instances at once.")
        _require_space(desk)
        batch = _Batch(desk, request.path_params.get("study"), boundary)
        try:
            return await self._receive(request, batch)
        finally:
            await self._work(batch.close)

    async def _receive(self, request: Request, batch: _Batch) -> Response:
        """Read the body to its end and answer for what it held."""
        size = 0
        chunks = aiter(request.stream())
        try:
            while (chunk := await asyncio.wait_for(anext(chunks, None), self._desk.silence_seconds)) is not None:
                size += len(chunk)
                if size > self._desk.most_bytes:
                    return _problem(Code.BAD_REQUEST, _TOO_LARGE, "The request is too large. Send fewer at once.")
                await self._work(partial(batch.feed, chunk))
        except TimeoutError:
            log.warning("stow.silent", extra={"instances": len(batch.outcomes)})
            return _problem(Code.BAD_REQUEST, _TOO_SLOW, "Nothing has come for too long. Send it all again.")
        except ClientDisconnect:
            log.warning("stow.hung-up", extra={"instances": len(batch.outcomes)})
            return Response(status_code=400)  # nobody is there to read it
        except UnavailableError as error:
            log.error("stow.failed", extra={"code": error.code.value})  # noqa: TRY400 - the code says it
            await _drain(request, self._desk.most_bytes)
            raise
        await self._work(batch.finish)
        log.info("stow.answered", extra={"instances": len(batch.outcomes), "whole": batch.whole})
        status = status_of(batch.outcomes, whole=batch.whole)
        return JSONResponse(module(batch.outcomes, whole=batch.whole), status, media_type="application/dicom+json")

    async def _work(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._writers, work)


def _require_space(desk: Desk) -> None:
    """Take nothing when the disk is nearly full.

    Raises:
        UnavailableError: `disk-full`.
    """
    make_folder(desk.folder)
    if free_mb(desk.folder) < desk.minimum_free_mb:
        raise UnavailableError(Code.DISK_FULL, "This node is out of space for now. Send it all again later.")


async def _refused(request: Request, status: int, detail: str) -> Response:
    await _drain(request, _DRAIN_BYTES)
    return _problem(Code.BAD_REQUEST, status, detail)


async def _drain(request: Request, most_bytes: int) -> None:
    """Read on and forget, so that the sender comes to read the answer."""
    size = 0
    try:
        async with asyncio.timeout(_RETRY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > most_bytes:
                    return
    except (ClientDisconnect, TimeoutError, RuntimeError):  # RuntimeError: the stream was read to its end before
        return


def _problem(code: Code, status: int, detail: str) -> Response:
    body = {"type": "about:blank", "code": code.value, "status": status, "detail": detail}
    later = {"Retry-After": str(_RETRY_SECONDS)} if status == UnavailableError.http_status else {}
    return JSONResponse(body, status, headers=later, media_type="application/problem+json")


async def _refusal(request: Request, error: Exception) -> Response:
    if not isinstance(error, FederationError):
        raise error
    await _drain(request, _DRAIN_BYTES)
    log.warning("stow.refused", extra={"code": error.code.value})
    answer = _problem(error.code, _STATUS.get(error.code, error.http_status), str(error))
    if error.code is Code.UNAUTHENTICATED:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


async def _fault(_request: Request, error: Exception) -> Response:
    """A fault of ours; neither log nor answer repeats the exception's text, which may quote a header."""
    log.error("stow.fault", extra=fault_of(error))
    return _problem(Code.NODE_FAULT, 500, MEANINGS[Code.NODE_FAULT][1])
