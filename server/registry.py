"""Calls the registry over HTTPS, the only way in which the two sides of the centre meet."""

import ssl
from pathlib import Path
from typing import Any

import httpx
from pydantic import TypeAdapter, ValidationError

from protocol.codes import Code
from protocol.enrolment import SiteEntry
from protocol.errors import FederationError, UnavailableError, error_for
from protocol.release import MetadataFiles, SignedManifest
from protocol.shape import canonical_json
from protocol.standing import Standing

_SECONDS = 20.0
_STANDINGS: TypeAdapter[dict[str, dict[Standing, int]]] = TypeAdapter(dict[str, dict[Standing, int]])
_SITES: TypeAdapter[list[SiteEntry]] = TypeAdapter(list[SiteEntry])


class Registry:
    """The registry as the federation side uses it.

    Every method raises `UnavailableError` (`peer-unreachable`) if it does not answer, and the error of the registry's own code if it
    refuses.

    Args:
        origin: Its address, `https://host:port`.
        token: The service token.
        authority: The network's CA certificate (PEM file).
    """

    def __init__(self, origin: str, token: str, authority: Path) -> None:
        self._origin = origin
        self._client = httpx.Client(
            base_url=origin,
            headers={"Authorization": f"Bearer {token}"},
            verify=trust(authority),
            timeout=_SECONDS,
            trust_env=False,  # it stands beside us; a proxy for the outside world does not lead there
        )

    def answers(self) -> bool:
        """Say whether the registry is up."""
        try:
            self._call("GET", "/v1/health")
        except FederationError:
            return False
        return True

    def sites(self) -> list[SiteEntry]:
        """Return every site, active or not."""
        try:
            return _SITES.validate_json(self._call("GET", "/v1/sites"))
        except ValidationError as error:
            raise UnavailableError(
                Code.PEER_UNREACHABLE,
                f"{self._origin} answers, but not as a registry of this version. Update both sides.",
            ) from error

    def standings(self) -> dict[str, dict[Standing, int]]:
        """Return for each release how many sites say of it that it is steady, to be watched, or worse."""
        try:
            return _STANDINGS.validate_json(self._call("GET", "/v1/models/standings"))
        except ValidationError as error:
            raise UnavailableError(
                Code.PEER_UNREACHABLE,
                f"{self._origin} answers, but not as a registry of this version. Update both sides.",
            ) from error

    def publish(self, signed: SignedManifest, weights: bytes) -> None:
        """Hand a promoted release over; the registry announces it to every active node."""
        manifest = canonical_json(signed).decode()
        self._call("POST", "/v1/models", data={"manifest": manifest}, files={"weights": weights})

    def publish_lists(self, files: MetadataFiles) -> None:
        """Hand over the signed lists of the releases that count, for nodes to ask for."""
        self._call("PUT", "/v1/models/lists", json=files)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _call(self, method: str, path: str, **request: Any) -> bytes:
        try:
            answer = self._client.request(method, path, **request)
        except httpx.HTTPError as error:
            raise UnavailableError(
                Code.PEER_UNREACHABLE,
                f"The registry at {self._origin} does not answer ({type(error).__name__}). Is `acinus-centre run` running?",
            ) from error
        if answer.is_success:
            return answer.content
        raise _refusal(answer, self._origin)


def trust(authority: Path) -> ssl.SSLContext:
    """Return a TLS context that trusts the network's own authority and nobody else.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    try:
        return ssl.create_default_context(cafile=str(authority))
    except OSError as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, f"{authority} is missing or damaged. Restore it from a backup of this folder."
        ) from error


def _refusal(answer: httpx.Response, origin: str) -> FederationError:
    """Return the error that a problem document (RFC 9457) carries."""
    try:
        problem = answer.json()
        return error_for(Code(problem["code"]), f"The registry at {origin}: {problem.get('detail', '')}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return UnavailableError(
            Code.PEER_UNREACHABLE, f"{origin} answers with status {answer.status_code}. Is it the registry?"
        )
