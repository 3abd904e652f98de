"""A small OpenID provider over TLS: discovery, authorization with PKCE, one-time codes, a key set, signed ID tokens.

It checks what a provider must check (RFC 6749, RFC 7636), so that a client that leaves something out fails against it. A test may
twist the tokens that it gives out, to play a hostile one.
"""

import base64
import hashlib
import json
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlencode

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import RSAKey

from client.gate.keys import GATEWAY_CA, GATEWAY_CERTIFICATE, GATEWAY_KEY, make_gateway_certificate

Claims = dict[str, Any]
Signer = Callable[[Claims], str]


class Provider:
    """One provider with one client, on a port of its own."""

    def __init__(self, folder: Path, *, client_id: str, client_secret: str, redirect_uri: str) -> None:
        self.client_id, self.client_secret, self.redirect_uri = client_id, client_secret, redirect_uri
        self.key = RSAKey.generate_key(2048, parameters={"kid": "one"})
        self.clock: Callable[[], float] = time.time
        self.person: Claims = {"sub": "4711", "preferred_username": "dr.example", "groups": ["ct-readers"]}
        """Who sits at the browser."""
        self.sign: Signer = self.signed
        self.says_issuer: str | None = None
        self.token_requests: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.issuer = f"https://localhost:{self._socket.getsockname()[1]}/realm"
        make_gateway_certificate(folder, site_name="Provider", gateway="https://localhost", now=datetime.now(UTC))
        self.ca = folder / GATEWAY_CA
        config = uvicorn.Config(
            self._app(),
            log_config=None,
            ws="none",
            ssl_certfile=folder / GATEWAY_CERTIFICATE,
            ssl_keyfile=folder / GATEWAY_KEY,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the provider did not start"
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def signed(self, claims: Claims, *, key: RSAKey | None = None, algorithm: str = "RS256", kid: str = "one") -> str:
        return jwt.encode({"alg": algorithm, "kid": kid}, claims, key or self.key, algorithms=[algorithm])

    def _app(self) -> FastAPI:
        app = FastAPI()
        app.get("/realm/.well-known/openid-configuration")(self._configuration)
        app.get("/realm/authorize")(self._authorize)
        app.post("/realm/token")(self._token)
        app.get("/realm/keys")(self._keys)
        return app

    async def _configuration(self) -> dict[str, str]:
        return {
            "issuer": self.says_issuer or self.issuer, "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/keys",
        }  # fmt: skip

    async def _keys(self) -> dict[str, Any]:
        return {"keys": [self.key.as_dict(private=False) | {"use": "sig", "alg": "RS256", "kid": self.key.kid}]}

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        wanted = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "code_challenge_method": "S256",
        }
        if any(asked.get(name) != value for name, value in wanted.items()) or "openid" not in asked["scope"].split():
            return JSONResponse({"error": "invalid_request"}, status_code=400)
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        answer = urlencode({"code": code, "state": asked["state"], "iss": self.issuer})
        return RedirectResponse(f"{self.redirect_uri}?{answer}", status_code=302)

    async def _token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        self.token_requests.append(form)
        if _basic(request.headers.get("Authorization", "")) != [self.client_id, self.client_secret]:
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        asked = self._codes.pop(form.get("code", ""), None)
        proof = (
            base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
            .decode()
            .rstrip("=")
        )
        if asked is None or proof != asked["code_challenge"] or form.get("redirect_uri") != asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        now = int(self.clock())
        claims = {
            "iss": self.issuer,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.person,
        }
        return JSONResponse(
            {"access_token": "none of your business", "token_type": "Bearer", "id_token": self.sign(claims)}
        )


def _basic(header: str) -> list[str]:
    """Name and secret of a client, each form-encoded before they were joined (RFC 6749 section 2.3.1)."""
    words = base64.b64decode(header.removeprefix("Basic ")).decode()
    return [unquote_plus(word) for word in words.split(":")]


def bare(header: dict[str, str], claims: Claims, signature: bytes = b"") -> str:
    """A compact JWS put together by hand: what no library would sign."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
