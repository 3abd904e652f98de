"""The end of the privacy ledger, written into the audit with each charge: charges that were cut off are missed there."""

from dataclasses import dataclass

from client.gate.audit import AuditChain

EVENT = "budget.charged"


@dataclass(frozen=True, slots=True)
class ChargeMarks:
    """What the audit knows of the ledger: the number and hash of each charge, before anything was computed for it.

    The audit's own end is kept in `audit.head`, so a ledger that lost its newest charges is found out unless audit and head were cut too.
    """

    audit: AuditChain

    def note(self, number: int, sha256: str) -> None:
        """Write a charge down.

        Raises:
            UnavailableError: `disk-full`; then nothing is written.
        """
        self.audit.append(EVENT, f"{number}:{sha256}", "clear")

    def noted(self) -> list[tuple[int, str]]:
        """Return the number and hash of every charge that was written down; what is no such pair, as number 0, which no charge has."""
        marks = (subject.partition(":") for subject in self.audit.subjects(EVENT))
        return [(int(number) if number.isdecimal() else 0, sha256) for number, _, sha256 in marks]
