"""Is the home encrypted? Asked of invented kernels."""

from pathlib import Path

import pytest

from client.store.encryption import encryption_of, mount_of


class Kernel:
    """A mountinfo and a sysfs of a test's own making."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lines = folder, list[str]()
        self.proc, self.sys = folder / "mountinfo", folder / "sys"
        (self.sys / "dev" / "block").mkdir(parents=True)
        (self.sys / "block").mkdir()

    def device(self, name: str, number: str, *, uuid: str = "", on: tuple[str, ...] = (), of: str = "") -> None:
        home = self.sys / "block" / of / name if of else self.sys / "block" / name
        (home / "slaves").mkdir(parents=True)
        if of:
            (home / "partition").write_text("1\n")
        if uuid:
            (home / "dm").mkdir()
            (home / "dm" / "uuid").write_text(uuid + "\n")
        for below in on:
            (home / "slaves" / below).symlink_to(self.sys / "block" / below)
        (self.sys / "dev" / "block" / number).symlink_to(home)

    def mount(self, point: Path | str, number: str, kind: str = "ext4") -> None:
        written = str(point).replace(" ", "\\040")
        self.lines.append(f"36 35 {number} / {written} rw,noatime shared:1 - {kind} /dev/x rw")
        self.proc.write_text("\n".join(self.lines) + "\n")

    def finds(self, folder: Path) -> str | None:
        return encryption_of(folder, proc=self.proc, sys=self.sys)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_luks_under_the_home_is_seen(kernel: Kernel, tmp_path: Path) -> None:
    kernel.device("sda1", "8:1")
    kernel.device("dm-0", "253:0", uuid="CRYPT-LUKS2-00112233-acinus", on=("sda1",))
    kernel.mount("/", "8:1")
    kernel.mount(tmp_path / "a home", "253:0")
    assert kernel.finds(tmp_path / "a home" / "node") == "LUKS"
    assert kernel.finds(tmp_path / "a homeless") is None
    assert kernel.finds(Path("/elsewhere")) is None


def test_a_volume_on_top_of_luks_is_encrypted_and_a_half_encrypted_one_is_not(kernel: Kernel, tmp_path: Path) -> None:
    kernel.device("sda1", "8:1")
    kernel.device("dm-0", "253:0", uuid="CRYPT-PLAIN-x", on=("sda1",))
    kernel.device("dm-1", "253:1", uuid="LVM-abc", on=("dm-0",))
    kernel.device("dm-2", "253:2", uuid="LVM-def", on=("dm-0", "sda1"))
    kernel.mount(tmp_path / "whole", "253:1")
    kernel.mount(tmp_path / "half", "253:2")
    assert kernel.finds(tmp_path / "whole") == "dm-crypt"
    assert kernel.finds(tmp_path / "half") is None


def test_a_partition_of_an_encrypted_device_is_encrypted(kernel: Kernel, tmp_path: Path) -> None:
    kernel.device("dm-0", "253:0", uuid="CRYPT-LUKS1-y")
    kernel.device("dm-0p1", "253:1", of="dm-0")
    kernel.mount(tmp_path, "253:1")
    assert kernel.finds(tmp_path) == "LUKS"


def test_the_last_mount_on_a_place_counts(kernel: Kernel, tmp_path: Path) -> None:
    kernel.device("dm-0", "253:0", uuid="CRYPT-LUKS2-z")
    kernel.device("sdb", "8:16")
    kernel.mount(tmp_path, "8:16")
    kernel.mount(tmp_path, "253:0")
    assert kernel.finds(tmp_path) == "LUKS"
    kernel.mount(tmp_path, "0:40", kind="tmpfs")
    assert kernel.finds(tmp_path) == "memory"
    kernel.mount(tmp_path, "0:41", kind="fuse.gocryptfs")
    assert kernel.finds(tmp_path) == "fuse.gocryptfs"


def test_devices_in_a_circle_and_kernels_without_answers_are_no_encryption(kernel: Kernel, tmp_path: Path) -> None:
    kernel.device("dm-0", "253:0", uuid="LVM-a", on=("dm-1",))
    kernel.device("dm-1", "253:1", uuid="LVM-b", on=("dm-0",))
    kernel.mount(tmp_path, "253:0")
    kernel.lines.append("nonsense")
    assert kernel.finds(tmp_path) is None
    assert encryption_of(tmp_path, proc=tmp_path / "absent", sys=kernel.sys) is None
    kernel.mount(tmp_path, "0:9")
    assert kernel.finds(tmp_path) is None


def test_this_machines_own_kernel_answers(tmp_path: Path) -> None:
    mount = mount_of(tmp_path, Path("/proc/self/mountinfo"))
    assert mount is not None
    assert encryption_of(tmp_path) in {None, "LUKS", "dm-crypt", "memory"}
