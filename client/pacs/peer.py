"""The PACS over DICOMweb: one HTTP client, bounded answers, and one place where its faults become codes.

httpx and not dicomweb-client: the latter holds a whole series in memory before it hands out the first instance.
"""

import json
import logging
import ssl
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from client.pacs.multipart import PartSpool, boundary_of
from client.sections import PacsSettings
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError, RefusedError, UnavailableError

MOST_JSON_BYTES = 16 << 20
MOST_SERIES_BYTES = 16 << 30
_MOST_ANSWER_SECONDS = 3600.0
"""A PACS that sends a byte now and then is left after an hour; what came until then is kept."""

_CONNECT_SECONDS = 10.0
_MULTIPART = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_OUR_FAULTS = {401: Code.UNAUTHENTICATED, 403: Code.FORBIDDEN}
_NOT_NOW = {408, 425, 429}
_NO_CONTENT, _SUCCESS, _FAULTS = 204, range(200, 300), range(500, 600)

Params = Iterable[tuple[str, str]]


class Peer:
    """One PACS. Its messages name the setting at fault, never an address with a UID in it."""

    def __init__(self, pacs: PacsSettings, home: Path) -> None:
        """Prepare to ask; nothing is sent yet.

        Raises:
            UnavailableError: `missing-certificate` if a file of the settings cannot be read.
        """
        logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it writes addresses, and they hold UIDs
        self._client = httpx.Client(
            base_url=pacs.dicomweb.rstrip("/") + "/",
            auth=_credentials(pacs, home),
            verify=tls_context(pacs, home),
            timeout=httpx.Timeout(pacs.timeout_seconds, connect=min(_CONNECT_SECONDS, pacs.timeout_seconds)),
            headers={"Accept-Encoding": "identity", "User-Agent": "acinus-node"},
            trust_env=False,  # the PACS stands inside the hospital: no proxy
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        """Return the peer; leaving it hangs up."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._client.close()

    def search(self, path: str, params: Params = ()) -> list[dict[str, Any]]:
        """Return what a search (QIDO-RS) finds.

        Raises:
            RefusedError: `unauthenticated`, `forbidden`, `peer-untrusted`, `peer-refused`.
            UnavailableError: `peer-unreachable`, `peer-garbled`.
        """
        with self._asked("GET", path, params=list(params), headers={"Accept": "application/dicom+json"}) as answer:
            if answer.status_code == _NO_CONTENT:
                return []
            found = _json(b"".join(_bounded(answer, MOST_JSON_BYTES)))
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise _garbled()
        return found

    def retrieve(self, path: str, spool_for: Callable[[bytes], PartSpool]) -> None:
        """Stream the instances at `path` (WADO-RS) into a spool.

        Args:
            path: Of a series or an instance.
            spool_for: Makes the spool for a boundary.

        Raises:
            RefusedError, UnavailableError: As `search`; `disk-full`. What came whole until then has been taken in.
        """
        with self._asked("GET", path, headers={"Accept": _MULTIPART}) as answer:
            try:
                boundary = boundary_of(answer.headers.get("Content-Type", ""))
                if boundary is None:
                    raise _garbled()
                with spool_for(boundary) as spool:
                    for chunk in _bounded(answer, MOST_SERIES_BYTES):
                        spool.feed(chunk)
                    spool.finish()
            except InvalidInputError as error:
                raise _garbled() from error

    def store(self, content_type: str, size: int, body: Iterator[bytes]) -> tuple[int, Any]:
        """Post a body of `size` bytes (STOW-RS) and return the status with the answer, `None` if it is no JSON.

        Raises:
            RefusedError: `unauthenticated`, `forbidden`, `peer-untrusted`.
            UnavailableError: `peer-unreachable`.
        """
        headers = {"Content-Type": content_type, "Content-Length": str(size), "Accept": "application/dicom+json"}
        with self._asked("POST", "studies", headers=headers, content=body, judged=False) as answer:
            content = b"".join(_bounded(answer, MOST_JSON_BYTES))
            try:
                return answer.status_code, _json(content)
            except UnavailableError:
                return answer.status_code, None

    @contextmanager
    def _asked(self, method: str, path: str, *, judged: bool = True, **rest: Any) -> Iterator[httpx.Response]:
        try:
            with self._client.stream(method, path, **rest) as answer:
                _refuse_status(answer.status_code, judged=judged)
                yield answer
        except httpx.RemoteProtocolError as error:
            raise _garbled() from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _fault(error) from None  # the chain quotes the address


def tls_context(pacs: PacsSettings, home: Path) -> ssl.SSLContext:
    """Return the TLS context towards the PACS: its authority from `ca`, else the system's; our certificate if one is named.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    try:
        context = ssl.create_default_context(cafile=str(home / pacs.ca) if pacs.ca else None)
        if pacs.certificate:
            context.load_cert_chain(home / pacs.certificate, home / pacs.key if pacs.key else None)
    except (OSError, ssl.SSLError) as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, "A file of [pacs] ca, certificate or key is missing or damaged. Restore it."
        ) from error
    return context


def _credentials(pacs: PacsSettings, home: Path) -> httpx.Auth | None:
    if pacs.token_file:
        return _Bearer(_secret(home / pacs.token_file, "token_file"))
    if pacs.password_file:
        user, _, password = _secret(home / pacs.password_file, "password_file").partition(":")
        return httpx.BasicAuth(user, password)
    return None


class _Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Put the token on a request."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def _secret(path: Path, key: str) -> str:
    try:
        word = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        word = ""
    if not word:
        raise UnavailableError(Code.MISSING_CERTIFICATE, f"{path} of [pacs] {key} is missing or empty. Write it.")
    return word


def _bounded(answer: httpx.Response, most_bytes: int) -> Iterator[bytes]:
    """Yield the body as it was sent, within bounds of size and time; packed bodies were not asked for and are not opened."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise _garbled()
    size, end = 0, time.monotonic() + _MOST_ANSWER_SECONDS
    for chunk in answer.iter_raw():
        size += len(chunk)
        if size > most_bytes or time.monotonic() > end:
            raise _garbled()
        yield chunk


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise _garbled() from None  # the chain quotes the answer


def _refuse_status(status: int, *, judged: bool) -> None:
    """Turn a status into an error.

    Args:
        status: HTTP.
        judged: Whether a refusal of this one request is an error; for a store it is an answer.
    """
    if status in _OUR_FAULTS:
        raise RefusedError(
            _OUR_FAULTS[status], f"The PACS answers {status}: it does not take the credentials of [pacs] for this."
        )
    if status in _SUCCESS or (not judged and status not in _NOT_NOW and status not in _FAULTS):
        return
    if status in _NOT_NOW or status in _FAULTS:
        raise UnavailableError(Code.PEER_UNREACHABLE, f"The PACS answers {status}; it will be asked again.")
    raise RefusedError(Code.PEER_REFUSED, f"The PACS answers {status}. Look at [pacs] dicomweb and at its own log.")


def _fault(error: Exception) -> FederationError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return RefusedError(
                Code.PEER_UNTRUSTED, "The certificate of the PACS is not under the authority in [pacs] ca. Correct one."
            )
        cause = cause.__cause__ or cause.__context__
    return UnavailableError(Code.PEER_UNREACHABLE, "The PACS of [pacs] dicomweb does not answer. Is it up?")


def _garbled() -> UnavailableError:
    return UnavailableError(Code.PEER_GARBLED, "The answer of the PACS breaks off or is no DICOMweb. Look at its log.")
