"""Whether the PACS can be reached as the settings say: one search over DICOMweb; an echo, and a way for each kind of finding, over DIMSE."""

from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at run time

from client.pacs.lines import CLASSES, associate
from client.pacs.peer import Peer
from client.settings import NodeSettings
from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError

_SUCCESS = 0x0000


def reach_dicomweb(settings: NodeSettings) -> bool:
    """Ask the PACS for one study (QIDO-RS); nothing is fetched.

    Returns:
        Whether there is such a way; it answered then.

    Raises:
        RefusedError: `unauthenticated`, `forbidden`, `peer-untrusted`, `peer-refused`.
        UnavailableError: `peer-unreachable`, `peer-garbled`, `missing-certificate`.
    """
    if not settings.pacs.dicomweb:
        return False
    with Peer(settings.pacs, settings.home) as peer:
        peer.search("studies", [("limit", "1")])
    return True


def reach_dimse(settings: NodeSettings) -> bool:
    """Open the association on which findings go, and echo on it (PS3.4 annex A); nothing is sent.

    Returns:
        Whether findings go that way; it answered then.

    Raises:
        RefusedError: `peer-refused` if the PACS rejects it, or takes not every kind of object that is to go; `peer-untrusted`.
        UnavailableError: `peer-unreachable`, `missing-certificate`.
    """
    if settings.pacs.send != "c-store":
        return False
    association = associate(settings, (Verification, *CLASSES.values()))
    try:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        missing = [CLASSES[kind].name for kind in settings.pacs.objects if CLASSES[kind] not in accepted]
        if missing:
            raise RefusedError(
                Code.PEER_REFUSED,
                f"The PACS takes no {' and no '.join(missing)} from {settings.dicom.ae_title}. Allow these SOP classes there.",
            )
        if Verification in accepted and not _echoed(association):
            raise UnavailableError(
                Code.PEER_UNREACHABLE, "The PACS opens an association and fails its C-ECHO. Look at its log."
            )
    finally:
        association.release()
    return True


def _echoed(association: Association) -> bool:
    answer = association.send_c_echo()
    return "Status" in answer and int(answer.Status) == _SUCCESS
