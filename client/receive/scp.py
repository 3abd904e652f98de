"""The DICOM receiver: C-STORE and C-ECHO. An instance is acknowledged only when it is on the disk and in the index."""

import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pydicom.config
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at run time

from client.deidentify.pseudonyms import Pseudonyms
from client.logs import fault_of
from client.receive.association import CANNOT_UNDERSTAND, NO_MATCH, NOT_AUTHORIZED, OUT_OF_RESOURCES, SUCCESS
from client.receive.doorway import Doorway, server_context
from client.receive.intake import CT_CLASSES, Intake, sweep
from client.receive.masks import MASK_CLASSES
from client.receive.negotiation import Entity, contexts_of
from client.receive.spooling import Arrival
from client.sections import DicomSettings
from client.settings import NodeSettings
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.errors import FederationError, UnavailableError

TRANSFER_SYNTAXES: tuple[UID, ...] = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLossless, RLELossless,
    DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLSNearLossless, JPEG2000, JPEGExtended12Bit, JPEGBaseline8Bit,
)  # fmt: skip
"""Every transfer syntax in which CT is sent; what cannot be measured later is refused with a code, not at the door."""

_MASK_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, DeflatedExplicitVRLittleEndian)

log = logging.getLogger(__name__)


class Receiver:
    """The node's DICOM port."""

    def __init__(self, store: Callable[[], StudyStore], pseudonyms: Pseudonyms, settings: NodeSettings) -> None:
        """Prepare the receiver.

        Args:
            store: Opens the store; called once in every thread that receives.
            pseudonyms: The site's.
            settings: The node's.
        """
        self._open_store = store
        self._pseudonyms = pseudonyms
        self._settings = settings
        self._spool = settings.instances.parent / "incoming"
        self._threads = threading.local()

    def run(self, stop: threading.Event) -> None:
        """Receive until `stop` is set.

        Raises:
            UnavailableError: `port-taken` if another program listens there, `missing-certificate` for TLS.
        """
        dicom = self._settings.dicom
        sweep(self._spool)
        store = self._open_store()
        store.sweep_arrivals()
        store.arrivals.let_go_all()
        tls = server_context(dicom, self._settings.home)
        with _quiet_libraries(), _listening(dicom) as listener:
            log.info("receiver.listening", extra={"port": dicom.port})
            Doorway(listener, tls, entity_of(dicom), self).run(stop)

    def arrival(self) -> Arrival:
        """Open a place in the spool for the next instance."""
        return Arrival(self._spool, minimum_free_mb=self._settings.dicom.minimum_free_mb)

    def take(self, arrival: Arrival, association: str) -> int:
        """Keep a whole instance.

        Returns:
            A C-STORE status. 0x0000 is a promise: the instance survives a power cut.
        """
        try:
            path, glimpse = arrival.settle()
            taken = self._intake().take(path, glimpse=glimpse, association=association)
        except FederationError as error:
            log.error("receiver.failed", extra={"code": error.code.value})  # noqa: TRY400 - a traceback could quote a header
            return OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001 - the rim towards the sender: never silence, never a header in a log
            log.error("receiver.fault", extra=fault_of(error))  # noqa: TRY400
            return CANNOT_UNDERSTAND
        if taken.code in {None, Code.ALREADY_EXISTS}:
            return SUCCESS  # of a conflicting pair both are kept, one of them in quarantine
        if taken.code is Code.STUDY_DELETED:  # nothing of it is kept, so the sender must know
            log.warning("receiver.refused", extra={"code": taken.code.value})
            return NOT_AUTHORIZED
        log.warning("receiver.quarantined", extra={"code": str(taken.code)})
        return NO_MATCH if taken.code is Code.NOT_CT else CANNOT_UNDERSTAND

    def ended(self, association: str) -> None:
        """Note that nothing more comes on an association: its studies may be worked on once they are quiet."""
        if hasattr(self._threads, "intake"):
            self._threads.store.arrivals.let_go(association)
            self._threads.store.close()
            del self._threads.intake, self._threads.store

    def _intake(self) -> Intake:
        """Return this thread's intake: every association runs in a thread of its own, and so must a connection."""
        if not hasattr(self._threads, "intake"):
            self._threads.store = self._open_store()
            self._threads.intake = Intake(self._threads.store, self._pseudonyms)
        intake: Intake = self._threads.intake
        return intake


def entity_of(dicom: DicomSettings) -> Entity:
    """Return the application entity: its name, whom it talks to, and what it takes."""
    contexts = contexts_of([Verification], [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
    return Entity(
        title=dicom.ae_title,
        callers=frozenset(caller.strip() for caller in dicom.allowed_callers),
        contexts=(*contexts, *contexts_of(CT_CLASSES, TRANSFER_SYNTAXES), *contexts_of(MASK_CLASSES, _MASK_SYNTAXES)),
    )


@contextmanager
def _listening(dicom: DicomSettings) -> Iterator[socket.socket]:
    """Listen on the node's DICOM port.

    Raises:
        UnavailableError: `port-taken`.
    """
    try:
        listener = socket.create_server((dicom.host, dicom.port), backlog=128)
    except OSError as error:
        why = "another program listens there" if error.errno == errno.EADDRINUSE else "the address cannot be used"
        raise UnavailableError(
            Code.PORT_TAKEN,
            f"The receiver cannot listen on {dicom.host}:{dicom.port}: {why}. Stop it or change [dicom] port in node.toml.",
        ) from error
    with listener:
        yield listener


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep headers out of the logs: both libraries quote what they cannot read."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    with pydicom.config.disable_value_validation():
        yield
