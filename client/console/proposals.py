"""Changes of the policy by two people: one proposes a new text, another confirms it, and only then the file changes.

The file is the truth. A proposal is bound to the text that it would replace by its SHA-256, so that it never undoes an edit that
somebody made meanwhile. Who agreed is in the audit, on the disk, before the file moves; a node that died in between finishes the step
when it looks the next time. An edit by hand stays possible; it is noticed by the same hash, and said.
"""

import fcntl
import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from client.gate.audit import AuditChain
from client.gate.policy_file import parse_policy
from client.staff.accounts import Accounts
from client.store.database import transaction
from client.store.files import disk_faults, write_durably
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, RefusedError

SCHEMA = """
CREATE TABLE IF NOT EXISTS policy_proposal (
    proposal_id TEXT PRIMARY KEY,
    proposed_by TEXT NOT NULL,
    proposed_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    base_sha256 TEXT NOT NULL,
    text TEXT NOT NULL,
    text_sha256 TEXT NOT NULL,
    state TEXT NOT NULL,
    decided_by TEXT,
    decided_at REAL
) STRICT;
CREATE TABLE IF NOT EXISTS policy_text (
    number INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL,
    seen_at REAL NOT NULL,
    proposal_id TEXT
) STRICT;
"""
"""`policy_text` is the history of the file as the console saw it; without a proposal, somebody wrote it outside the console."""

OPEN, CONFIRMED, APPLIED, REJECTED, STALE, EXPIRED = "open", "confirmed", "applied", "rejected", "stale", "expired"

MOST_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A change that somebody proposed. `state` says what became of it; `confirmed` becomes `applied` in the same breath."""

    proposal_id: str
    proposed_by: str
    proposed_at: float
    expires_at: float
    base_sha256: str
    text: str
    text_sha256: str
    state: str
    decided_by: str | None
    decided_at: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A text of the file: since when the console knows it, and the proposal that wrote it, if one did."""

    number: int
    sha256: str
    seen_at: float
    proposal: Proposal | None

    @property
    def outside(self) -> bool:
        """Whether somebody wrote it outside the console; the first text is where the history begins."""
        return self.proposal is None and self.number > 1


