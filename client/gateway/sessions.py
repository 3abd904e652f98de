"""From a grant to a session at the gateway, and the question on every request: does it still hold?"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from client.gateway.book import Book, ClaimEntry
from client.gateway.grant import PROOF_WINDOW_S, Proof, refused
from client.gateway.keys import ReaderKeys
from client.store.database import transaction
from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError
from protocol.reading import GrantClaims, GrantRevoked
from protocol.shape import OpaqueId, Thumbprint

SILENCE_S = 300
"""Without word from the centre for so long, revocations could be on their way: no grant counts."""

LastHeard = Callable[[], datetime | None]
"""When the link last had word from the centre; None if never, or if the centre has shut the node out since."""


@dataclass(frozen=True, slots=True)
class Session:
    """A reader at the gateway: one claim, one study, until the grant ends."""

    claim: ClaimEntry
    jkt: Thumbprint
    reader_name: str
    expires_s: int


class Sessions:
    """Opens and looks up sessions. The cookie's value is kept as a hash only."""

    def __init__(self, book: Book, keys: ReaderKeys, last_heard: LastHeard) -> None:
        self._book = book
        self._keys = keys
        self._last_heard = last_heard

    def knows(self, claim_id: OpaqueId) -> bool:
        """Say whether the centre's word of this claim has arrived."""
        return self._book.claim(claim_id) is not None

    def open(self, grant: GrantClaims, proof: Proof) -> str:
        """Use the grant up and return the session's cookie.

        Raises:
            RefusedError: `reader-not-approved` if the hospital has not approved the key; `grant-invalid` otherwise.
            UnavailableError: `peer-unreachable` if the centre was silent for too long.
        """
        if proof.jkt != grant.cnf_jkt:
            raise refused("it is bound to another key")
        self._refuse_silence()
        self._approved(grant.cnf_jkt)
        cookie = secrets.token_urlsafe(32)
        with transaction(self._book.connection):
            self._live(grant.claim_id, grant.fence, request_id=grant.request_id, reader_id=grant.sub)
            self._use_proof(proof)
            self._use_grant(grant)
            self._book.connection.execute(
                "INSERT INTO reader_sessions VALUES (?, ?, ?, ?, ?, ?)",
                (_sha256(cookie), grant.jti, grant.claim_id, grant.fence, grant.cnf_jkt, grant.exp),
            )
        return cookie

    def find(self, cookie: str | None) -> Session:
        """Return the session behind the cookie, if it holds now.

        Raises:
            RefusedError: `unauthenticated` without a session; `grant-invalid` or `reader-not-approved` if it has ended.
            UnavailableError: `peer-unreachable` if the centre was silent for too long.
        """
        row = self._book.connection.execute(
            "SELECT s.*, g.revoked_s FROM reader_sessions s JOIN grants_seen g ON g.jti = s.grant_jti"
            " WHERE s.cookie_sha256 = ?",
            (_sha256(cookie or ""),),
        ).fetchone()
        if row is None:
            raise RefusedError(Code.UNAUTHENTICATED, "You have no session here. Open the read from the worklist.")
        if row["revoked_s"] is not None:
            raise refused("it was revoked")
        if self._book.now_s() >= row["expires_s"]:
            raise refused("it has expired")
        self._refuse_silence()
        name = self._approved(row["jkt"])
        claim = self._live(row["claim_id"], row["fence"])
        return Session(claim=claim, jkt=row["jkt"], reader_name=name, expires_s=row["expires_s"])

    def revoke(self, notice: GrantRevoked) -> None:
        """Void a grant, whether or not it was used."""
        with transaction(self._book.connection):
            self._book.connection.execute(
                "INSERT INTO grants_seen (jti, revoked_s) VALUES (?, ?)"
                " ON CONFLICT (jti) DO UPDATE SET revoked_s = coalesce(revoked_s, excluded.revoked_s)",
                (notice.jti, self._book.now_s()),
            )

    def _refuse_silence(self) -> None:
        heard = self._last_heard()
        if heard is None or self._book.now_s() - heard.timestamp() > SILENCE_S:
            raise UnavailableError(
                Code.PEER_UNREACHABLE,
                "The hospital has had no word from the centre for five minutes, or is shut out of the network, so no grant counts. Try again later.",
            )

    def _approved(self, jkt: Thumbprint) -> str:
        key = self._keys.find(jkt)
        if key is None:
            raise RefusedError(
                Code.READER_NOT_APPROVED,
                "This hospital has not approved your key. Send it the thumbprint that the page /reader shows.",
            )
        return key.name

    def _live(
        self, claim_id: OpaqueId, fence: int, *, request_id: OpaqueId | None = None, reader_id: OpaqueId | None = None
    ) -> ClaimEntry:
        """Return the claim if it lives under this fence, and is of this request and reader where they are given."""
        claim = self._book.claim(claim_id)
        if claim is None or request_id not in {None, claim.request_id} or reader_id not in {None, claim.reader_id}:
            raise refused("this hospital knows no such claim")
        if claim.fence != fence or not claim.live:
            raise refused("its claim has ended")
        return claim

    def _use_proof(self, proof: Proof) -> None:
        """Refuse a proof that was seen before. Those older than twice the window could not pass by their time any more."""
        now_s = self._book.now_s()
        self._book.connection.execute("DELETE FROM proofs_seen WHERE seen_s < ?", (now_s - 2 * PROOF_WINDOW_S,))
        fresh = self._book.connection.execute(
            "INSERT OR IGNORE INTO proofs_seen VALUES (?, ?, ?)", (proof.jkt, proof.jti, now_s)
        )
        if fresh.rowcount == 0:
            raise refused("its proof was used before")

    def _use_grant(self, grant: GrantClaims) -> None:
        """Refuse a grant that was used or revoked before. The row stays: it is small, and says when a grant was used."""
        fresh = self._book.connection.execute(
            "INSERT OR IGNORE INTO grants_seen (jti, used_s) VALUES (?, ?)", (grant.jti, self._book.now_s())
        )
        if fresh.rowcount == 0:
            raise refused("it was used or revoked before")


def _sha256(cookie: str) -> str:
    """Our cookies hold 256 random bits, so a plain hash cannot be searched backwards."""
    return hashlib.sha256(cookie.encode()).hexdigest()
