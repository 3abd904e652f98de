"""Names that only the site can undo by computing them again: HMAC-SHA256 of a UID or a patient number under the site's key.

A site that rotates its key keeps the earlier ones beside it, newest first: what is new is named under the newest, and what the node
knows already is found again under the key that named it (`client.store.names`, docs/adr/0055).
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from client.store.files import write_durably
from client.store.records import InstanceKeys, StudyNames
from protocol.codes import Code
from protocol.errors import ConflictError, UnavailableError

KEY_FILE = "pseudonym.key"
KEY_BYTES = 32
_KEY_ID_HEX = 8
_NAME_HEX = 32
_MOST_SHIFT_DAYS = 365


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """All pseudonyms of a site. The same key and input always give the same name; other sites' keys give others.

    Attributes:
        key: Names whatever is new.
        older: Earlier keys, newest first; they only recognise what they named.
    """

    key: bytes = field(repr=False)
    older: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def key_id(self) -> str:
        """The name of the key itself; says nothing of it."""
        return self._name("key", "")[:_KEY_ID_HEX]

    @property
    def ring(self) -> "tuple[Pseudonyms, ...]":
        """The pseudonyms under each key alone, newest first."""
        return tuple(Pseudonyms(key) for key in (self.key, *self.older))

    def study_keys(self, study_uid: str) -> tuple[str, ...]:
        """Return the node's names of a study under every key, newest first."""
        return tuple(one.study_key(study_uid) for one in self.ring)

    def study_names(self, *, orders: Iterable[str], patient_id: str, issuer: str = "") -> StudyNames:
        """Return the names, under every key, by which statements about a study find it.

        Args:
            orders: Accession, placer and filler order numbers; empty ones are left out.
            patient_id: As the header has it.
            issuer: As the header has it.
        """
        numbers = {number.strip() for number in orders} - {""}
        known = bool(patient_id.strip())
        return StudyNames(
            orders=frozenset(one.order_name(number) for one in self.ring for number in numbers),
            subjects=frozenset(one.subject_key(patient_id, issuer) for one in self.ring if known),
            numbers=frozenset(one.number_name(patient_id) for one in self.ring if known),
        )

    def order_name(self, number: str) -> str:
        """Return the node's name of an order; accession, placer and filler numbers share it, for sites mix them."""
        return self._name("order", number.strip())

    def number_name(self, patient_id: str) -> str:
        """Return the node's name of a patient's number, whoever issued it."""
        return self._name("number", patient_id.strip())

    def opaque(self, kind: str, *words: str) -> str:
        """Return a name for anything else that has to be recognised and not kept, such as a message's id."""
        return self._name(kind, json.dumps(words))

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
        """Return the names of an instance and of all that it belongs to; those under earlier keys in `older`."""
        first, *rest = (
            InstanceKeys(
                instance_key=one._name("instance", instance_uid),  # noqa: SLF001 - of this class
                series_key=one._name("series", series_uid),  # noqa: SLF001
                study_key=one.study_key(study_uid),
                subject_key=one.subject_key(patient_id, issuer),
                case_id=one.case_id(study_uid),
                key_id=one.key_id,
                subject_key_id=one.key_id,
            )
            for one in self.ring
        )
        return replace(first, older=tuple(rest))

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
    return Pseudonyms(secrets.token_bytes(KEY_BYTES))


def make_key(path: Path) -> None:
    """Write a new key to `path`: 32 random bytes in hex.

    Raises:
        ConflictError: `already-exists`; a lost key makes every pseudonym of the site unknowable.
    """
    if path.exists():
        raise ConflictError(Code.ALREADY_EXISTS, f"There is a pseudonym key at {path} already; it is never replaced.")
    write_durably(path, secrets.token_hex(KEY_BYTES).encode() + b"\n")


def load_pseudonyms(path: Path) -> Pseudonyms:
    """Return the site's pseudonyms from its key file: one key a line, the newest first.

    Raises:
        UnavailableError: `missing-certificate` if the file is absent or a line is not 32 bytes in hex.
    """
    try:
        keys = [bytes.fromhex(line) for line in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError) as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, f"The pseudonym key {path} is missing or damaged. Restore it from the backup."
        ) from error
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, f"The pseudonym key {path} is not 32 bytes in hex. Restore it from the backup."
        )
    return Pseudonyms(keys[0], tuple(keys[1:]))


def save_pseudonyms(path: Path, pseudonyms: Pseudonyms) -> None:
    """Write the key ring: after a crash at any moment there is the old file or the new one.

    Raises:
        UnavailableError: `disk-full`.
    """
    lines = [key.hex() for key in (pseudonyms.key, *pseudonyms.older)]
    write_durably(path, "\n".join(lines).encode() + b"\n")
