"""From a grant to a session at the gateway, and the question on every request: does it still hold?"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from client.gateway.book import Book
from client.gateway.grant import PROOF_WINDOW_S, SKEW_S, Proof, refused
from client.gateway.keys import ReaderKeys
from client.gateway.records import ClaimEntry, studies_from
from client.store.database import transaction
from protocol.case import AgeBand
from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError
from protocol.reading import GRANT_SECONDS_MAX, GrantClaims, GrantRevoked, GrantScope, kinds_of
from protocol.shape import OpaqueId, Thumbprint

SILENCE_S = 300
"""Without word from the centre for so long, revocations could be on their way: no grant counts."""

_SESSION = """
SELECT s.*, (SELECT max(g.revoked_s) FROM session_grants b JOIN grants_seen g USING (jti) WHERE b.cookie_sha256 = s.cookie_sha256)
    AS revoked_s
FROM gateway_sessions s WHERE s.cookie_sha256 = ?
"""
_RENEWAL = """
SELECT jti, expires_s FROM grant_renewals WHERE claim_id = ? AND fence = ? AND jkt = ? AND expires_s > ?
    AND jti NOT IN (SELECT jti FROM grants_seen WHERE revoked_s IS NOT NULL)
ORDER BY expires_s DESC LIMIT 1
"""

_PRIVILEGE = """
SELECT granted, until_s, studies, json_extract(post, '$.age_band') AS age_band
FROM reader_privileges LEFT JOIN reader_privilege_limits USING (reader_id), read_requests WHERE reader_id = ? AND request_id = ?
"""

LastHeard = Callable[[], datetime | None]
"""When the link last had word from the centre; None if never, or if the centre has shut the node out since."""


Impersonated = Callable[[], bool]
"""Says whether readers outside were last shown another key than this gateway's."""


@dataclass(frozen=True, slots=True)
class Session:
    """A reader at the gateway: one claim, one study, until the grant ends."""

    claim: ClaimEntry
    jkt: Thumbprint
    reader_name: str
    scope: GrantScope
    ath: str
    """Hash of the grant that opened it; a proof that prolongs the session is made for this grant."""
    expires_s: int

    def refuse_mere_viewer(self) -> None:
        """Let only those write who were given leave to.

        Raises:
            RefusedError: `forbidden`.
        """
        if self.scope is not GrantScope.REPORT:
            raise RefusedError(Code.FORBIDDEN, "Your grant is for looking only. Ask the centre for one to report.")


