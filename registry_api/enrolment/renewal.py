"""Renewing a node's certificate: a further one under the present one, which ends only when the node has shown that it has the further one."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from sqlmodel import Session, col, delete, select, update

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError
from registry_api.enrolment.authority import Authority, IssuedCertificate, proven_key, serial_hex
from registry_api.enrolment.sites import admitted
from registry_api.enrolment.tables import CertificateRow

OVERLAP = timedelta(minutes=10)
"""How long an earlier certificate still counts: requests and uploads that run under it come to their end."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The certificate under which a node calls, as TLS has verified it."""

    site: str
    certificate: x509.Certificate

    @property
    def serial(self) -> str:
        """Its serial, as it is compared everywhere."""
        return serial_hex(self.certificate.serial_number)


def renew(session: Session, csr_pem: str, *, shown: Shown, authority: Authority, now: datetime) -> IssuedCertificate:
    """Issue a further certificate for the same key. Of earlier ones that no node took up, nothing stays.

    Raises:
        RefusedError: `forbidden` if the certificate that is shown does not count, or was itself never taken up.
        InvalidInputError: `bad-request` if the request is damaged, or is for another key than the enrolled one.
    """
    row = _counting(session, shown, now)
    if row.pending:
        raise _not_yours()
    if proven_key(csr_pem) != shown.certificate.public_key():
        raise InvalidInputError(
            Code.BAD_REQUEST, "A certificate is renewed for its own key. Another key needs another invite."
        )
    session.exec(delete(CertificateRow).where(col(CertificateRow.site) == shown.site, col(CertificateRow.pending)))
    issued = authority.issue(csr_pem, site=shown.site, now=now)
    session.add(CertificateRow(serial=issued.serial, site=shown.site, not_after=issued.not_after, pending=True))
    session.flush()
    return issued


def take_up(session: Session, *, shown: Shown, now: datetime) -> None:
    """Note that the node has the certificate that it shows; the site's earlier ones end after `OVERLAP`. Once or often, it is the same.

    Raises:
        RefusedError: `forbidden` if the certificate does not count.
    """
    row = _counting(session, shown, now)
    if not row.pending:
        return
    row.pending = False
    session.add(row)
    session.exec(
        update(CertificateRow)
        .where(
            col(CertificateRow.site) == shown.site,
            col(CertificateRow.serial) != row.serial,
            col(CertificateRow.revoked_at).is_(None),
            col(CertificateRow.not_after) > now + OVERLAP,
        )
        .values(not_after=now + OVERLAP)
    )


def _counting(session: Session, shown: Shown, now: datetime) -> CertificateRow:
    """Return the row of the certificate that is shown, held until the transaction ends where the database can.

    Raises:
        RefusedError: `forbidden`.
    """
    if not admitted(session, shown.site, shown.serial, now=now):
        raise _not_yours()
    return session.exec(select(CertificateRow).where(CertificateRow.serial == shown.serial).with_for_update()).one()


def _not_yours() -> RefusedError:
    return RefusedError(Code.FORBIDDEN, "This certificate does not count any more. Enrol anew with an invite.")
