"""The SuperLink's control API: register SuperNode keys, see who is connected, start a run and its bundle."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from protocol.codes import Code
from protocol.errors import ConflictError, UnavailableError
from strategies.flower.faults import asked, status_of


@dataclass(frozen=True, slots=True)
class ConnectedNode:
    """A SuperNode as the SuperLink knows it. `name` is the site."""

    node_id: int
    name: str
    online: bool
    public_key: bytes


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a Flower run stands; `ended` is empty until it has, then `completed`, `failed` or `stopped`."""

    ended: str
    details: str


class Fleet:
    """The SuperLink's control API on loopback.

    Every method raises `UnavailableError` (`peer-unreachable`) when the SuperLink does not answer.
    """

    def __init__(self, address: str, root_certificates: bytes) -> None:
        self._client = ControlHttpClient.from_server_address(
            address, insecure=False, root_certificates=root_certificates, interceptors=[]
        )

    def nodes(self) -> list[ConnectedNode]:
        """Return every registered SuperNode that has not been unregistered."""
        answer = asked(lambda: self._client.ListNodes(ListNodesRequest()))
        return [
            ConnectedNode(node.node_id, node.name, node.status == "online", node.public_key)
            for node in answer.nodes_info
            if node.status != "unregistered"
        ]

    def register(self, site: str, ssh_public_key: str) -> None:
        """Let the SuperNode that holds the private half of `ssh_public_key` connect, under the name of its site.

        Raises:
            ConflictError: `already-exists` if the key is or was registered; Flower takes back no key that was shut out.
        """
        request = RegisterNodeRequest(public_key=key_bytes(ssh_public_key), name=site)
        try:
            asked(lambda: self._client.RegisterNode(request))
        except UnavailableError as error:
            if status_of(error) == httpx.codes.PRECONDITION_FAILED:
                raise ConflictError(
                    Code.ALREADY_EXISTS, f"The SuperNode key of {site} was used before. The site needs a new one."
                ) from error
            raise

    def unregister(self, node_id: int) -> None:
        """Shut a SuperNode out."""
        asked(lambda: self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id)))

    def start_run(self, bundle: bytes, bundle_sha256: str, run_config: Mapping[str, str]) -> int:
        """Start the ServerApp of `bundle` and return Flower's number of the run."""
        fab = fab_to_proto(Fab(bundle_sha256, bundle, {}))
        request = StartRunRequest(fab=fab, override_config=user_config_to_proto(dict(run_config)))
        return int(asked(lambda: self._client.StartRun(request)).run_id)

    def run_state(self, run: int) -> RunState:
        """Return where `run` stands; one of which the SuperLink knows nothing, as after its state was lost, has failed."""
        try:
            answer = asked(lambda: self._client.ListRuns(ListRunsRequest(run_id=run)))
        except UnavailableError as error:
            if status_of(error) == httpx.codes.NOT_FOUND:
                return RunState("failed", "the SuperLink knows of no such run")
            raise
        status = answer.run_dict[run].status
        return RunState(status.sub_status, status.details)

    def stop_run(self, run: int) -> None:
        """End `run` at once."""
        asked(lambda: self._client.StopRun(StopRunRequest(run_id=run)))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def key_bytes(ssh_public_key: str) -> bytes:
    """Return an OpenSSH public key in the form in which Flower compares keys.

    Raises:
        ValueError: If it is no key on a NIST curve.
    """
    try:
        key = serialization.load_ssh_public_key(ssh_public_key.encode())
    except UnsupportedAlgorithm as error:
        raise ValueError("an unknown kind of key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not a key on a NIST curve")  # noqa: TRY004 - the value is wrong, whatever its class
    return public_key_to_bytes(key)


def build_bundle(files: Mapping[str, bytes]) -> bytes:
    """Return the app bundle (FAB) of these files; the same files always give the same bytes.

    Raises:
        ValueError: If the files are no Flower app.
    """
    return build_fab_from_files(dict(files))[0]
