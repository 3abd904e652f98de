"""Calls an ASGI application without a network, as httpx would call it over one."""

import asyncio
from typing import Any, Self

import httpx
from starlette.types import ASGIApp


class AsgiClient:
    """A client with a cookie jar. A fault inside the application comes back as its answer, as over a network."""

    def __init__(self, app: ASGIApp, *, base_url: str, address: str = "127.0.0.1") -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 50_000))
        self._client = httpx.AsyncClient(transport=transport, base_url=base_url)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    @property
    def cookies(self) -> httpx.Cookies:
        return self._client.cookies

    def settle(self) -> None:
        """Let what the application does behind its answers come to its end."""
        self._runner.run(_others_done())

    def request(self, method: str, url: str, **content: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, url, **content))

    def get(self, url: str, **content: Any) -> httpx.Response:
        return self.request("GET", url, **content)

    def post(self, url: str, **content: Any) -> httpx.Response:
        return self.request("POST", url, **content)


async def _others_done() -> None:
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
