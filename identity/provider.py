"""Log-in at an identity provider: authorization code with PKCE (OpenID Connect Core 1.0 section 3.1, RFC 7636, RFC 9700).

Of the provider's answers only the ID token counts, verified by its published keys. The access token is not kept and not used.
"""

import hashlib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import httpx

from identity.flows import Flow, Flows
from identity.id_token import Expected, UnknownKeyError, read_id_token, refused
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError

CALLBACK = "/login/oidc/callback"
"""Where the browser comes back to, at every program of ours."""

_WELL_KNOWN = "/.well-known/openid-configuration"
_PATIENCE_S = 10.0
_ANSWER_MOST = 1 << 20
_KEYS_FRESH_S, _KEYS_PAUSE_S = 3600.0, 30.0


class ProviderSettings(Protocol):
    """What a program's table `[oidc]` says of the provider; the file names count from the program's home."""

    @property
    def issuer(self) -> str:
        """The provider's address; its configuration lies below it."""

    @property
    def client_id(self) -> str:
        """What the provider calls the program."""

    @property
    def client_secret_file(self) -> str:
        """Holds the program's secret at the provider; empty for a public client."""

    @property
    def ca_file(self) -> str:
        """The only CA that is believed of the provider; empty for those of the system."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """What is asked for; `openid` among them."""

    @property
    def role_claim(self) -> str:
        """The claim that holds a person's groups."""

    @property
    def name_claim(self) -> str:
        """The claim that holds a person's name."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whom the provider vouches for. `key` is a hash of issuer and subject, `groups` what its role claim says."""

    key: str
    name: str
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Addresses:
    """Addresses from the discovery document."""

    authorization: str
    token: str
    keys: str


class Provider:
    """One provider, of which the program is a client. One object per event loop."""

    def __init__(
        self, settings: ProviderSettings, *, home: Path, origin: str, clock: Callable[[], datetime], flows: Flows
    ) -> None:
        """Prepare the client; nothing is asked of the provider yet.

        Args:
            settings: The table `[oidc]`.
            home: The program's folder, from which file names count.
            origin: Where people's browsers reach the program.
            clock: The time.
            flows: Where log-ins under way are kept.

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
        self._flows = flows
        self._addresses: _Addresses | None = None
        self._keys: list[dict[str, Any]] = []
        self._keys_at = -_KEYS_FRESH_S

    async def begin(self) -> tuple[str, Flow]:
        """Return the provider's address to send the browser to, and the log-in that has begun.

        Raises:
            UnavailableError: `peer-unreachable` if the provider does not answer as it should.
        """
        provider = await self._discovered()
        flow = await self._flows.begin()
        asked = {
            "response_type": "code", "client_id": self._settings.client_id, "redirect_uri": self._redirect,
            "scope": " ".join(self._settings.scopes), "state": flow.state, "nonce": flow.nonce,
            "code_challenge": flow.challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        joint = "&" if urlsplit(provider.authorization).query else "?"
        return provider.authorization + joint + urlencode(asked), flow

    async def finish(self, answer: dict[str, str], binding: str | None) -> Vouched:
        """Return whom the provider vouches for.

        Args:
            answer: The parameters with which the browser came back.
            binding: Its cookie from the beginning.

        Raises:
            RefusedError: `unauthenticated`.
            UnavailableError: `peer-unreachable`.
        """
        flow = await self._flows.finish(answer.get("state", ""), binding)
        if answer.get("iss", self._settings.issuer) != self._settings.issuer:  # RFC 9207
            raise refused("the answer is another provider's")
        if "error" in answer or not answer.get("code"):
            raise refused("the provider did not let you in")
        claims = await self._claims(await self._exchanged(answer["code"], flow), flow)
        key = hashlib.sha256(f"{self._settings.issuer}\0{claims['sub']}".encode()).hexdigest()
        groups = _words(claims.get(self._settings.role_claim))
        return Vouched(key, str(claims.get(self._settings.name_claim) or ""), groups)

    async def _claims(self, token: str, flow: Flow) -> dict[str, Any]:
        """Verify the token; a key that we do not know is looked for once more."""
        expected = Expected(
            issuer=self._settings.issuer, client_id=self._settings.client_id, nonce=flow.nonce, now_s=self._clock().timestamp()
        )  # fmt: skip
        try:
            return read_id_token(token, await self._key_set(_KEYS_FRESH_S), expected)
        except UnknownKeyError:
            return read_id_token(token, await self._key_set(_KEYS_PAUSE_S), expected)

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

    async def _discovered(self) -> _Addresses:
        if self._addresses is None:
            status, document = await self._ask("GET", self._settings.issuer.rstrip("/") + _WELL_KNOWN)
            if status != httpx.codes.OK or document.get("issuer") != self._settings.issuer:
                raise _unreachable("its configuration is missing or names another issuer")
            addresses = [str(document.get(name)) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
            if not all(address.startswith("https://") for address in addresses):
                raise _unreachable("its configuration names an address without TLS")
            self._addresses = _Addresses(*addresses)
        return self._addresses

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


def _words(said: object) -> frozenset[str]:
    """Return the groups of a claim: one word, or a list of words; in another form it gives none."""
    if isinstance(said, str):
        return frozenset({said})
    return frozenset(word for word in said if isinstance(word, str)) if isinstance(said, list) else frozenset()


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
        f"The identity provider cannot be used: {why}. Try again, or ask IT to look at [oidc].",
    )
