"""A hospital's HTTP proxy for tests: CONNECT alone, to port 443 alone if wanted, and names that only it can resolve."""

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.fakes.ports import free_port

Result = TypeVar("Result")


@dataclass
class ConnectProxy:
    """Runs in a thread of its own. `known` says where a `host:port` really is; what is not in it is refused with 403."""

    known: dict[str, tuple[str, int]]
    authorization: str = ""
    """The header's value that is demanded, if any."""
    asked: list[str] = field(default_factory=list)
    bytes_through: int = 0
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", self.port))

    def close(self) -> None:
        async def end() -> None:
            if self._server is not None:
                self._server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, job: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(None, 2)
            self.asked.append(f"{method} {target}")
            if self.authorization and f"Proxy-Authorization: {self.authorization}\r\n" not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            elif method != "CONNECT" or target not in self.known:
                writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            else:
                far_reader, far_writer = await asyncio.open_connection(*self.known[target])
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while chunk := await source.read(65_536):
                self.bytes_through += len(chunk)
                sink.write(chunk)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()
