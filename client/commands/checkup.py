"""What `acinus-node doctor` looks at. Each check says what it found and, if that is wrong, what to do."""

import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from client.commands import outward, tls
from client.commands.check import Check, Look, looked
from client.commands.supervisor import can_listen, ports_of
from client.gate.certificate import renewal_time
from client.gate.keys import INSIDE_CERTIFICATE, load_certificate, supernode_public
from client.gate.lists import ReleaseList
from client.gate.policy_file import load_policy
from client.gate.proxy import adopt_proxy
from client.gate.trust import CERTIFICATE, NODE_KEY, is_enrolled, load_centre
from client.parts import is_running
from client.settings import NodeSettings, load_settings
from client.store.encryption import encryption_of
from protocol.codes import MEANINGS, Code
from protocol.enrolment import Invite
from protocol.errors import InvalidInputError, RefusedError, UnavailableError

_WARN_DAYS = 7
_RENEWAL_TAKES = timedelta(minutes=10)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def examine(home: Path, invite: Invite | None = None) -> list[Check]:
    """Look at everything; a failure of one check never keeps another from being made.

    Args:
        home: The node's.
        invite: One that is not used yet: before enrolment it alone says where the centre is.

    Raises:
        InvalidInputError: `bad-setting` if there is no node in `home` or its settings cannot be read: nothing else can be looked at.
    """
    settings = load_settings(home)
    adopt_proxy(settings.network.proxy)
    looks: list[Look] = [
        _policy, _keys, _callers, _receiver_tls, _gateway_certificate, _pacs_tls, outward.pacs_dicomweb, outward.pacs_dimse, _ports, _disk,
        _encryption, _audit, _ledger, _model, _device, _enrolment,
    ]  # fmt: skip
    if invite is not None:
        looks += outward.invited(invite)
    elif is_enrolled(settings.trust):
        looks += [
            _certificate,
            _releases,
            outward.proxy,
            outward.registry,
            outward.centre_ports,
            outward.admission,
            outward.relay,
        ]
        if settings.relay.address:
            looks.append(outward.outside)
    return [Check("settings", f"{home}/node.toml is in order"), *(looked(look, settings) for look in looks)]


def _policy(settings: NodeSettings) -> Check:
    training = load_policy(settings.policy).training
    said = f"training {'allowed' if training.allowed else 'not allowed'}, ε up to {training.epsilon_total:g}"
    if training.allowed and not training.bundles:
        return Check("policy", f"{said}; no bundle is listed, so every run is refused", advice=True)
    return Check("policy", said)


