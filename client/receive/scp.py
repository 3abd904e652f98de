"""The DICOM receiver: C-STORE and C-ECHO. An instance is acknowledged only when it is on the disk and in the index."""

import errno
import logging
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at run time

from client.deidentify.pseudonyms import Pseudonyms
from client.receive.intake import CT_CLASSES, Intake, sweep
from client.receive.socket_cap import cap_pdu
from client.settings import DicomSettings, NodeSettings
from client.store.files import free_mb
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.errors import FederationError, UnavailableError

TRANSFER_SYNTAXES: tuple[UID, ...] = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLossless, RLELossless,
    DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLSNearLossless, JPEG2000, JPEGExtended12Bit, JPEGBaseline8Bit,
)  # fmt: skip
"""Every transfer syntax in which CT is sent; what cannot be measured later is refused with a code, not at the door."""

SUCCESS, OUT_OF_RESOURCES, NO_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
"""C-STORE statuses (PS3.4 annex B.2.3)."""

_ACSE_SECONDS, _DIMSE_SECONDS, _NETWORK_SECONDS = 5, 30, 60
_MOST_ASSOCIATIONS = 100
_MOST_PDU_BYTES = 1 << 20

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
            UnavailableError: `port-taken` if another program listens there.
        """
        sweep(self._spool)
        self._open_store().sweep_arrivals()
        with _pynetdicom_set_up(self._spool):
            server = self._listen(application_entity(self._settings.dicom))
            log.info("receiver.listening", extra={"port": self._settings.dicom.port})
            try:
                stop.wait()
            finally:
                server.shutdown()

    def store_instance(self, event: evt.Event) -> int:
        """Answer one C-STORE request (pynetdicom's handler).

        Returns:
            A DICOM status. 0x0000 is a promise: the instance survives a power cut.
        """
        if free_mb(self._spool) < self._settings.dicom.minimum_free_mb:
            log.error("receiver.out_of_space")
            return OUT_OF_RESOURCES
        try:
            taken = self._intake().take(Path(event.dataset_path))
        except FederationError as error:
            log.error("receiver.failed", extra={"code": error.code.value})  # noqa: TRY400 - a traceback could quote a header
            return OUT_OF_RESOURCES
        if taken.code in {None, Code.ALREADY_EXISTS}:
            return SUCCESS  # of a conflicting pair both are kept, one of them in quarantine
        log.warning("receiver.quarantined", extra={"code": str(taken.code)})
        return NO_MATCH if taken.code is Code.NOT_CT else CANNOT_UNDERSTAND

    def _listen(self, entity: AE) -> Any:
        """Start the server.

        Raises:
            UnavailableError: `port-taken`.
        """
        dicom = self._settings.dicom
        handlers = [
            (evt.EVT_CONN_OPEN, lambda event: cap_pdu(event.assoc, _MOST_PDU_BYTES)),
            (evt.EVT_C_STORE, self.store_instance),
            (evt.EVT_C_ECHO, lambda _event: SUCCESS),
        ]
        try:
            return entity.start_server((dicom.host, dicom.port), block=False, evt_handlers=handlers)  # type: ignore[arg-type] # narrower stubs
        except OSError as error:
            why = "another program listens there" if error.errno == errno.EADDRINUSE else "the address cannot be used"
            raise UnavailableError(
                Code.PORT_TAKEN,
                f"The receiver cannot listen on {dicom.host}:{dicom.port}: {why}."
                " Stop it or change [dicom] port in node.toml.",
            ) from error

    def _intake(self) -> Intake:
        """Return this thread's intake: every association runs in a thread of its own, and so must a connection."""
        if not hasattr(self._threads, "intake"):
            self._threads.intake = Intake(self._open_store(), self._pseudonyms)
        intake: Intake = self._threads.intake
        return intake


def application_entity(dicom: DicomSettings) -> AE:
    """Return the application entity: its name, whom it talks to, and what it takes.

    An empty list of callers admits nobody: a node that is not configured stores nothing. (To pynetdicom it would mean everybody,
    so a name takes its place that nobody has.)
    """
    entity = AE(ae_title=dicom.ae_title)
    entity.require_called_aet = True
    entity.require_calling_aet = list(dicom.allowed_callers) or [secrets.token_hex(8)]
    entity.maximum_associations = _MOST_ASSOCIATIONS
    entity.maximum_pdu_size = 128 * 1024
    entity.acse_timeout, entity.dimse_timeout, entity.network_timeout = _ACSE_SECONDS, _DIMSE_SECONDS, _NETWORK_SECONDS
    entity.add_supported_context(Verification)
    for sop_class in CT_CLASSES:
        entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
    return entity


@contextmanager
def _pynetdicom_set_up(spool: Path) -> Iterator[None]:
    """Let pynetdicom write large data sets to `spool` instead of holding them, and keep headers out of the logs."""
    before = (_config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir)
    _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir = True, str(spool)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    try:
        with pydicom.config.disable_value_validation():
            yield
    finally:
        _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir = before
