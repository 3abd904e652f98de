"""Orthanc as the hospital's PACS: on free ports, behind a password and a TLS front, in a folder of its own."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from client.gate.keys import GATEWAY_CA, make_gateway_certificate
from tests.fakes.ct_series import CtSeries, as_bytes
from tests.fakes.dicom_peer import answers, wait_for
from tests.fakes.front import Front, running_front
from tests.fakes.ports import free_port

PROGRAM = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
IS_THERE = PROGRAM is not None and PLUGIN.exists()

USER, PASSWORD, TITLE = "acinus", "a password of the PACS", "PACS"


def plain_client() -> httpx.Client:
    """Return a client for plain HTTP on this machine; reading all the world's CA certificates for each question costs more than the answer."""
    return httpx.Client(auth=(USER, PASSWORD), timeout=60, trust_env=False, verify=False)


@dataclass(frozen=True, kw_only=True)
class Orthanc:
    """A running Orthanc. `keys` holds certificates for localhost under one authority: its own and the node's."""

    folder: Path
    keys: Path
    web_port: int
    front: Front
    dicom_port: int
    process: "subprocess.Popen[bytes]"

    @property
    def dicomweb(self) -> str:
        return f"https://localhost:{self.front.port}/dicom-web"

    @property
    def ca(self) -> Path:
        return self.keys / GATEWAY_CA

    def rest(self, method: str, path: str, **rest: Any) -> Any:
        """Ask Orthanc's own REST API."""
        with plain_client() as client:
            answer = client.request(method, f"http://localhost:{self.web_port}{path}", **rest)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def is_well(self) -> bool:
        try:
            return "Version" in self.rest("GET", "/system")
        except httpx.HTTPError:
            return False

    def keep(self, series: CtSeries) -> str:
        """Store a series and return the study's id in Orthanc."""
        said = [self.rest("POST", "/instances", content=as_bytes(dataset)) for dataset in series.datasets()]
        return str(said[0]["ParentStudy"])

    def find(self, study: str) -> list[str]:
        """Return the ids of a study's series."""
        return [str(one) for one in self.rest("GET", f"/studies/{study}")["Series"]]

    def tags(self, study: str, modality: str) -> list[dict[str, Any]]:
        """Return the simplified tags of every instance of a modality in a study, as Orthanc reads them."""
        found = []
        for series in self.find(study):
            said = self.rest("GET", f"/series/{series}")
            if said["MainDicomTags"].get("Modality") == modality:
                found += [self.rest("GET", f"/instances/{one}/simplified-tags") for one in said["Instances"]]
        return found

    def content(self, study: str, modality: str) -> list[bytes]:
        """Return the files of every instance of a modality in a study."""
        found = []
        with plain_client() as client:
            for series in self.find(study):
                said = self.rest("GET", f"/series/{series}")
                if said["MainDicomTags"].get("Modality") == modality:
                    for one in said["Instances"]:
                        address = f"http://localhost:{self.web_port}/instances/{one}/file"
                        found.append(client.get(address).content)
        return found

    def empty(self) -> None:
        """Forget every patient."""
        for patient in self.rest("GET", "/patients"):
            self.rest("DELETE", f"/patients/{patient}")


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Start Orthanc in `folder` and end it."""
    assert PROGRAM is not None
    keys = folder / "keys"
    make_gateway_certificate(keys, site_name="test", gateway="https://localhost", now=datetime.now(UTC))
    web_port, dicom_port = free_port(), free_port()
    settings = {
        "Name": "the hospital's PACS", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
        "HttpPort": web_port, "DicomPort": dicom_port, "DicomAet": TITLE, "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD},
        "HttpsVerifyPeers": True, "HttpsCACertificates": str(keys / GATEWAY_CA), "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "OverwriteInstances": False, "StableAge": 1,
        "DicomModalitiesInDatabase": True,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "orthanc.log").open("wb") as log, running_front(keys, web_port) as front:
        process = subprocess.Popen([PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
        try:
            wait_for(lambda: process.poll() is not None or (answers(web_port) and answers(dicom_port)), 60)
            assert process.poll() is None, (folder / "orthanc.log").read_text(encoding="utf-8", errors="replace")
            orthanc = Orthanc(
                folder=folder, keys=keys, web_port=web_port, front=front, dicom_port=dicom_port, process=process
            )
            wait_for(orthanc.is_well, 30)
            yield orthanc
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
