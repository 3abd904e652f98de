"""Final reports as the hospital's other systems take them: DICOM SR, FHIR DiagnosticReport, HL7 v2 ORU, beside the study's results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from client.gateway.reports import Final, Reports
from client.gateway.statements import document_of
from client.report.read_fhir import diagnostic_report
from client.report.read_oru import oru_message
from client.store.files import write_durably
from client.store.part10 import as_part10, coded, read_part10
from protocol.shape import OpaqueId, SiteId, Thumbprint

SR, FHIR, ORU = "sr.dcm", "fhir.json", "oru.hl7"
KINDS = (SR, FHIR, ORU)

UNKNOWN_READER = "a reader whose approval was taken back"


class Instances(Protocol):
    """The store of studies, as far as it is needed here."""

    def folder(self, study_key: str) -> Path:
        """Return the folder of a study's results."""

    def instances(self, study_key: str) -> list[Path]:
        """Return the instance files of a study."""


class Documents:
    """Writes the final reports of one node."""

    def __init__(
        self,
        reports: Reports,
        store: Instances,
        reader: Callable[[Thumbprint], str | None],
        *,
        sender: SiteId,
        receiver: tuple[str, str] = ("", ""),
    ) -> None:
        """Prepare to write.

        Args:
            reports: Of the node.
            store: Of studies.
            reader: Returns under which name the hospital knows a reader's key.
            sender: The sending facility of an ORU.
            receiver: The receiving application and facility of an ORU.
        """
        self._reports = reports
        self._store = store
        self._reader = reader
        self._sender = sender
        self._receiver = receiver

    def write(self, claim_id: OpaqueId) -> list[Path]:
        """Write the final report of a claim in every format and return the files; none if it is not final, or the instances are gone.

        What is written already stays; an amended report takes the place of the one before.

        Raises:
            InvalidInputError: `unreadable` if the study's headers cannot carry an SR.
            UnavailableError: `disk-full`.
        """
        final = self._reports.final(claim_id)
        instances = self._store.instances(final.study_key) if final is not None else []
        if final is None or not instances:
            return []
        if self._is_written(final):
            return self.files(claim_id)
        from client.report.read_sr import make_read_report

        headers = [read_part10(path, pixels=False) for path in instances]
        with coded("The header of the study"):
            reader = self._reader(final.report.reader_key) or UNKNOWN_READER
            document = document_of(final, reader=reader, header=headers[0])
            contents = {
                SR: as_part10(make_read_report(headers, document)),
                FHIR: json.dumps(diagnostic_report(document), ensure_ascii=False, indent=1).encode(),
                ORU: oru_message(document, site=self._sender, receiver=self._receiver).encode(),
            }
        for kind, content in contents.items():
            write_durably(self.path(claim_id, final.study_key, kind), content)
        return [self.path(claim_id, final.study_key, kind) for kind in contents]

    def contents(self, claim_id: OpaqueId) -> dict[str, bytes]:
        """Write the final report of a claim if it is not written, and return it as the hospital's other systems take it: `oru`, `sr`.

        Raises:
            InvalidInputError, UnavailableError: As `write`.
        """
        kinds = {path.name.partition(".")[2]: path for path in self.write(claim_id)}
        return {name: kinds[kind].read_bytes() for name, kind in (("oru", ORU), ("sr", SR)) if kind in kinds}

    def _is_written(self, final: Final) -> bool:
        """Say whether the files are there and of this version. The last one written names the hash that was signed."""
        last = self.path(final.report.claim_id, final.study_key, ORU)
        return last.exists() and final.report_sha256 in last.read_text(encoding="utf-8")

    def files(self, claim_id: OpaqueId) -> list[Path]:
        """Return the files of a claim's final report that are there."""
        final = self._reports.final(claim_id)
        if final is None:
            return []
        return [path for kind in KINDS if (path := self.path(claim_id, final.study_key, kind)).exists()]

    def path(self, claim_id: OpaqueId, study_key: str, kind: str) -> Path:
        """Return where a report lies in one format, or would lie."""
        return self._store.folder(study_key) / f"reader-{claim_id}.{kind}"
