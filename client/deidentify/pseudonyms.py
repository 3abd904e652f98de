"""Names that only the site can undo by computing them again: HMAC-SHA256 of a UID or a patient number under the site's key."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path

from client.store.files import write_durably
from client.store.records import InstanceKeys
from protocol.codes import Code
from protocol.errors import ConflictError, UnavailableError

KEY_FILE = "pseudonym.key"
_KEY_BYTES = 32
_NAME_HEX = 32
_MOST_SHIFT_DAYS = 365


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """All pseudonyms of a site. The same key and input always give the same name; other sites' keys give others."""

    key: bytes

    def study_key(self, study_uid: str) -> str:
        """Return the node's name of a study."""
        return self._name("study", study_uid)

    def case_id(self, study_uid: str) -> str:
        """Return the name under which the registry knows a study; it cannot be told to belong to `study_key`."""
        return self._name("case", study_uid)

    def subject_key(self, patient_id: str, issuer: str = "") -> str:
        """Return the node's name of a patient.

        All patients without a number share one name: whoever is not told apart must not count as two under patient-level
        privacy.
        """
        number = patient_id.strip()
        return self._name("subject", f"{issuer.strip()}\\{number}" if number else "")

    def instance_keys(
        self, *, study_uid: str, series_uid: str, instance_uid: str, patient_id: str, issuer: str = ""
    ) -> InstanceKeys:
        """Return the names of an instance and of all that it belongs to."""
        return InstanceKeys(
            instance_key=self._name("instance", instance_uid),
            series_key=self._name("series", series_uid),
            study_key=self.study_key(study_uid),
            subject_key=self.subject_key(patient_id, issuer),
            case_id=self.case_id(study_uid),
        )

    def uid(self, uid: str) -> str:
        """Return the UID that stands for `uid` outside: 2.25 and 128 keyed bits (PS3.5 annex B.2)."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16], 'big')}"

    def patient_id(self, patient_id: str, issuer: str = "") -> str:
        """Return the patient number that stands for `patient_id` outside."""
        return self._name("patient", f"{issuer.strip()}\\{patient_id.strip()}")[:16].upper()

    def shift_days(self, patient_id: str, issuer: str = "") -> int:
        """Return by how many days a patient's dates move: 1 to 365 back, the same for all of them, so that intervals stay."""
        digest = self._digest("shift", f"{issuer.strip()}\\{patient_id.strip()}")
        return -(int.from_bytes(digest[:8], "big") % _MOST_SHIFT_DAYS + 1)

    def _name(self, kind: str, value: str) -> str:
        return self._digest(kind, value).hex()[:_NAME_HEX]

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.new(self.key, f"{kind}:{value}".encode(), hashlib.sha256).digest()


def random_pseudonyms() -> Pseudonyms:
    """Return pseudonyms under a key that is forgotten with the process."""
    return Pseudonyms(secrets.token_bytes(_KEY_BYTES))


def make_key(path: Path) -> None:
    """Write a new key to `path`: 32 random bytes in hex.

    Raises:
        ConflictError: `already-exists`; a lost key makes every pseudonym of the site unknowable.
    """
    if path.exists():
        raise ConflictError(Code.ALREADY_EXISTS, f"There is a pseudonym key at {path} already; it is never replaced.")
    write_durably(path, secrets.token_hex(_KEY_BYTES).encode() + b"\n")


def load_pseudonyms(path: Path) -> Pseudonyms:
    """Return the site's pseudonyms from its key file.

    Raises:
        UnavailableError: `missing-certificate` if the file is absent or is not 32 bytes in hex.
    """
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, f"The pseudonym key {path} is missing or damaged. Restore it from the backup."
        ) from error
    if len(key) != _KEY_BYTES:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, f"The pseudonym key {path} is not 32 bytes in hex. Restore it from the backup."
        )
    return Pseudonyms(key)