def _keys(settings: NodeSettings) -> Check:
    supernode_public(settings.keys)
    if not (settings.keys / NODE_KEY).is_file():
        raise UnavailableError(Code.MISSING_CERTIFICATE, f"{settings.keys / NODE_KEY} is missing. Restore it.")
    loose = [path.name for path in settings.keys.iterdir() if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    if loose:
        raise RefusedError(
            Code.FORBIDDEN,
            f"others may read {', '.join(sorted(loose))}. Run `chmod 600` on every file in {settings.keys}.",
        )
    from client.rooms.imaging import open_key_ring

    ring = open_key_ring(settings).held()
    earlier = f", {len(ring) - 1} earlier pseudonym keys" if len(ring) > 1 else ""
    return Check("keys", f"present, closed to others{earlier}")


def _callers(settings: NodeSettings) -> Check:
    callers = settings.dicom.allowed_callers
    if not callers:
        return Check(
            "senders", "nobody may send: name AE titles under [dicom] allowed_callers in node.toml", advice=True
        )
    return Check("senders", ", ".join(callers))


def _receiver_tls(settings: NodeSettings) -> Check:
    days = tls.receiver_days(settings)
    if days is None:
        inside = settings.dicom.host in _LOOPBACK
        said = "not needed on loopback" if inside else "not spoken: name tls_certificate and tls_key under [dicom]"
        return Check("receiver tls", said, advice=not inside)
    return Check("receiver tls", f"valid for {days} days", advice=days < _WARN_DAYS)


def _gateway_certificate(settings: NodeSettings) -> Check:
    _validity("inside", settings.keys / INSIDE_CERTIFICATE, "Start the node anew: `acinus-node run` renews it.")
    days = tls.gateway_days(settings)
    return Check("gateway", f"valid for {days} days", advice=days < _WARN_DAYS)


def _pacs_tls(settings: NodeSettings) -> Check:
    days = tls.pacs_days(settings)
    if days is not None:
        return Check("pacs tls", f"valid for {days} days", advice=days < _WARN_DAYS)
    if settings.pacs.send == "c-store" and not settings.pacs.tls:
        return Check("pacs tls", "findings go to the PACS unencrypted: set tls under [pacs] if it can", advice=True)
    return Check("pacs tls", "no file of its own is named")


def _certificate(settings: NodeSettings) -> Check:
    """Say how long the node's own certificate is good, and whether its renewal goes as it should."""
    from client.rooms.border import open_renewals

    path = settings.trust / CERTIFICATE
    found = _validity("certificate", path, "Enrol again with a new invite.")
    due, last = renewal_time(load_certificate(path)), open_renewals(settings).last()
    if last is not None and last.code is not None and last.tried >= due:
        why = f"its renewal fails since {due:%Y-%m-%d} with {last.code}: {MEANINGS[last.code][1]}"
        return Check("certificate", f"{found.said}; {why} The node goes on trying; tell the coordinator.", advice=True)
    if due + _RENEWAL_TAKES < datetime.now(UTC):
        return Check("certificate", f"{found.said}; due for renewal: `acinus-node run` does it by itself.", advice=True)
    return Check("certificate", f"{found.said}, renewed by itself from {due:%Y-%m-%d}")


def _releases(settings: NodeSettings) -> Check:
    """Say how old the centre's word is that there is no newer model release."""
    until = ReleaseList(settings.trust).good_until()
    if until is None:
        return Check("releases", "no list of the centre's yet: a running node fetches it", advice=True)
    if until <= datetime.now(UTC):
        raise UnavailableError(
            Code.RELEASES_STALE,
            f"the centre's list of releases expired on {until:%Y-%m-%d}: newer ones may be held back. Is the node running? Ask the coordinator.",
        )
    return Check("releases", f"the list is good until {until:%Y-%m-%d}")


def _validity(name: str, path: Path, remedy: str) -> Check:
    """Say how long a certificate is still valid.

    Raises:
        UnavailableError: `missing-certificate` if it is absent or has expired.
    """
    left = load_certificate(path).not_valid_after_utc - datetime.now(UTC)
    if left.total_seconds() <= 0:
        raise UnavailableError(Code.MISSING_CERTIFICATE, f"{path} expired {-left.days} days ago. {remedy}")
    return Check(name, f"valid for {left.days} days", advice=left.days < _WARN_DAYS)


def _ports(settings: NodeSettings) -> Check:
    if is_running(settings.home):
        return Check("ports", "in use by this node, which is running")
    taken = [
        f"{port} ({key})"
        for host, port, key in ports_of(settings, enrolled=is_enrolled(settings.trust))
        if not can_listen(host, port)
    ]
    if taken:
        raise UnavailableError(Code.PORT_TAKEN, f"taken: {', '.join(taken)}. Stop those programs or change node.toml.")
    return Check("ports", "free")


def _disk(settings: NodeSettings) -> Check:
    free = shutil.disk_usage(settings.home).free // (1024 * 1024)
    if free < settings.dicom.minimum_free_mb:
        raise UnavailableError(
            Code.DISK_FULL, f"{free} MB free, {settings.dicom.minimum_free_mb} MB demanded by [dicom] minimum_free_mb."
        )
    return Check("disk", f"{free // 1024} GB free")


def _encryption(settings: NodeSettings) -> Check:
    found = encryption_of(settings.home)
    if found is None:
        said = (
            "no encryption of the home's device is visible; docs/how-to/encrypt.md says how, if nothing below does it"
        )
        return Check("encryption", said, advice=True)
    return Check("encryption", f"the home lies on {found}")


def _audit(settings: NodeSettings) -> Check:
    from client.rooms.border import open_gate

    return Check("audit", f"{open_gate(settings).audit.verify().number} rows verify")


def _ledger(settings: NodeSettings) -> Check:
    from client.rooms.training import open_ledger

    return Check("ledger", f"{len(open_ledger(settings).history())} charges verify, and the audit knows of no other")


def _model(settings: NodeSettings) -> Check:
    from client.rooms.imaging import open_shelf

    shelf = open_shelf(settings)
    present, loaded = shelf.current(), shelf.load().release
    if loaded != present:
        said = (
            f"{present} does not verify any more, so {loaded} is in use; ask the coordinator to promote {present} again"
        )
        return Check("model", said, advice=True)
    return Check("model", f"{loaded} loads and verifies")


def _device(settings: NodeSettings) -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("device", torch.cuda.get_device_name(0))
    if settings.compute.device == "cuda":
        raise InvalidInputError(
            Code.BAD_SETTING, "[compute] device is cuda, but torch sees no GPU. Install its driver, or set auto."
        )
    return Check("device", "CPU; no GPU that torch can use")


def _enrolment(settings: NodeSettings) -> Check:
    if not is_enrolled(settings.trust):
        return Check(
            "enrolment",
            "not enrolled: `doctor --invite INVITE` looks at the way to the centre, `enrol INVITE` joins",
            advice=True,
        )
    centre = load_centre(settings.trust)
    return Check("enrolment", f"{centre.site} in {centre.region}, registry {centre.registry}")