class Proposals:
    """The policy file of one node and the changes proposed to it. One object per connection."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, audit: AuditChain, accounts: Accounts,
        clock: Callable[[], datetime], *, patience: timedelta,
    ) -> None:  # fmt: skip
        """Prepare the desk.

        Args:
            connection: The node's database; `audit` must use the same one.
            path: The policy file.
            audit: The chain.
            accounts: To tell who is a person of their own.
            clock: The time.
            patience: How long a proposal waits.
        """
        self._connection = connection
        self._path = path
        self._audit = audit
        self._accounts = accounts
        self._clock = clock
        self._patience = patience

    def text(self) -> str:
        """Return the file as it stands.

        Raises:
            InvalidInputError: `bad-setting` if it is missing or no text.
        """
        try:
            return self._path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(
                Code.BAD_SETTING, f"{self._path.name} is missing or no text. Restore it in the node's folder."
            ) from error

    def look(self) -> Seen:
        """Look at the file: finish what was confirmed, give up what is out of date, and notice an edit by hand.

        Returns:
            The present text.

        Raises:
            InvalidInputError: `bad-setting` if the file cannot be read.
            UnavailableError: `disk-full`.
        """
        with self._alone():
            self._finish()
            present = _sha256(self.text())
            if self._known() != present:
                self._note_edit(present)
            self._give_up(present)
        return self.history()[0]

    def propose(self, text: str, *, base: str, by: str) -> Proposal:
        """Keep a new text until somebody else confirms it.

        Args:
            text: The whole file.
            base: SHA-256 of the text that its author had before their eyes.
            by: Account id.

        Raises:
            InvalidInputError: `bad-setting` as `policy check` says it; `bad-request` if it is too long or changes nothing.
            ConflictError: `already-exists` if another change waits; `stale-fence` if the file is no longer the one of `base`.
        """
        text = _tidied(text)
        if len(text.encode()) > MOST_BYTES:
            raise InvalidInputError(Code.BAD_REQUEST, "The policy is longer than 64 KiB. Shorten its comments.")
        parse_policy(text, subject="The proposed policy")
        if self.look().sha256 != base:
            raise _overtaken()
        if _sha256(text) == base:
            raise InvalidInputError(Code.BAD_REQUEST, "The proposal is what the policy says already. Change something.")
        proposal_id, now = secrets.token_hex(16), self._clock()
        with transaction(self._connection) as connection:
            if connection.execute("SELECT 1 FROM policy_proposal WHERE state = ?", (OPEN,)).fetchone():
                raise ConflictError(
                    Code.ALREADY_EXISTS, "Another change waits to be confirmed. Confirm or reject it first."
                )
            connection.execute(
                "INSERT INTO policy_proposal VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
                (proposal_id, by, now.timestamp(), (now + self._patience).timestamp(), base, text, _sha256(text), OPEN),
            )
            self._audit.write("policy.proposed", f"{by}:{_sha256(text)}", "waits")
        self._audit.advance_head()
        return self.find(proposal_id)

    def confirm(self, proposal_id: str, *, by: str) -> None:
        """Let a proposal take effect.

        Args:
            proposal_id: Which.
            by: Account id of somebody else than who proposed it.

        Raises:
            RefusedError: `forbidden` if the two are not two people.
            ConflictError: `illegal-transition` if it is no longer open; `stale-fence` if the file changed meanwhile.
            InvalidInputError: `not-found`, `bad-setting`.
            UnavailableError: `disk-full`; if the change is not in force then, it will be at the next look.
        """
        proposal = self.find(proposal_id)
        self._refuse_one_person(proposal, by)
        present = self.look().sha256
        proposal = self.find(proposal_id)
        if proposal.state == STALE or (proposal.state == OPEN and proposal.base_sha256 != present):
            raise ConflictError(
                Code.STALE_FENCE,
                "The policy was changed after this was proposed. Propose the change to the present text.",
            )
        if proposal.state != OPEN:
            raise ConflictError(
                Code.ILLEGAL_TRANSITION, f"That change is {proposal.state}. Propose it again if need be."
            )
        parse_policy(proposal.text, subject="The proposed policy")
        with self._alone():
            self._decide(proposal, CONFIRMED, by, "policy.confirmed")
            self._finish()

    def reject(self, proposal_id: str, *, by: str) -> None:
        """Turn a proposal down; whoever made it may do that too.

        Raises:
            ConflictError: `illegal-transition` if it is no longer open.
            InvalidInputError: `not-found`.
        """
        proposal = self.find(proposal_id)
        self._decide(proposal, REJECTED, by, "policy.rejected")

    def waiting(self) -> Proposal | None:
        """Return the proposal that waits, if there is one; `look` comes first."""
        row = self._connection.execute("SELECT * FROM policy_proposal WHERE state = ?", (OPEN,)).fetchone()
        return Proposal(**dict(row)) if row is not None else None

    def find(self, proposal_id: str) -> Proposal:
        """Return one proposal.

        Raises:
            InvalidInputError: `not-found`.
        """
        row = self._connection.execute("SELECT * FROM policy_proposal WHERE proposal_id = ?", (proposal_id,)).fetchone()
        if row is None:
            raise InvalidInputError(Code.NOT_FOUND, "There is no such change. Go back to the policy's page.")
        return Proposal(**dict(row))

    def latest(self, most: int = 20) -> list[Proposal]:
        """Return what was proposed, the newest first."""
        rows = self._connection.execute(
            "SELECT * FROM policy_proposal ORDER BY proposed_at DESC, proposal_id LIMIT ?", (most,)
        )
        return [Proposal(**dict(row)) for row in rows]

    def history(self, most: int = 20) -> list[Seen]:
        """Return the texts that the file had, the newest first."""
        rows = self._connection.execute("SELECT * FROM policy_text ORDER BY number DESC LIMIT ?", (most,))
        return [
            Seen(
                row["number"],
                row["sha256"],
                row["seen_at"],
                self.find(row["proposal_id"]) if row["proposal_id"] else None,
            )
            for row in rows
        ]

    def can_confirm(self, proposal: Proposal, account_id: str) -> bool:
        """Say whether this account and the one that proposed count as two people."""
        return not (
            self._accounts.owes_to(account_id, proposal.proposed_by)
            or self._accounts.owes_to(proposal.proposed_by, account_id)
        )

    def _refuse_one_person(self, proposal: Proposal, by: str) -> None:
        if not self.can_confirm(proposal, by):
            raise RefusedError(
                Code.FORBIDDEN,
                "A change wants two people: neither the one who proposed it, nor somebody whose role or password one gave the other."
                " Ask a third.",
            )

    def _decide(self, proposal: Proposal, state: str, by: str, event: str) -> None:
        """Move an open proposal, with its row in the audit, or not at all."""
        with transaction(self._connection) as connection:
            done = connection.execute(
                "UPDATE policy_proposal SET state = ?, decided_by = ?, decided_at = ? WHERE proposal_id = ? AND state = ?",
                (state, by, self._clock().timestamp(), proposal.proposal_id, OPEN),
            )
            if not done.rowcount:
                raise ConflictError(
                    Code.ILLEGAL_TRANSITION, "That change is no longer open. Look at the policy's page."
                )
            self._audit.write(event, f"{by}:{proposal.text_sha256}", "clear")
        self._audit.advance_head()

    def _finish(self) -> None:
        """Write what was confirmed, unless somebody changed the file in the meantime."""
        rows = self._connection.execute("SELECT * FROM policy_proposal WHERE state = ?", (CONFIRMED,)).fetchall()
        for proposal in (Proposal(**dict(row)) for row in rows):
            present = _sha256(self.text())
            if present == proposal.base_sha256:
                write_durably(self._path, proposal.text.encode())
                present = proposal.text_sha256
            applied = present == proposal.text_sha256
            with transaction(self._connection):
                self._move(proposal, APPLIED if applied else STALE)
                if applied:
                    self._note_text(present, proposal.proposal_id)
                self._audit.write("policy.applied", f"-:{proposal.text_sha256}", "clear" if applied else "stale-fence")
            self._audit.advance_head()

    def _note_edit(self, present: str) -> None:
        """Note a text that no proposal wrote. The first one is where the history begins."""
        first = not self._known()
        with transaction(self._connection):
            self._note_text(present, None)
            if not first:
                self._audit.write("policy.edited", f"-:{present}", "outside-the-console")
        self._audit.advance_head()

    def _give_up(self, present: str) -> None:
        """Close an open proposal that is too old, or whose text was changed under it."""
        proposal = self.waiting()
        if proposal is None:
            return
        old = self._clock().timestamp() >= proposal.expires_at
        if old or proposal.base_sha256 != present:
            with transaction(self._connection):
                self._move(proposal, EXPIRED if old else STALE)
                self._audit.write("policy.lapsed", f"-:{proposal.text_sha256}", EXPIRED if old else STALE)
            self._audit.advance_head()

    def _move(self, proposal: Proposal, state: str) -> None:
        self._connection.execute(
            "UPDATE policy_proposal SET state = ? WHERE proposal_id = ? AND state = ?",
            (state, proposal.proposal_id, proposal.state),
        )

    def _known(self) -> str:
        row = self._connection.execute("SELECT sha256 FROM policy_text ORDER BY number DESC LIMIT 1").fetchone()
        return str(row["sha256"]) if row is not None else ""

    def _note_text(self, sha256: str, proposal_id: str | None) -> None:
        self._connection.execute(
            "INSERT INTO policy_text (sha256, seen_at, proposal_id) VALUES (?, ?, ?)",
            (sha256, self._clock().timestamp(), proposal_id),
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time look and write; the lock dies with its holder."""
        with disk_faults("The policy"), self._path.with_name(f".{self._path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _overtaken() -> ConflictError:
    return ConflictError(
        Code.STALE_FENCE, "The policy was changed meanwhile. Look at its present text and propose the change to that."
    )


def _tidied(text: str) -> str:
    """Browsers send a form's lines with CR LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