class Sessions:
    """Opens and looks up sessions. The cookie's value is kept as a hash only."""

    def __init__(
        self, book: Book, keys: ReaderKeys, last_heard: LastHeard, impersonated: Impersonated = lambda: False
    ) -> None:
        self._book = book
        self._keys = keys
        self._last_heard = last_heard
        self._impersonated = impersonated

    def knows(self, claim_id: OpaqueId) -> bool:
        """Say whether the centre's word of this claim has arrived."""
        return self._book.claim(claim_id) is not None

    def open(self, grant: GrantClaims, proof: Proof, *, ath: str) -> str:
        """Use the grant up and return the session's cookie.

        Args:
            grant: What it says.
            proof: Of the reader's key.
            ath: The grant's hash.

        Raises:
            RefusedError: `reader-not-approved` if the hospital has not approved the key; `peer-untrusted` while somebody else answers
                readers under the hospital's name; `grant-invalid` otherwise.
            UnavailableError: `peer-unreachable` if the centre was silent for too long.
        """
        if proof.jkt != grant.cnf_jkt:
            raise refused("it is bound to another key")
        self._refuse_stranger()
        self._refuse_silence()
        self._approved(grant.cnf_jkt)
        cookie = secrets.token_urlsafe(32)
        with transaction(self._book.connection):
            self._live(grant.claim_id, grant.fence, request_id=grant.request_id, reader_id=grant.sub)
            self._use_proof(proof)
            self._use_grant(grant)
            self._book.connection.execute(
                "INSERT INTO gateway_sessions VALUES (?, ?, ?, ?, ?, ?, ?)",
                (_sha256(cookie), grant.claim_id, grant.fence, grant.cnf_jkt, ath, grant.scope.value, grant.exp),
            )
            self._bind(cookie, grant.jti)
        return cookie

    def find(self, cookie: str | None) -> Session:
        """Return the session behind the cookie, if it holds now.

        Raises:
            RefusedError: `unauthenticated` without a session; `grant-invalid` or `reader-not-approved` if it has ended; `peer-untrusted`
                while somebody else answers readers under the hospital's name.
            UnavailableError: `peer-unreachable` if the centre was silent for too long.
        """
        row = self._book.connection.execute(_SESSION, (_sha256(cookie or ""),)).fetchone()
        if row is None:
            raise RefusedError(Code.UNAUTHENTICATED, "You have no session here. Open the read from the worklist.")
        if row["revoked_s"] is not None:
            raise refused("it was revoked")
        if not 0 < row["expires_s"] - self._book.now_s() <= GRANT_SECONDS_MAX + SKEW_S:
            raise refused("it has expired")  # or the hospital's clock was set back: then it would go on for as long
        self._refuse_stranger()
        self._refuse_silence()
        name = self._approved(row["jkt"])
        claim = self._live(row["claim_id"], row["fence"])
        return Session(
            claim=claim, jkt=row["jkt"], reader_name=name, scope=GrantScope(row["scope"]), ath=row["ath"],
            expires_s=row["expires_s"],
        )  # fmt: skip

    def offer(self, grant: GrantClaims) -> None:
        """Keep a fresh grant of the centre for a session that stands: it opens nothing by itself.

        Args:
            grant: As `read_grant` found it to hold; it came over the link.
        """
        with transaction(self._book.connection):
            self._book.connection.execute("DELETE FROM grant_renewals WHERE expires_s <= ?", (self._book.now_s(),))
            self._book.connection.execute(
                "INSERT OR IGNORE INTO grant_renewals VALUES (?, ?, ?, ?, ?)",
                (grant.jti, grant.claim_id, grant.fence, grant.cnf_jkt, grant.exp),
            )

    def prolong(self, cookie: str | None, proof: Proof) -> Session:
        """Let a session go on as long as the centre's last grant for its claim and key, and return it.

        Two must agree: the centre, by a fresh grant, and the reader, by a fresh proof; a stolen cookie alone cannot be kept alive. The
        scope stays what it was. Without a fresh grant nothing changes.

        Raises:
            RefusedError: As `find`; `grant-invalid` if the proof is by another key or was used before.
            UnavailableError: As `find`.
        """
        session = self.find(cookie)
        if proof.jkt != session.jkt:
            raise refused("its proof is by another key")
        with transaction(self._book.connection) as connection:
            self._use_proof(proof)
            fresh = connection.execute(
                _RENEWAL, (session.claim.claim_id, session.claim.fence, session.jkt, session.expires_s)
            ).fetchone()
            if fresh is not None:
                connection.execute(
                    "INSERT OR IGNORE INTO grants_seen (jti, used_s) VALUES (?, ?)", (fresh["jti"], self._book.now_s())
                )
                connection.execute(
                    "UPDATE gateway_sessions SET expires_s = ? WHERE cookie_sha256 = ?",
                    (fresh["expires_s"], _sha256(cookie or "")),
                )
                self._bind(cookie or "", fresh["jti"])
        return self.find(cookie)

    def revoke(self, notice: GrantRevoked) -> None:
        """Void a grant, whether or not it was used."""
        with transaction(self._book.connection):
            self._book.connection.execute(
                "INSERT INTO grants_seen (jti, revoked_s) VALUES (?, ?)"
                " ON CONFLICT (jti) DO UPDATE SET revoked_s = coalesce(revoked_s, excluded.revoked_s)",
                (notice.jti, self._book.now_s()),
            )

    def _bind(self, cookie: str, jti: OpaqueId) -> None:
        """Note that the session hangs on this grant too: whichever of them is revoked ends it."""
        self._book.connection.execute("INSERT OR IGNORE INTO session_grants VALUES (?, ?)", (_sha256(cookie), jti))

    def _refuse_stranger(self) -> None:
        """Show nobody anything while somebody else answers under the hospital's name: whoever comes may come through them."""
        if self._impersonated():
            raise RefusedError(
                Code.PEER_UNTRUSTED,
                "Somebody else answers readers under this hospital's name, so no study is shown. Tell the hospital.",
            )

    def _refuse_silence(self) -> None:
        """A word from a time that is yet to come is from before the clock was set back, and nobody knows how old."""
        heard = self._last_heard()
        if heard is None or not -SKEW_S <= self._book.now_s() - heard.timestamp() <= SILENCE_S:
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
        self._refuse_unprivileged(claim)
        return claim

    def _refuse_unprivileged(self, claim: ClaimEntry) -> None:
        """Hold the hospital's own word against the reader: a centre that goes on granting does not get round it.

        Of whom the hospital has said nothing the approval of the key says enough.
        """
        row = self._book.connection.execute(_PRIVILEGE, (claim.reader_id, claim.request_id)).fetchone()
        if row is None:
            return
        if not (row["granted"] and (row["until_s"] is None or self._book.now_s() < row["until_s"])):
            raise refused("the hospital's privilege of this reader has ended")
        if not kinds_of(AgeBand(row["age_band"])) <= studies_from(row["studies"]):
            raise refused("the hospital's privilege of this reader is for other studies")

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
