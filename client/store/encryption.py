"""Does a folder lie on an encrypted device? Asked of the kernel: /proc/self/mountinfo says which device, sysfs what it stands on.

LUKS and plain dm-crypt carry a device-mapper UUID that begins with CRYPT- (cryptsetup's own mark); a volume group on top of one, or a
RAID below one, is followed through `slaves`. What the kernel cannot see (an array that encrypts, a host's disk) is not found.
"""

from dataclasses import dataclass
from pathlib import Path

_MOST_DEPTH = 8
_CRYPT = "CRYPT-"
_ENCRYPTING = frozenset({"ecryptfs", "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs"})
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a file system is mounted, of what kind it is, and the number of its device (major:minor)."""

    point: str
    device: str
    kind: str


def encryption_of(folder: Path, *, proc: Path = Path("/proc/self/mountinfo"), sys: Path = Path("/sys")) -> str | None:
    """Say what encrypts the device under `folder`, in a word; `None` if nothing that the kernel can see does.

    Args:
        folder: The node's home.
        proc: The kernel's list of mounts.
        sys: Where sysfs is mounted.
    """
    mount = mount_of(folder, proc)
    if mount is None:
        return None
    if mount.kind in _ENCRYPTING:
        return mount.kind
    if mount.kind in _IN_MEMORY:
        return "memory"
    return _encrypts(sys / "dev" / "block" / mount.device, _MOST_DEPTH)


def mount_of(folder: Path, proc: Path) -> Mount | None:
    """Return the mount that `folder` lies in: the longest mount point above it, the last one where several lie on one another."""
    where = str(folder.resolve())
    found: Mount | None = None
    try:
        lines = proc.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        mount = _mount(line)
        if mount is None or not (where == mount.point or where.startswith(mount.point.rstrip("/") + "/")):
            continue
        if found is None or len(mount.point) >= len(found.point):
            found = mount
    return found


def _mount(line: str) -> Mount | None:
    """Read a line of mountinfo (proc(5)): id, parent, device, root, mount point, options, optional fields, -, kind, source, options."""
    before, separator, after = line.partition(" - ")
    words, rest = before.split(), after.split()
    if not separator or len(words) < 5 or not rest:  # noqa: PLR2004 - up to the mount point
        return None
    point = words[4]
    for escape, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(escape, sign)
    return Mount(point, words[2], rest[0])


def _encrypts(device: Path, depth: int) -> str | None:
    """Follow a block device down to what it stands on. All of what it stands on must be encrypted, or it is not."""
    try:
        mark = (device / "dm" / "uuid").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        mark = ""
    if mark.startswith(_CRYPT):
        return "LUKS" if mark.startswith(_CRYPT + "LUKS") else "dm-crypt"
    if depth == 0:
        return None
    try:
        below = sorted((device / "slaves").iterdir())
    except OSError:
        below = []
    if not below and (device / "partition").exists():
        return _encrypts(device.resolve().parent, depth - 1)
    found = [_encrypts(one, depth - 1) for one in below]
    return found[0] if found and all(found) else None
