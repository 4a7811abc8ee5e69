"""The inside of the lab VM (L1): how it boots, what runs in it, who may log in.

Initial root: our own, with what it takes to mount the shared read-only disk under a layer in
memory. Then busybox's init runs RC once and keeps sshd alive. No systemd, no udev: a cold boot
takes seconds, and nothing runs in L1 that the harness did not ask for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.guest.image import cpio, initramfs
from harness.guest.image.modules import KernelTree
from harness.hosts.local import LocalHost

NAME = "nicproof-lab"
"""L1's host name, and the name under which its key is known, whatever the port."""

DESTINATION = "root@127.0.0.1"

ADDRESS = "10.0.2.15"
"""L1's address in QEMU's user network (its documented default for the first guest)."""

BOOT_MODULES = ("virtio_blk", "crc32c_generic", "crc32c-intel", "ext4", "overlay")
"""The checksums are ext4's; it asks for them by an alias, which modules.dep does not tell."""

LAB_MODULES = (
    *("virtio_net", "igb", "igbvf", "vfio-pci", "tun", "macvtap", "vhost-net", "veth", "bridge"),
)
"""Loaded at the start. The KVM module is chosen by the CPU."""

QUICK_MODULES = (*LAB_MODULES, "kvm-amd", "kvm-intel", "sch_netem", "8021q")

APPLETS = ("sh", "mount", "modprobe", "mkdir", "cp", "switch_root", "umount", "sleep")

OTHER_CPUS = "nicproof.cpus"
"""Word of the kernel's command line: the CPUs for all that no run places elsewhere, as systemd's
CPUAffinity has them on a real host. With a dot, so that the kernel takes it for a module's."""

INIT = r"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
modprobe -a virtio_blk crc32c_intel crc32c_generic ext4 overlay
mkdir -p /disk /layer /new
mount -t ext4 -o ro,noatime /dev/vda /disk
mount -t tmpfs -o mode=755 layer /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/disk,upperdir=/layer/upper,workdir=/layer/work root /new
cp -a /lab/. /new/
for each in proc sys dev; do mount -o move "/$each" "/new/$each"; done
exec switch_root /new /usr/bin/busybox init
"""

INITTAB = """\
::sysinit:/etc/nicproof/rc
::respawn:/usr/sbin/sshd -D -e
"""

RC = rf"""#!/bin/sh
export PATH=/usr/sbin:/usr/bin
exec >/dev/console 2>&1
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
ln -sf /proc/self/fd /dev/fd
mkdir -p /run/sshd /run/lock
hostname {NAME}
cpus=$(sed -n 's/.*{OTHER_CPUS}=\([0-9,-]*\).*/\1/p' /proc/cmdline)
[ -z "$cpus" ] || for pid in 1 $$; do taskset -pc "$cpus" $pid >/dev/null; done
ip link set lo up
case "$(grep -m1 ^flags /proc/cpuinfo)" in
*\ svm*) modprobe kvm-amd nested=1 ;;
*\ vmx*) modprobe kvm-intel nested=1 ;;
esac
modprobe -a {" ".join(LAB_MODULES)}
for port in /sys/class/net/*; do
    port=${{port##*/}}
    case "$(readlink "/sys/class/net/$port/device/driver")" in
    */virtio_net)
        ip link set "$port" name mgmt
        ip addr add {ADDRESS}/24 dev mgmt
        ip link set mgmt up ;;
    */igb) ip link set "$port" up ;;
    esac
done
echo "nicproof: the lab is up"
"""

SSHD_CONFIG = """\
# Only from the controller, over QEMU's user network, with the lab's own key.
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
LogLevel ERROR
# A virtual clock may run ahead of ours, so no timer may end a login.
LoginGraceTime 0
# Each command of the harness is a session of one connection.
MaxSessions 500
MaxStartups 100
Subsystem sftp internal-sftp
"""

FILES = (
    ("etc/inittab", INITTAB, 0o644),
    ("etc/nicproof/rc", RC, 0o755),
    ("etc/ssh/sshd_config", SSHD_CONFIG, 0o644),
    ("etc/hostname", f"{NAME}\n", 0o644),
    ("etc/hosts", f"127.0.0.1 localhost {NAME}\n", 0o644),
    ("etc/resolv.conf", "", 0o644),
    ("etc/fstab", "", 0o644),
)


@dataclass(frozen=True)
class Keys:
    """A lab's ssh keys: the controller's and L1's own."""

    directory: Path

    @property
    def client(self) -> Path:
        return self.directory / "client"

    @property
    def host(self) -> Path:
        return self.directory / "host"

    @property
    def known_hosts(self) -> Path:
        """Holds L1's key and no other."""
        return self.directory / "known_hosts"


def make_keys(directory: Path) -> Keys:
    """New keys in `directory` (mode 0700)."""
    directory.mkdir(mode=0o700)
    keys = Keys(directory)
    for path in (keys.client, keys.host):
        LocalHost().run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)))
    public = keys.host.with_suffix(".pub").read_text().strip()
    keys.known_hosts.write_text(f"{NAME} {public}\n")
    return keys


def furnish(root: Path) -> None:
    """Put L1's own configuration into a Debian root tree."""
    for path, text, mode in FILES:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)


def initrd(root: Path, keys: Keys) -> bytes:
    """L1's initial root. It carries the keys, so it is as secret as they are."""
    return cpio.pack(_content(root, keys))


def _content(root: Path, keys: Keys) -> Iterator[cpio.Entry]:
    yield from initramfs.skeleton()
    yield from initramfs.busybox(root, APPLETS)
    yield from initramfs.modules(KernelTree.find(root), BOOT_MODULES)
    yield cpio.file("init", INIT.encode(), 0o755)
    for path in ("lab", "lab/etc", "lab/etc/ssh"):
        yield cpio.directory(path)
    yield cpio.file("lab/etc/ssh/ssh_host_ed25519_key", keys.host.read_bytes(), 0o600)
    public = keys.client.with_suffix(".pub").read_bytes()
    yield cpio.file("lab/etc/ssh/authorized_keys", public, 0o644)
