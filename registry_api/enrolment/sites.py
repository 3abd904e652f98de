"""Sites: enrolled with an invite, listed for the federation side, revoked for good or until the next invite."""

from collections.abc import Collection
from datetime import datetime

from sqlmodel import Session, col, select, update

from protocol.codes import Code
from protocol.enrolment import EnrolRequest, SiteEntry, server_name
from protocol.errors import ConflictError, InvalidInputError
from registry_api.enrolment.authority import Authority, IssuedCertificate
from registry_api.enrolment.invites import end_invites, use_invite
from registry_api.enrolment.tables import CertificateRow, SiteRow
from registry_api.releases.query import may_see
from registry_api.units.service import read_tree


def enrol(
    session: Session, request: EnrolRequest, *, authority: Authority, now: datetime
) -> tuple[SiteRow, IssuedCertificate]:
    """Use the invite, issue the node's certificate and note its keys. Certificates of an earlier enrolment end.

    Raises:
        ConflictError: `invite-used`; `already-exists` if another site has that SuperNode key or that tunnel key, or would lose its readers.
        RefusedError: `invite-invalid`.
        InvalidInputError: `bad-request` for a bad signing request.
    """
    site = use_invite(session, request.token, now=now)
    issued = authority.issue(request.csr_pem, site=site.site, now=now)
    _refuse_shared_keys(session, site.site, request)
    _refuse_takeover(session, site, request)
    _end_certificates(session, site.site, now)
    session.add(CertificateRow(serial=issued.serial, site=site.site, not_after=issued.not_after))
    site.supernode_key = request.supernode_key
    site.gateway_origin, site.gateway_pin = request.gateway_origin, request.gateway_pin
    site.tunnel_key = request.tunnel_key
    site.enrolled_at, site.revoked_at = now, None
    site.joined_at = site.joined_at or now
    session.add(site)
    session.flush()
    return site, issued


def revoke_site(session: Session, site: str, *, now: datetime) -> None:
    """Shut a site out: its certificates end and its stream is cut within a second. An invite that it still holds lets it in no more.

    Raises:
        InvalidInputError: `not-found` if there is no such site.
    """
    row = session.get(SiteRow, site)
    if row is None:
        raise InvalidInputError(Code.NOT_FOUND, f"There is no site {site}. `acinus-registry sites` lists them.")
    row.revoked_at = now
    session.add(row)
    end_invites(session, site, now=now)
    _end_certificates(session, site, now)


def expect_studies(session: Session, site: str, *, weekly: int) -> None:
    """Note how many studies a week a site says it makes: what its completeness is measured against.

    Raises:
        InvalidInputError: `not-found` if there is no such site.
    """
    row = session.get(SiteRow, site)
    if row is None:
        raise InvalidInputError(Code.NOT_FOUND, f"There is no site {site}. `acinus-registry sites` lists them.")
    row.expected_weekly = weekly
    session.add(row)


def list_sites(session: Session, *, now: datetime) -> list[SiteEntry]:
    """Return every site with the serials of its valid certificates, by name.

    The certificate that is to be used comes first; then those that are pending, or end because of it.
    """
    serials: dict[str, list[str]] = {}
    newest_first = (
        select(CertificateRow)
        .where(col(CertificateRow.revoked_at).is_(None))
        .order_by(col(CertificateRow.pending), col(CertificateRow.not_after).desc(), CertificateRow.serial)
    )
    for row in session.exec(newest_first):
        if row.not_after > now:
            serials.setdefault(row.site, []).append(row.serial)
    return [
        SiteEntry(
            site=row.site,
            region=row.region,
            supernode_key=row.supernode_key,
            active=row.active,
            certificate_serials=tuple(serials.get(row.site, [])),
            gateway_origin=row.gateway_origin,
            gateway_pin=row.gateway_pin,
            tunnel_key=row.tunnel_key,
            tunnel_port=row.tunnel_port,
        )
        for row in session.exec(select(SiteRow).order_by(SiteRow.site))
    ]


def sites_within(session: Session, region: str | None) -> frozenset[str] | None:
    """Return the names of the sites in a country or region, or below it; None, which is every one, for no place."""
    if region is None:
        return None
    tree = read_tree(session)
    rows = session.exec(select(SiteRow.site, SiteRow.region))
    return frozenset(site for site, own in rows if may_see(tree.place_of(own), region))


def active_sites(session: Session) -> list[str]:
    """Return the names of the sites whose nodes may connect."""
    return [row.site for row in session.exec(select(SiteRow).order_by(SiteRow.site)) if row.active]


def admitted(session: Session, site: str, serial: str, *, now: datetime) -> bool:
    """Say whether the node of `site` may connect with the certificate of that serial."""
    return not shut_out(session, [(site, serial)], now=now)


def shut_out(session: Session, nodes: Collection[tuple[str, str]], *, now: datetime) -> set[tuple[str, str]]:
    """Return those nodes that may not connect, of `nodes` by site and serial: in one query, however many there are."""
    may = (
        select(CertificateRow.site, CertificateRow.serial)
        .join(SiteRow, col(SiteRow.site) == CertificateRow.site)
        .where(
            col(CertificateRow.site).in_({site for site, _ in nodes}),
            col(CertificateRow.revoked_at).is_(None),
            col(CertificateRow.not_after) > now,
            col(SiteRow.enrolled_at).is_not(None),
            col(SiteRow.revoked_at).is_(None),
        )
    )
    return set(nodes) - {(site, serial) for site, serial in session.exec(may)}


def _refuse_shared_keys(session: Session, site: str, request: EnrolRequest) -> None:
    """Two sites with one key would be one in the eyes of the SuperLink, or of the relay."""
    keys = [("SuperNode", SiteRow.supernode_key == request.supernode_key)]
    if request.tunnel_key is not None:
        keys.append(("tunnel", SiteRow.tunnel_key == request.tunnel_key))
    for kind, same in keys:
        others = session.exec(select(SiteRow).where(same, SiteRow.site != site))
        if any(other.active for other in others):
            raise ConflictError(Code.ALREADY_EXISTS, f"Another site uses that {kind} key. Make keys of your own.")


def _refuse_takeover(session: Session, site: SiteRow, request: EnrolRequest) -> None:
    """Let no site come back under the name of one that enrolled after it: a name that two have leads at the relay to the lower port.

    Whoever enrols later under a name that is taken has the higher port and no route; nor does it keep the first from enrolling again.
    """
    name = server_name(request.gateway_origin)
    if name is None or site.tunnel_port is None or (site.active and name == server_name(site.gateway_origin)):
        return
    for other in session.exec(select(SiteRow).where(SiteRow.site != site.site)):
        later = other.tunnel_port is None or other.tunnel_port > site.tunnel_port
        if other.active and later and server_name(other.gateway_origin) == name:
            raise ConflictError(
                Code.ALREADY_EXISTS, f"Another site's readers come by the name {name}. Correct the gateway's origin."
            )


def _end_certificates(session: Session, site: str, now: datetime) -> None:
    session.exec(
        update(CertificateRow)
        .where(col(CertificateRow.site) == site, col(CertificateRow.revoked_at).is_(None))
        .values(revoked_at=now)
    )
