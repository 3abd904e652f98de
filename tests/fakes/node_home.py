"""A node's home for tests: settings, store, pseudonyms; no keys but the one that names things."""

from pathlib import Path

from client.context.desk import ContextDesk
from client.context.messages import Dialect
from client.context.statement import Namer
from client.deidentify.pseudonyms import KEY_FILE, Pseudonyms, load_pseudonyms, make_key
from client.infer.context import Window
from client.infer.surroundings import Surroundings
from client.sections import DicomSettings
from client.settings import NodeSettings
from client.store.context import ContextStore
from client.store.database import connect
from client.store.studies import StudyStore
from client.store.tables import SCHEMA


def mask_of(store: StudyStore, study_key: str) -> Path | None:
    """Where the mask lies that is the label of a study, if it has one."""
    return next((label.path for label in store.labels.masks() if label.study_key == study_key), None)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Home:
    """A folder with all that the imaging rooms need."""

    def __init__(self, folder: Path, **dicom: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = NodeSettings(
            home=folder, dicom=DicomSettings.model_validate({"quiet_seconds": 0.2, "minimum_free_mb": 1} | dicom)
        )
        self.clock = Clock()
        key = self.settings.keys / KEY_FILE
        if not key.exists():
            make_key(key)
        self.pseudonyms: Pseudonyms = load_pseudonyms(key)

    def store(self) -> StudyStore:
        return StudyStore(connect(self.settings.database, SCHEMA), self.settings, self.clock)

    def context(self) -> ContextStore:
        return ContextStore(connect(self.settings.database, SCHEMA), self.clock)

    def desk(self, dialect: Dialect | None = None, *own_issuers: str) -> ContextDesk:
        return ContextDesk(self.context(), Namer(self.pseudonyms, frozenset(own_issuers)), dialect or Dialect())

    def surroundings(self) -> Surroundings:
        return Surroundings(self.context(), self.pseudonyms, Window(before=14, after=7))
