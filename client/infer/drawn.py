"""Masks that came by the node's doors become labels as soon as their study is measured; what cannot be one goes to quarantine."""

import logging

from client.deidentify.pseudonyms import Pseudonyms
from client.infer.labels import import_label
from client.store.studies import StudyStore
from protocol.errors import ConflictError, InvalidInputError

log = logging.getLogger(__name__)


class MaskDesk:
    """Turns waiting masks of one store into labels."""

    def __init__(self, store: StudyStore, pseudonyms: Pseudonyms) -> None:
        self._store = store
        self._pseudonyms = pseudonyms

    def step(self) -> int:
        """Look at every mask that waits for a study that is measured now; return how many became labels.

        A study that changes meanwhile lets its mask wait. Killed at any moment, the step repeats work: the same mask is the same label.

        Raises:
            UnavailableError: `disk-full`.
        """
        labelled = 0
        for mask in self._store.drawn.waiting():
            try:
                import_label(mask.path, self._store, self._pseudonyms, study_key=mask.study_key)
            except ConflictError:
                continue
            except InvalidInputError as error:
                if mask.path.exists():
                    self._store.quarantine(mask.path, mask.sha256, error.code)
                self._store.drawn.settle(mask, error.code)
                log.warning("label.refused", extra={"study": mask.study_key, "code": error.code.value})
                continue
            self._store.drawn.settle(mask)
            labelled += 1
            log.info("label.drawn", extra={"study": mask.study_key})
        return labelled
