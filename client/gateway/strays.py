"""Rows in the audit chain for requests of nobody known: so many an hour, then their number, so that probing cannot fill the disk."""

from client.gateway.desk import Desk

ROWS_AN_HOUR = 120
"""Written out; of the rest of an hour one row says how many there were."""

UNLISTED = "gateway.unlisted"

_HOUR_SECONDS = 3600


class Strays:
    """One per process. What a restart forgets is at most an hour's number of rows that were not written out."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._hour, self._listed, self._unlisted = 0, 0, 0

    def note(self, event: str, subject: str, verdict: str) -> None:
        """Append the row, or count it; the first row of another hour comes after the number of those that were only counted.

        Raises:
            FederationError: As the audit chain.
        """
        hour = self._desk.book.now_s() // _HOUR_SECONDS
        if hour != self._hour:
            if self._unlisted:
                self._desk.audit(UNLISTED, "-", str(self._unlisted))
            self._hour, self._listed, self._unlisted = hour, 0, 0
        if self._listed < ROWS_AN_HOUR:
            self._desk.audit(event, subject, verdict)
            self._listed += 1
        else:
            self._unlisted += 1
