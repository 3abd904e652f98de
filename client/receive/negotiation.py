"""Who may send what: A-ASSOCIATE requests judged (PS3.8 section 7.1, PS3.7 annex D). Parsing and choosing are pynetdicom's."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from client.receive.line import Kind
from client.store.part10 import coded

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

MOST_REQUEST_BYTES = 256 << 10
"""128 contexts with every transfer syntax there is take 80 KB."""

ADVERTISED_PDU_BYTES = 128 << 10
"""What senders are told to put into one PDU."""

WRONG_APPLICATION, UNKNOWN_CALLER, WRONG_CALLED = (1, 1, 2), (1, 1, 3), (1, 1, 7)
WRONG_PROTOCOL, TOO_MANY = (1, 2, 2), (2, 3, 2)
"""Result, source, reason of a rejection (PS3.8 table 9-21)."""

_VERSION_1 = 0b1
_About = MaximumLengthNotification | ImplementationClassUIDNotification | ImplementationVersionNameNotification


@dataclass(frozen=True, slots=True)
class Entity:
    """The node as an application entity: its name, whom it talks to, what it takes. Nobody named is nobody let in."""

    title: str
    callers: frozenset[str]
    contexts: tuple[PresentationContext, ...]


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both sides agreed on: SOP class and transfer syntax by context id, and the PDU that says so."""

    contexts: dict[int, tuple[str, str]]
    answer: bytes


def contexts_of(sop_classes: Iterable[str], syntaxes: Iterable[str]) -> list[PresentationContext]:
    """Return the contexts in which each of `sop_classes` is taken in any of `syntaxes`."""
    listed = list(syntaxes)
    return [build_context(sop_class, listed) for sop_class in sop_classes]


def judge(request: bytes, entity: Entity) -> Agreed | tuple[int, int, int]:
    """Judge the body of an A-ASSOCIATE-RQ; return what is agreed, or why it is rejected.

    Raises:
        InvalidInputError: `unreadable` if it is no such request.
    """
    with coded("The association request"):
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(struct.pack(">BBL", Kind.ASSOCIATE_RQ, 0, len(request)) + request)
        asked = pdu.to_primitive()
        if not pdu.protocol_version & _VERSION_1:
            return WRONG_PROTOCOL
        if asked.application_context_name != APPLICATION_CONTEXT:
            return WRONG_APPLICATION
        if asked.called_ae_title.strip() != entity.title.strip():
            return WRONG_CALLED
        if asked.calling_ae_title.strip() not in entity.callers:
            return UNKNOWN_CALLER
        return _agreed(asked, entity)


def rejection(reason: tuple[int, int, int]) -> bytes:
    """Return an A-ASSOCIATE-RJ PDU."""
    return struct.pack(">BBLBBBB", Kind.ASSOCIATE_RJ, 0, 4, 0, *reason)


def abortion(source: int, reason: int) -> bytes:
    """Return an A-ABORT PDU (PS3.8 table 9-26): source 0 is the user, 2 the provider."""
    return struct.pack(">BBLBBBB", Kind.ABORT, 0, 4, 0, 0, source, reason)


RELEASED = struct.pack(">BBLL", Kind.RELEASE_RP, 0, 4, 0)
"""The A-RELEASE-RP PDU."""


def _agreed(asked: A_ASSOCIATE, entity: Entity) -> Agreed:
    roles = {
        item.sop_class_uid: (item.scu_role, item.scp_role)
        for item in asked.user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.sop_class_uid is not None
    }
    results, replies = negotiate_as_acceptor(
        asked.presentation_context_definition_list, list(entity.contexts), roles or None
    )
    answer = A_ASSOCIATE()
    answer.application_context_name = UID(APPLICATION_CONTEXT)
    answer.calling_ae_title, answer.called_ae_title = asked.calling_ae_title, asked.called_ae_title
    answer.result, answer.result_source = 0, 1
    answer.presentation_context_definition_results_list = results
    answer.user_information = [*_about_us(), *replies]
    accepted = {
        int(context.context_id): (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in results
        if context.result == 0 and context.context_id is not None
    }
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(answer)
    return Agreed(accepted, pdu.encode())


def _about_us() -> list[_About]:
    size, uid, version = MaximumLengthNotification(), ImplementationClassUIDNotification(), ImplementationVersionNameNotification()  # fmt: skip
    size.maximum_length_received = ADVERTISED_PDU_BYTES
    uid.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    version.implementation_version_name = PYNETDICOM_IMPLEMENTATION_VERSION
    return [size, uid, version]
