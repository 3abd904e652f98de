"""Fetches the weights of a release from the centre, by hash and within their announced size."""

import hashlib

import grpc

from client.gate.link import credentials
from client.gate.trust import Identity
from protocol.codes import Code
from protocol.enrolment import Address
from protocol.errors import RefusedError, UnavailableError
from protocol.link_pb2 import WeightsRequest
from protocol.link_pb2_grpc import LinkStub
from protocol.shape import Sha256

_SECONDS = 600.0
_MESSAGE_MAX = 8 * 1024 * 1024


def fetch_weights(address: Address, identity: Identity, *, sha256: Sha256, size: int) -> bytes:
    """Return the bytes whose SHA-256 is `sha256`.

    Args:
        address: Of the centre's link.
        identity: The node's, for mutual TLS.
        sha256: From a signed manifest.
        size: In bytes, from the same manifest; not one byte more is read.

    Raises:
        RefusedError: `signature-invalid` if the centre sends more, less or something else.
        UnavailableError: `peer-unreachable`.
    """
    content = bytearray()
    options = (("grpc.max_receive_message_length", _MESSAGE_MAX),)
    try:
        with grpc.secure_channel(address, credentials(identity), options=options) as channel:
            stub = LinkStub(channel)  # type: ignore[no-untyped-call] # generated
            stream = stub.FetchWeights(WeightsRequest(sha256=sha256), timeout=_SECONDS)
            for chunk in stream:
                content += chunk.data
                if len(content) > size:
                    stream.cancel()
                    raise _wrong()
    except grpc.RpcError as error:
        raise UnavailableError(
            Code.PEER_UNREACHABLE, "The centre did not send the weights of the release; the node will ask again."
        ) from error
    if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
        raise _wrong()
    return bytes(content)


def _wrong() -> RefusedError:
    return RefusedError(Code.SIGNATURE_INVALID, "The centre sent other weights than the manifest names.")
