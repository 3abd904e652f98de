"""A node's home that exchanges with a PACS: settings, keys, and its parts run in threads as the node runs them in processes."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from client.deidentify.pseudonyms import KEY_FILE, load_pseudonyms, make_key
from client.gate.keys import GATEWAY_CA, GATEWAY_CERTIFICATE, GATEWAY_KEY
from client.infer.worker import Worker
from client.rooms.imaging import open_store
from client.rooms.pacs import open_outgoing
from client.runtime import run_part
from client.settings import NodeSettings
from client.store.studies import StudyStore
from tests.fakes.dicom_peer import answers, wait_for
from tests.fakes.orthanc import PASSWORD, TITLE, USER, Orthanc
from tests.fakes.ports import free_port
from tests.unit.client.infer.test_worker import Shelf

TOKEN = "0123456789abcdef0123456789abcdef-a-sender"


class Site:
    """A home beside a PACS."""

    def __init__(self, folder: Path, orthanc: Orthanc, **tables: dict[str, Any]) -> None:
        self.home, self.orthanc = folder, orthanc
        keys = folder / "keys"
        keys.mkdir(parents=True, exist_ok=True)
        if not (keys / KEY_FILE).exists():
            make_key(keys / KEY_FILE)
            for name in (GATEWAY_CA, GATEWAY_CERTIFICATE, GATEWAY_KEY):
                shutil.copy(orthanc.keys / name, keys / name)
            (keys / "pacs.password").write_text(f"{USER}:{PASSWORD}\n", encoding="utf-8")
            (keys / "stow.token").write_text(TOKEN + "\n", encoding="utf-8")
        self.tables: dict[str, dict[str, Any]] = {
            "dicom": {"port": free_port(), "quiet_seconds": 0.2, "minimum_free_mb": 1},
            "stow": {"enabled": True, "port": free_port(), "token_file": "keys/stow.token"},
            "pacs": {
                "dicomweb": orthanc.dicomweb, "password_file": "keys/pacs.password", "ca": f"keys/{GATEWAY_CA}",
                "timeout_seconds": 5, "host": "localhost", "port": orthanc.dicom_port, "ae_title": TITLE,
            },
        }  # fmt: skip
        for name, table in tables.items():
            self.tables[name] = {**self.tables.get(name, {}), **table}
        self.pseudonyms = load_pseudonyms(keys / KEY_FILE)

    @property
    def settings(self) -> NodeSettings:
        return NodeSettings.model_validate({"home": self.home, **self.tables})

    def changed(self, **tables: dict[str, Any]) -> "Site":
        """The same home with other settings."""
        merged = {name: {**self.tables.get(name, {}), **table} for name, table in tables.items()}
        return Site(self.home, self.orthanc, **{**self.tables, **merged})

    def store(self) -> StudyStore:
        return open_store(self.settings)

    def held(self) -> int:
        """How many instances the store has."""
        store = self.store()
        return sum(len(store.instances(study.study_key)) for study in store.studies())

    def measure(self) -> str:
        """Measure all that has come; return the newest study's key."""
        store, settings = self.store(), self.settings
        worker = Worker(
            store, Shelf(settings.models, lambda _: False), settings, last_report=open_outgoing(settings).last_report
        )  # fmt: skip
        for study in store.due(-1):
            worker.measure(study.study_key)
        return store.studies()[-1].study_key

    @contextmanager
    def running(self, part: str, port: int = 0) -> Iterator[None]:
        """Run a part in a thread; with `port`, wait until it answers there."""
        stop, failed = threading.Event(), list[BaseException]()

        def run() -> None:
            try:
                run_part(part, self.settings, stop)
            except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
                failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            wait_for(lambda: bool(failed) or not port or answers(port), 60)
            if failed:
                raise failed[0]
            yield
        finally:
            stop.set()
            thread.join(30)
            assert not thread.is_alive(), f"{part} does not stop"
        if failed:
            raise failed[0]
