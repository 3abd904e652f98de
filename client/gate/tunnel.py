"""Keeps the tunnel to the relay: the stock OpenSSH client as a child of this process, dialled again within seconds whenever it ends."""

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from client.gate.backoff import Backoff
from client.gate.link import pause
from client.gate.outside import Seen
from client.parts import die_with
from client.store.files import disk_faults
from protocol.codes import MEANINGS, Code, Family
from protocol.errors import UnavailableError

STATE_FILE = "tunnel.json"

_UP = "debug1: remote forward success"
_REASONS = (
    ("Host key verification failed", Code.PEER_UNTRUSTED),
    ("Permission denied", Code.FORBIDDEN),
    ("remote port forwarding failed", Code.PEER_REFUSED),
)
"""How OpenSSH says why it ended."""

_GRACE_SECONDS = 2.0
_LINE_MAX = 300

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelState:
    """How the tunnel is, for `status`, `doctor` and the console; `tunnel.json`."""

    connected: bool = False
    since: str | None = None
    """When it came to be so."""
    code: Code | None = None
    """Why it ended the last time."""
    seen: Seen | None = None
    """Who answered readers at the last look from outside."""
    looked: str | None = None


_STATE: TypeAdapter[TunnelState] = TypeAdapter(TunnelState)


class TunnelBook:
    """The tunnel's state in one small file of the node's home. Lost at a power cut or on a full disk, and meant to be; a stranger is not."""

    def __init__(self, home: Path, clock: Callable[[], datetime]) -> None:
        self._path = home / STATE_FILE
        self._clock = clock

    def read(self) -> TunnelState:
        """Return what is known; nothing if nothing was written, or it cannot be read."""
        try:
            return _STATE.validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return TunnelState()

    def note(self, *, connected: bool, code: Code | None = None) -> None:
        """Note that the tunnel is open, or why it is not."""
        state = self.read()
        since = state.since if state.connected is connected else self._now()
        try:
            self._write(replace(state, connected=connected, since=since, code=code))
        except OSError as error:
            log.warning("tunnel.not-written", extra={"errno": error.errno})

    def saw(self, seen: Seen) -> None:
        """Note who answered at a look from outside. Once it was another, only the gateway's own key takes that back.

        Raises:
            UnavailableError: `disk-full` if it was another and that cannot be kept: the gateway would not hear of it, so the tunnel must end.
        """
        state = self.read()
        kept = Seen.ANOTHER if (state.seen, seen) == (Seen.ANOTHER, Seen.NOBODY) else seen
        try:
            with disk_faults("What readers are shown"):
                self._write(replace(state, seen=kept, looked=self._now()))
        except UnavailableError:
            if kept is Seen.ANOTHER:
                raise
            log.warning("tunnel.not-written", extra={"seen": kept.value})

    def _write(self, state: TunnelState) -> None:
        draft = self._path.with_name(f".{STATE_FILE}.part")
        draft.write_bytes(_STATE.dump_json(state))
        draft.replace(self._path)

    def _now(self) -> str:
        return self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class TunnelPace:
    """How dialling keeps time, in seconds. Tests make it faster."""

    lost: Backoff = field(default_factory=lambda: Backoff(first=0.5, ceiling=3.0))
    """A relay that comes back has its nodes back within five seconds."""
    refused: Backoff = field(default_factory=lambda: Backoff(first=5.0, ceiling=60.0))
    """What a person must change first is not hurried."""


class Tunnel:
    """Dials, and dials again.

    Args:
        command: Writes the client's file and returns its command line (`client.gate.ssh`); asked before each dial, for the node may have
            enrolled anew.
        book: Where its state is written.
        pace: How fast to go.
    """

    def __init__(self, command: Callable[[], list[str]], book: TunnelBook, pace: TunnelPace | None = None) -> None:
        self._command = command
        self._book = book
        self._pace = pace or TunnelPace()

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the tunnel until `stop` is set.

        Raises:
            UnavailableError: `node-fault` if there is no OpenSSH client on this machine.
        """
        failures = 0
        while not stop.is_set():
            code = await self._once(stop)
            if stop.is_set():
                break
            failures = 1 if self._book.read().connected else failures + 1
            patience = self._pace.refused if MEANINGS[code][0] is Family.REFUSED else self._pace.lost
            wait = patience.delay(failures, random.random())  # noqa: S311 - jitter, no secret
            self._book.note(connected=False, code=code)
            log.warning("tunnel.lost", extra={"code": code.value, "wait": round(wait, 1)})
            await pause(stop, wait)
        self._book.note(connected=False)

    async def _once(self, stop: asyncio.Event) -> Code:
        """Open the tunnel, wait until it ends, and return why it did."""
        try:
            child = await asyncio.create_subprocess_exec(
                *self._command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                preexec_fn=partial(die_with, os.getpid()),
            )
        except FileNotFoundError as error:
            raise UnavailableError(
                Code.NODE_FAULT, "There is no ssh on this machine. Install the OpenSSH client (openssh-client)."
            ) from error
        hearing = asyncio.create_task(self._hear(child))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({hearing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not hearing.done():
                with contextlib.suppress(ProcessLookupError):
                    child.terminate()
            await _wait_for(child)
        return await hearing

    async def _hear(self, child: asyncio.subprocess.Process) -> Code:
        """Read what the client says until it has ended; note when the tunnel is open."""
        code = Code.PEER_UNREACHABLE
        while child.stderr is not None and (raw := await child.stderr.readline()):
            line = raw.decode("utf-8", "replace").strip()[:_LINE_MAX]
            if line.startswith(_UP):
                self._book.note(connected=True)
                log.info("tunnel.open")
            elif not line.startswith("debug"):
                code = next((known for words, known in _REASONS if words in line), code)
                log.info("tunnel.said", extra={"said": line})
        return code


async def watch_outside(
    look: Callable[[], Awaitable[Seen]], book: TunnelBook, *, minutes: float, stop: asyncio.Event
) -> None:
    """Look at the gateway from outside again and again while the tunnel is open, and say so loudly when another answers there.

    Then a look follows each minute, for until the gateway's own key is seen again the gateway shows nothing.
    """
    while not stop.is_set():
        if book.read().connected:
            seen = await look()
            book.saw(seen)
            if seen is Seen.ANOTHER:
                log.error("gateway.impersonated", extra={"code": Code.PEER_UNTRUSTED.value})
            await pause(stop, 60 * (1 if book.read().seen is Seen.ANOTHER else minutes))
        await pause(stop, 1.0)


async def _wait_for(child: asyncio.subprocess.Process) -> None:
    """Wait until the client has ended; end it by force if it takes long."""
    try:
        await asyncio.wait_for(child.wait(), _GRACE_SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()
