"""The node's FHIR port: one route that takes a bundle. HTTPS under the hospital's own certificate, a token, and a list of addresses."""

import hashlib
import hmac
import logging
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from client.context.desk import ContextDesk
from client.context.mllp import Network, is_listed
from client.logs import fault_of
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError, RefusedError, UnavailableError

TOKEN_FILE = "fhir.token"  # noqa: S105 - the name of a file
LEAST_TOKEN = 24

_OUTCOME = "application/fhir+json"

log = logging.getLogger(__name__)


def create_app(
    open_desk: Callable[[], ContextDesk], *, token: str, senders: tuple[Network, ...], most_bytes: int
) -> FastAPI:
    """Return the application.

    Args:
        open_desk: Opens what takes documents; called at the first one, in the thread that serves.
        token: What senders show as a bearer token.
        senders: From where they may come.
        most_bytes: Of one document.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    desks: list[ContextDesk] = []

    @app.post("/fhir")
    async def take(request: Request) -> Response:
        """Take a Bundle or a resource; the answer is an OperationOutcome that repeats nothing of it."""
        try:
            _admit(request, token, senders)
            content = await _body(request, most_bytes)
            if not desks:
                desks.append(open_desk())
            return _outcome(200, "informational", f"{desks[0].hear_fhir(content)} statements")
        except FederationError as error:
            log.warning("context.refused", extra={"source": "fhir", "code": error.code.value})
            return _outcome(
                401 if error.code is Code.UNAUTHENTICATED else error.http_status, error.code.value, str(error)
            )
        except Exception as error:  # noqa: BLE001 - the rim towards a peer: a traceback could quote the document
            log.error("context.fault", extra=fault_of(error))  # noqa: TRY400
            return _outcome(503, Code.NODE_FAULT.value, "A fault inside the node. Send it again later.")

    return app


def _admit(request: Request, token: str, senders: tuple[Network, ...]) -> None:
    """Let in who comes from a listed address and shows the token.

    Raises:
        RefusedError: `forbidden`, `unauthenticated`.
    """
    if request.client is None or not is_listed(request.client.host, senders):
        raise RefusedError(
            Code.FORBIDDEN, "This address may not send here. The node's [fhir] senders lists those that may."
        )
    shown = request.headers.get("authorization", "").removeprefix("Bearer ").encode("utf-8", "replace")
    if not hmac.compare_digest(hashlib.sha256(shown).digest(), hashlib.sha256(token.encode()).digest()):
        raise RefusedError(Code.UNAUTHENTICATED, "The bearer token is missing or wrong.")


async def _body(request: Request, most_bytes: int) -> bytes:
    """Read the body within bounds.

    Raises:
        InvalidInputError: `bad-request` if it is longer.
    """
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > most_bytes:
            raise InvalidInputError(Code.BAD_REQUEST, f"The document is larger than {most_bytes} bytes. Split it.")
    return bytes(content)


def _outcome(status: int, code: str, text: str) -> JSONResponse:
    issue = {
        "severity": "information" if status < 300 else "error",  # noqa: PLR2004 - HTTP's success
        "code": "informational" if status < 300 else "processing",  # noqa: PLR2004
        "details": {"text": code},
        "diagnostics": text,
    }
    return JSONResponse({"resourceType": "OperationOutcome", "issue": [issue]}, status_code=status, media_type=_OUTCOME)


def read_token(keys: Path) -> str:
    """Return the token that senders must show.

    Raises:
        UnavailableError: `missing-certificate` if the file is absent or the word too short to be safe.
    """
    path = keys / TOKEN_FILE
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if len(token) < LEAST_TOKEN:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            f"{path} is missing or too short. Write a random word of {LEAST_TOKEN} letters or more into it.",
        )
    return token
