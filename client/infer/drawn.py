"""Masks that came by the node's doors: drafts as soon as their study is measured, labels once a person has approved them.

What cannot be a label goes to quarantine with its code, whether it is found out at the first look or, the study being measured anew
meanwhile, after the approval.
"""

import logging

from client.deidentify.pseudonyms import Pseudonyms
from client.infer.labels import import_label, look_at_label
from client.store.drawn import DrawnMask
from client.store.studies import StudyStore
from protocol.errors import ConflictError, InvalidInputError

log = logging.getLogger(__name__)


class MaskDesk:
    """Looks at waiting masks of one store, and turns those that are approved into labels."""

    def __init__(self, store: StudyStore, pseudonyms: Pseudonyms) -> None:
        self._store = store
        self._pseudonyms = pseudonyms

    def step(self) -> int:
        """Look at every mask that waits for a study that is measured now; return how many became labels.

        A study that changes meanwhile lets its mask wait. Killed at any moment, the step repeats work: the same mask is the same label.

        Raises:
            UnavailableError: `disk-full`.
        """
        for mask in self._store.drawn.unseen():
            self._look(mask)
        return sum(self._take(mask) for mask in self._store.drawn.waiting())

    def _look(self, mask: DrawnMask) -> None:
        """Make a draft of a mask that fits its study."""
        try:
            found = look_at_label(mask.path, self._store, self._pseudonyms, study_key=mask.study_key)
        except InvalidInputError as error:
            self._refuse(mask, error)
            return
        ground_glass_ml, consolidation_ml = found.volumes_ml
        self._store.drawn.propose(
            mask, author=found.author, ground_glass_ml=ground_glass_ml, consolidation_ml=consolidation_ml
        )
        log.info("label.proposed", extra={"study": mask.study_key})

    def _take(self, mask: DrawnMask) -> bool:
        """Make a label of an approved mask; return whether it is one now."""
        try:
            import_label(mask.path, self._store, self._pseudonyms, study_key=mask.study_key)
        except ConflictError:
            return False
        except InvalidInputError as error:
            self._refuse(mask, error)
            return False
        self._store.drawn.settle(mask)
        log.info("label.drawn", extra={"study": mask.study_key})
        return True

    def _refuse(self, mask: DrawnMask, error: InvalidInputError) -> None:
        if mask.path.exists():
            self._store.quarantine(mask.path, mask.sha256, error.code)
        self._store.drawn.settle(mask, error.code)
        log.warning("label.refused", extra={"study": mask.study_key, "code": error.code.value})
