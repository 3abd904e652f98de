"""Log-in at the hospital's identity provider: authorization code with PKCE (OpenID Connect Core 1.0 section 3.1, RFC 7636, RFC 9700).

Of the provider's answers only the ID token counts, verified by its published keys. The access token is not kept and not used.
"""

import hashlib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx

from client.settings import OidcSettings
from client.staff.flows import Flow, Flows
from client.staff.id_token import Expected, UnknownKeyError, read_id_token, refused
from client.staff.roles import Role
from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError, UnavailableError

CALLBACK = "/login/oidc/callback"

_WELL_KNOWN = "/.well-known/openid-configuration"
_PATIENCE_S = 10.0
_ANSWER_MOST = 1 << 20
_KEYS_FRESH_S, _KEYS_PAUSE_S = 3600.0, 30.0


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the provider vouches for. `key` is a hash of issuer and subject."""

    key: str
    name: str
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class _Provider:
    """Addresses from the discovery document."""

    authorization: str
    token: str
    keys: str


class Oidc:
    """The console as a client of one provider. One object per event loop."""

    def __init__(self, settings: OidcSettings, *, home: Path, origin: str, clock: Callable[[], datetime]) -> None:
        """Prepare the client; nothing is asked of the provider yet.

        Args:
            settings: The table `[oidc]`.
            home: The node's folder, from which file names count.
            origin: Where staff's browsers reach the console.
            clock: The time.

        Raises:
            InvalidInputError: `bad-setting` if a file of the settings cannot be read.
        """
        self._settings = settings
        self._redirect = origin + CALLBACK
        self._secret = (
            _read(home / settings.client_secret_file, "client_secret_file").strip()
            if settings.client_secret_file
            else ""
        )
        self._tls = _trust(home / settings.ca_file if settings.ca_file else None)
        self._clock = clock
        self._flows = Flows(clock)
        self._provider: _Provider | None = None
        self._keys: list[dict[str, Any]] = []
        self._keys_at = -_KEYS_FRESH_S

    async def begin(self) -> tuple[str, Flow]:
        """Return the provider's address to send the browser to, and the log-in that has begun.

        Raises:
            UnavailableError: `peer-unreachable` if the provider does not answer as it should.
        """
        provider = await self._discovered()
        flow = self._flows.begin()
        asked = {
            "response_type": "code", "client_id": self._settings.client_id, "redirect_uri": self._redirect,
            "scope": " ".join(self._settings.scopes), "state": flow.state, "nonce": flow.nonce,
            "code_challenge": flow.challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        joint = "&" if urlsplit(provider.authorization).query else "?"
        return provider.authorization + joint + urlencode(asked), flow

    async def finish(self, answer: dict[str, str], binding: str | None) -> Person:
        """Return whom the provider vouches for.

        Args:
            answer: The parameters with which the browser came back.
            binding: Its cookie from the beginning.

        Raises:
            RefusedError: `unauthenticated`, or `forbidden` if no role belongs to the person.
            UnavailableError: `peer-unreachable`.
        """
        flow = self._flows.finish(answer.get("state", ""), binding)
        if answer.get("iss", self._settings.issuer) != self._settings.issuer:  # RFC 9207
            raise refused("the answer is another provider's")
        if "error" in answer or not answer.get("code"):
            raise refused("the provider did not let you in")
        claims = await self._claims(await self._exchanged(answer["code"], flow), flow)
        roles = self._roles(claims)
        if not roles:
            raise RefusedError(
                Code.FORBIDDEN,
                "The hospital knows you, but gives you no role here. Ask IT for a group that [oidc.roles] names.",
            )
        person = hashlib.sha256(f"{self._settings.issuer}\0{claims['sub']}".encode()).hexdigest()
        return Person(person, str(claims.get(self._settings.name_claim) or ""), roles)

    async def _claims(self, token: str, flow: Flow) -> dict[str, Any]:
        """Verify the token; a key that we do not know is looked for once more."""
        expected = Expected(
            issuer=self._settings.issuer, client_id=self._settings.client_id, nonce=flow.nonce, now_s=self._clock().timestamp()
        )  # fmt: skip
        try:
            return read_id_token(token, await self._key_set(_KEYS_FRESH_S), expected)
        except UnknownKeyError:
            return read_id_token(token, await self._key_set(_KEYS_PAUSE_S), expected)

    def _roles(self, claims: dict[str, Any]) -> frozenset[Role]:
        """Map the provider's claim; a claim in another form gives no role."""
        said = claims.get(self._settings.role_claim)
        words = (
            {said}
            if isinstance(said, str)
            else {word for word in said if isinstance(word, str)}
            if isinstance(said, list)
            else set()
        )
        mapping = self._settings.roles.model_dump()
        return frozenset(Role(role) for role, groups in mapping.items() if words & set(groups))

    async def _exchanged(self, code: str, flow: Flow) -> str:
        """Hand in the code and return the ID token.

        Raises:
            RefusedError: `unauthenticated` if the provider does not take the code.
        """
        provider = await self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "code_verifier": flow.verifier,
        }
        secret = None
        if self._secret:  # RFC 6749 section 2.3.1: both are form-encoded first
            secret = httpx.BasicAuth(quote(self._settings.client_id, safe=""), quote(self._secret, safe=""))
        else:
            form["client_id"] = self._settings.client_id
        status, document = await self._ask("POST", provider.token, data=form, auth=secret)
        token = document.get("id_token")
        if status != httpx.codes.OK or not isinstance(token, str):
            raise refused("the provider did not take its code")
        return token

    async def _discovered(self) -> _Provider:
        if self._provider is None:
            status, document = await self._ask("GET", self._settings.issuer.rstrip("/") + _WELL_KNOWN)
            if status != httpx.codes.OK or document.get("issuer") != self._settings.issuer:
                raise _unreachable("its configuration is missing or names another issuer")
            addresses = [str(document.get(name)) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
            if not all(address.startswith("https://") for address in addresses):
                raise _unreachable("its configuration names an address without TLS")
            self._provider = _Provider(*addresses)
        return self._provider

    async def _key_set(self, fresh_s: float) -> list[dict[str, Any]]:
        """Return the provider's keys, fetched anew if they are older than `fresh_s`."""
        provider = await self._discovered()
        if time.monotonic() - self._keys_at >= fresh_s or not self._keys:
            status, document = await self._ask("GET", provider.keys)
            keys = document.get("keys")
            if status != httpx.codes.OK or not isinstance(keys, list):
                raise _unreachable("its key set is missing")
            self._keys = [key for key in keys if isinstance(key, dict)]
            self._keys_at = time.monotonic()
        return self._keys

    async def _ask(self, method: str, address: str, **content: Any) -> tuple[int, dict[str, Any]]:
        """Return status and JSON object of an answer; redirects are not followed."""
        try:
            async with (
                httpx.AsyncClient(verify=self._tls, timeout=_PATIENCE_S) as client,
                client.stream(method, address, headers={"Accept": "application/json"}, **content) as answer,
            ):
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > _ANSWER_MOST:
                        raise _unreachable("its answer is too long")
            document = httpx.Response(answer.status_code, content=bytes(body)).json()
        except httpx.HTTPError as error:
            raise _unreachable(f"it did not answer ({type(error).__name__})") from error
        except ValueError as error:
            raise _unreachable("its answer is no JSON") from error
        return answer.status_code, document if isinstance(document, dict) else {}


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return whom to believe that they are the provider: the CA in `ca_file` alone, or those of the system."""
    if ca_file is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise _unusable(ca_file, "ca_file") from error


def _read(path: Path, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, key) from error


def _unusable(path: Path, key: str) -> InvalidInputError:
    return InvalidInputError(Code.BAD_SETTING, f"[oidc] {key}: {path} cannot be read. Correct it and start again.")


def _unreachable(why: str) -> UnavailableError:
    return UnavailableError(
        Code.PEER_UNREACHABLE,
        f"The hospital's identity provider cannot be used: {why}. Try again, or ask IT to look at [oidc].",
    )
