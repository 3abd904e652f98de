"""Fetches the centre's lists of releases over the link, and keeps them young: one that cannot be renewed shows that newer ones are held back.

An old list is not taken back, a list that has expired is not believed, and a key that the root keys replaced counts no more.
"""

import asyncio
import fcntl
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.serialization import DeserializationError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from client.gate.backoff import Backoff
from client.gate.link import credentials, pause
from client.gate.lists import FOLDER
from client.gate.trust import ROOT, Identity, load_centre, load_identity
from client.store.files import disk_faults, make_folder
from protocol.codes import Code
from protocol.enrolment import Address
from protocol.errors import FederationError, RefusedError, UnavailableError
from protocol.link_pb2 import ListRequest
from protocol.link_pb2_grpc import LinkStub
from protocol.release import METADATA_CHARACTERS_MAX

LOOK_SECONDS = 6 * 3600.0
"""The centre signs at least once a day, and its word is good for a week."""

_SECONDS = 20.0
_NOT_FOUND = 404
_BACKOFF = Backoff(first=5.0, ceiling=1800.0)
_LIMITS = UpdaterConfig(
    root_max_length=METADATA_CHARACTERS_MAX,
    timestamp_max_length=METADATA_CHARACTERS_MAX,
    snapshot_max_length=METADATA_CHARACTERS_MAX,
    targets_max_length=METADATA_CHARACTERS_MAX,
)

log = logging.getLogger(__name__)


async def keep_listed(trust: Path, keys: Path, stop: asyncio.Event) -> None:
    """Fetch the lists now and again until `stop` is set; what fails is tried again, ever more patiently."""
    failures = 0
    while not stop.is_set():
        try:
            address, identity = load_centre(trust).link_address, load_identity(trust, keys)
            await asyncio.to_thread(fetch_lists, trust, address, identity)
            wait, failures = LOOK_SECONDS, 0
        except FederationError as error:
            failures += 1
            wait = _BACKOFF.delay(failures, random.random())  # noqa: S311 - jitter, no secret
            log.warning("releases.not-listed", extra={"code": error.code.value, "wait": round(wait, 1)})
        await pause(stop, wait)


def fetch_lists(trust: Path, address: Address, identity: Identity) -> None:
    """Fetch over the link what is newer, and keep as much of it as follows from what is trusted.

    Args:
        trust: The node's folder of what it pins.
        address: Of the centre's link.
        identity: The node's, for mutual TLS.

    Raises:
        RefusedError: `signature-invalid` if what came does not follow.
        UnavailableError: `releases-stale` if it has expired; `peer-unreachable`, `missing-certificate` if nothing is pinned, `disk-full`.
    """
    with grpc.secure_channel(address, credentials(identity)) as channel:
        follow(trust, _LinkFetcher(LinkStub(channel)))  # type: ignore[no-untyped-call] # generated


def follow(trust: Path, source: FetcherInterface) -> None:
    """Do so from any source of files; errors are those of `fetch_lists`."""
    folder, pinned = trust / FOLDER, _pinned(trust / ROOT)
    try:
        with _alone(folder), disk_faults("The list of releases"):
            Updater(str(folder), "", fetcher=source, config=_LIMITS, bootstrap=pinned).refresh()
    except ExpiredMetadataError as error:
        raise UnavailableError(  # the centre may sign again in a minute: whatever was announced is fetched then
            Code.RELEASES_STALE,
            "The centre's list of releases has expired: the centre has not signed it for a week, or somebody holds newer ones back. "
            "Tell the coordinator; the present release stays in use.",
        ) from error
    except (RepositoryError, DeserializationError) as error:
        raise RefusedError(
            Code.SIGNATURE_INVALID,
            "What came as the list of releases is not signed by whom this node trusts, or is older than what it has.",
        ) from error
    except DownloadLengthMismatchError as error:
        raise RefusedError(
            Code.SIGNATURE_INVALID, "What came as the list of releases is longer than any list."
        ) from error
    except DownloadError as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE, "The centre did not send its list of releases; the node will ask again."
        ) from error


def _pinned(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            f"{path} is missing or unreadable. Restore it, or enrol the node anew with a new invite.",
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other threads and processes of the node from fetching meanwhile."""
    with disk_faults("The list of releases"):
        make_folder(folder)
        lock = (folder / ".lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _LinkFetcher(FetcherInterface):
    """Fetches the files of the lists over the link."""

    def __init__(self, stub: LinkStub) -> None:
        self._stub = stub

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        try:
            for chunk in self._stub.FetchList(ListRequest(name=name), timeout=_SECONDS):
                yield chunk.data
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND:
                raise DownloadHTTPError(f"no {name}", _NOT_FOUND) from error
            raise DownloadError(f"no answer for {name}") from error
