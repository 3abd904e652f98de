"""What enrolment brought and the node pins: its certificate, the network's CA, the centre's keys and addresses."""

import logging
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from client.store.files import alone_in, disk_faults, make_folder, settle_folder, write_durably
from protocol.codes import Code
from protocol.enrolment import Address, EnrolReply, RawKey, RelayPin
from protocol.errors import UnavailableError
from protocol.reading import Origin
from protocol.shape import RegionCode, Shape, SiteId, canonical_json

CERTIFICATE, CA, CENTRE = "node.pem", "ca.pem", "centre.json"
ROOT = "root.json"
"""Who may say which releases count: the root with which `client/gate/lists.py` begins."""
NEXT = "node.next.pem"
"""A further certificate, until the centre has been shown it; then it takes the place of the present one."""
NODE_KEY = "node.key"

_FRESH, _OLD, _LOCK = "trust.part", "trust.old", ".trust.lock"
"""Beside `trust`: what takes its place, what it takes the place of, and who may do so."""

log = logging.getLogger(__name__)


class Centre(Shape):
    """The centre as this node was told of it at enrolment; `trust/centre.json`."""

    site: SiteId
    region: RegionCode
    registry: Origin
    grant_key: RawKey
    link_address: Address
    fleet_address: Address
    relay: RelayPin | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM texts for mutual TLS with the centre."""

    ca: bytes
    certificate: bytes
    key: bytes


def is_enrolled(trust: Path) -> bool:
    """Say whether the node in whose home `trust` lies has been enrolled."""
    return (trust / CENTRE).is_file()


def load_centre(trust: Path) -> Centre:
    """Return what the node pins of the centre.

    Raises:
        UnavailableError: `missing-certificate` if the node is not enrolled or the file is damaged.
    """
    try:
        return Centre.model_validate_json((trust / CENTRE).read_bytes())
    except FileNotFoundError as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            "The node is not enrolled yet. Run `acinus-node enrol` with the coordinator's invite.",
        ) from error
    except (OSError, ValidationError) as error:
        raise _damaged(trust / CENTRE) from error


def load_identity(trust: Path, keys: Path, certificate: str = CERTIFICATE) -> Identity:
    """Return the node's own certificate and key and the CA that it trusts.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    return Identity(_read(trust / CA), _read(trust / certificate), _read(keys / NODE_KEY))


def client_context(trust: Path, keys: Path) -> ssl.SSLContext:
    """Return a TLS context that trusts the network's CA alone and shows the node's certificate.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=trust / CA)
        context.load_cert_chain(trust / CERTIFICATE, keys / NODE_KEY)
    except OSError as error:  # ssl.SSLError is one
        raise _damaged(trust / CERTIFICATE) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def keep_reply(reply: EnrolReply, *, registry: Origin, trust: Path) -> Centre:
    """Put a new `trust` folder in place of the old one, as a whole.

    Killed from the moment on at which all of it is written, `finish_enrolment` puts it there: the invite is used up, and will not bring another.

    Raises:
        UnavailableError: `disk-full`; what was there stays then.
    """
    centre = Centre(registry=registry, **reply.model_dump(exclude={"certificate_pem", "ca_pem", "release_root"}))
    fresh = trust.with_name(_FRESH)
    with alone_in(trust.parent, _LOCK), disk_faults():
        shutil.rmtree(fresh, ignore_errors=True)
        make_folder(fresh)
        write_durably(fresh / CERTIFICATE, reply.certificate_pem.encode())
        write_durably(fresh / CA, reply.ca_pem.encode())
        write_durably(fresh / ROOT, reply.release_root.encode())
        write_durably(fresh / CENTRE, canonical_json(centre))  # the last one: whoever finds it finds all of them
        _put_in_place(trust)
    return centre


def finish_enrolment(trust: Path) -> bool:
    """Say whether the node is enrolled, once an enrolment that was killed half-way is brought to its end; what the disk does not take waits."""
    written = trust.with_name(_FRESH) / CENTRE
    if written.is_file():
        try:
            with alone_in(trust.parent, _LOCK), disk_faults():
                if written.is_file():  # else another process did it meanwhile
                    _put_in_place(trust)
        except UnavailableError as error:
            log.error("enrolment.waits", extra={"code": error.code.value})  # noqa: TRY400 - the code says it
    return is_enrolled(trust)


def pinned_by(trust: Path) -> bytes:
    """Return what the node pins of the centre as it is written, to be compared; nothing while it is not enrolled."""
    try:
        return (trust / CENTRE).read_bytes() if finish_enrolment(trust) else b""
    except OSError:
        return b""


def _put_in_place(trust: Path) -> None:
    """Put the folder that is written in the place of the old one; once or often, it is the same."""
    old = trust.with_name(_OLD)
    if trust.exists():
        shutil.rmtree(old, ignore_errors=True)
        trust.rename(old)
    trust.with_name(_FRESH).rename(trust)
    settle_folder(trust.parent)
    shutil.rmtree(old, ignore_errors=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> UnavailableError:
    return UnavailableError(
        Code.MISSING_CERTIFICATE,
        f"{path} is missing, unreadable or damaged. Restore it, or enrol the node anew with a new invite.",
    )
